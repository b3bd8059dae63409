"""What is simulated, all of it from a seed: the application, the hosts, and what goes wrong when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Any

MOST = 1000
"""Processes of the largest scenario."""


class Kind(StrEnum):
    """What may go wrong."""

    CRASH = "crash"  # the process is gone between two steps; another starts in its place
    STOP = "stop"  # it is shut down as a server does that, with a drain; another starts in its place
    PAUSE = "suspend"  # neither its loop nor its threads do anything, for longer than a lease sometimes
    BLOCK = "block"  # its event loop does nothing, its threads go on
    CUT = "cut"  # it can't reach the store
    LOSE = "lose"  # of what it asks the store, or of the answers, a part is lost
    SLOW = "slow"  # each way to the store and back takes up to two seconds
    CLOCK = "clock"  # the clock of its host is stepped
    STORE_CLOCK = "store_clock"  # the clock of the store is stepped
    TORN = "torn"  # the process dies in the store, in the middle of its next poll
    POLL_CRASH = "poll_crash"  # the process dies some steps after it has begun its next poll
    HOLD = "hold"  # a person pauses a cron, and resumes it later
    RESET = "reset"  # a person sets the mark of a cron
    RETRY = "retry"  # a person retries what has failed
    MANUAL = "manual"  # a person runs a cron by hand


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Args:
        at: When, in seconds from the beginning.
        kind: What.
        host: Where, by its number.
        size: For how many seconds, or by how many the clock is stepped.
        steps: After how many further steps of its event loop a process dies.
    """

    at: float
    kind: Kind
    host: int
    size: float
    steps: int = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run of the simulation: a seed, and how much of what comes of it.

    Args:
        seed: Where all chance comes from.
        processes: How many there are at once.
        seconds: For how long things go wrong; then all is left to come to its end.
        faults: What goes wrong.
    """

    seed: int
    processes: int
    seconds: float
    faults: tuple[Fault, ...] = field(repr=False)

    def chance(self, *whose: object) -> Random:
        """Return a source of chance for one purpose: what is left out of a scenario changes little of the rest."""
        return Random("/".join(map(str, (self.seed, *whose))))


@dataclass(frozen=True, slots=True)
class Cron:
    """An interval cron of the simulated application: its options, and how its runs fare."""

    name: str
    every: int
    options: dict[str, Any]
    takes: float
    fails: float
    is_thread: bool = False
    """Whether it is a plain function, which runs in a thread that can't be killed."""


@dataclass(frozen=True, slots=True)
class Job:
    """A task of the simulated application: likewise, and how its jobs are deferred."""

    name: str
    options: dict[str, Any]
    takes: float
    fails: float
    keys: int
    delay: float
    is_thread: bool = False


@dataclass(frozen=True, slots=True)
class Application:
    """What the processes of a scenario have in common; seconds, but for `concurrency` and two parts of the processes.

    Args:
        crons: None, or up to three.
        jobs: None, or up to two.
        lease: The length of leases.
        cron_max_time: `CRON_MAX_TIME`.
        other_max_time: That of some of the processes.
        concurrency: How many runs a process has at once.
        visits: Between two visits of a process.
        defers: Between two jobs that a process defers.
        skew: By how much clocks are off.
        idle: The part of the processes that never execute.
        older: The part that do not have the last task yet.
        partial: The part that have only crons, or only tasks.
        drain: The length of a drain.
    """

    crons: tuple[Cron, ...]
    jobs: tuple[Job, ...]
    lease: float
    cron_max_time: float
    concurrency: int
    visits: float
    defers: float
    skew: float
    idle: float = 0.0
    older: float = 0.0
    other_max_time: float = 0.0
    partial: float = 0.0
    drain: float = 5.0

    @property
    def longest_max_time(self) -> float:
        return max(self.cron_max_time, self.other_max_time)


def scenario(seed: int, *, processes: int | None = None, seconds: float | None = None) -> Scenario:
    """Return the scenario of a seed, mostly a small one, as few processes meet the same trouble sooner."""
    chance = Random(f"{seed}/scenario")
    size = chance.choices((2, 3, 5, 10, 30), weights=(4, 8, 4, 2, 1))[0]
    size, length = processes or size, seconds or chance.choice((60.0, 120.0, 240.0))
    kinds = chance.sample(list(Kind), chance.randint(1, len(Kind)))
    number = min(round(chance.expovariate(1 / (length / 10))), 40) + size // 50
    faults = sorted((_fault(chance, chance.choice(kinds), size, length) for _ in range(number)), key=lambda one: one.at)
    return Scenario(seed, size, length, tuple(faults))


def _fault(chance: Random, kind: Kind, processes: int, seconds: float) -> Fault:
    size = chance.expovariate(1 / 15)
    if kind in {Kind.CLOCK, Kind.STORE_CLOCK, Kind.RESET}:
        size = chance.choice((-1, 1)) * chance.choice((0.5, 3.0, 20.0, 100.0)) * chance.random()
    return Fault(
        round(chance.uniform(0, seconds), 3), kind, chance.randrange(processes), round(size, 3), chance.randint(1, 60)
    )


def application(scenario: Scenario) -> Application:
    """Return the application of a seed."""
    chance = scenario.chance("application")
    lease = chance.choice((6.0, 12.0, 30.0))
    made = _application(scenario, chance, lease)
    kinds = scenario.chance("kinds")
    only = kinds.choices(("crons", "jobs", None), weights=(1, 3, 6))[0]
    return replace(
        made,
        crons=() if only == "jobs" else made.crons,
        jobs=() if only == "crons" else made.jobs,
        idle=kinds.choice((0.0, 0.0, 0.3)),
        older=kinds.choice((0.0, 0.3)) if len(made.jobs) > 1 else 0.0,
        other_max_time=kinds.choice((made.cron_max_time, made.cron_max_time, 5.0, 60.0)),
        partial=kinds.choice((0.0, 0.0, 0.5)),
        drain=kinds.choice((0.5, 5.0)),
    )


def _application(scenario: Scenario, chance: Random, lease: float) -> Application:
    return Application(
        crons=tuple(_cron(chance, name, lease) for name in ("mail", "sync", "purge")[: chance.randint(1, 3)]),
        jobs=tuple(_job(chance, name, lease) for name in ("send", "resize")[: chance.randint(1, 2)]),
        lease=lease,
        cron_max_time=chance.choice((5.0, 20.0, 60.0)),
        concurrency=chance.choice((1, 3, 10)),
        visits=chance.choice((0.3, 2.0, 8.0)) * max(1.0, scenario.processes / 10),
        defers=chance.choice((2.0, 10.0)) * max(1.0, scenario.processes / 5),
        skew=chance.choice((0.0, 0.3, 5.0, 3000.0)),
    )


def _cron(chance: Random, name: str, lease: float) -> Cron:
    is_thread = chance.random() < 0.25
    options = {
        "max_instances": chance.choice((1, 1, 2)),
        "coalesce": chance.random() < 0.7,
        "at_least_once": chance.random() < 0.5,
        "retries": chance.choice((0, 2, 2)),
        "timeout": chance.choice((0.5 * lease if is_thread else 3 * lease, 1000.0)),
        "misfire_grace_time": chance.choice((None, None, 10.0)),
        "jitter": chance.choice((0.0, 0.0, 0.5)),
    }
    every, takes, fails = chance.choice((1, 2, 5, 10, 30)), _takes(chance, lease), chance.choice((0.0, 0.2))
    return Cron(name, every, options, takes, fails, is_thread)


def _job(chance: Random, name: str, lease: float) -> Job:
    options: dict[str, Any] = {"max_instances": chance.choice((None, None, 2)), "retries": chance.choice((0, 2, 3))}
    is_thread = chance.random() < 0.25
    if is_thread:
        options["timeout"] = chance.choice((0.5 * lease, 1000.0))
    keys, delay = chance.choice((0, 1, 3)), chance.choice((0.0, 5.0, 20.0))
    return Job(name, options, _takes(chance, lease), chance.choice((0.0, 0.3)), keys, delay, is_thread)


def _takes(chance: Random, lease: float) -> float:
    return chance.choice((0.01, 0.5, 4.0, 0.8 * lease))
