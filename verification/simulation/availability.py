"""What each process of a history could do, and since when: its health, its capacity, its tasks, its polls."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind as RunKind
from pseudocron.backends.questions import Claim
from verification.simulation.due import Kind
from verification.simulation.scenario import Kind as Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from verification.simulation.history import Event
    from verification.simulation.scenario import Application

Run = tuple[str, int]
"""The identity of a run or a job, and its fence."""

POLL = 0.3
"""Seconds that a poll takes at most: 25 verbs, each of 10 ms there and back, and some hops to a thread."""

TORN_FOR = 2.0
"""Seconds for which a poll that has not come to its end keeps the gate fresh."""

AFTER = {
    Fault.CRASH: inf,  # another process takes its place
    Fault.STOP: inf,
    Fault.TORN: inf,
    Fault.PAUSE: POLL,  # what was under way
    Fault.BLOCK: POLL,
    Fault.CUT: 2.0 + POLL,  # until a verb of the last moment is given up
    Fault.LOSE: 2.0 + POLL,
    Fault.SLOW: 4.0 + POLL,  # until the answer to one of the last moment is there
}
"""Seconds until all is well, from the end of a fault."""

CLOCKS = frozenset({Fault.CLOCK, Fault.STORE_CLOCK})
"""After a step a process goes by the wrong time until the store tells it the right one."""


@dataclass(slots=True)
class Process:
    """What a process can do, and since when; `inf` if it can't now."""

    number: int
    well: float
    names: frozenset[str]
    """Its crons and tasks."""

    kinds: frozenset[Kind]
    free: dict[Kind, float]
    held: dict[tuple[str, int], Kind] = field(default_factory=dict)
    visited: bool = False
    polls_since: float = inf
    """When it first reached the gate behind a visit."""

    resting: frozenset[str] = frozenset()
    """What its last poll could not start for want of a thread."""

    ticks: bool = False
    asks: bool = False
    """Whether the store has to tell it the time."""

    def since(self, kind: Kind) -> float:
        """Since when it can start something of a kind."""
        return inf if self.asks else max(self.well, self.free[kind])


class Processes:
    """Follows the processes of a history.

    Args:
        application: What there is to run.

    Attributes:
        polls: Who polls.
        deferred: When a process has deferred a job that was due at once.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._all: dict[int, Process] = {}
        self._begun: set[Run] = set()
        self.polls = Polls()
        self.deferred: dict[tuple[object, ...], float] = {}

    def __getitem__(self, number: int) -> Process:
        return self._all[number]

    def __iter__(self) -> Iterator[Process]:
        return iter(self._all.values())

    def follow(self, event: Event) -> None:
        """Note what an event says of a process."""
        process = self._all.get(event.who)
        if event.what == "born":
            crons = {cron.name for cron in self._application.crons}
            names, kinds = frozenset(crons | {job.name for job in self._application.jobs}), frozenset(Kind)
            self._all[event.who] = Process(event.who, event.at, names, kinds, dict.fromkeys(Kind, event.at))
        elif event.what == Fault.STORE_CLOCK:
            for one in self:
                self._on_clock(one, event)
        elif process and event.what in AFTER:
            size = 0.0 if event.what == Fault.TORN else event.given[0]
            self._fail(process, event, size + AFTER[Fault(event.what)])
            if event.what == Fault.TORN:
                self._claimed(process, event)
        elif process and not isinstance(event.got, Exception):
            getattr(self, f"_on_{event.what}", self._pass)(process, event)

    def _pass(self, process: Process, event: Event) -> None:
        """Nothing follows from it."""

    def _fail(self, process: Process, event: Event, seconds: float) -> None:
        process.well = max(process.well, event.at + seconds)
        if event.what == Fault.TORN:
            self.polls.abandoned = max(self.polls.abandoned, event.at + TORN_FOR)

    def _on_died(self, process: Process, event: Event) -> None:
        self._fail(process, event, inf)

    def _on_clock(self, process: Process, _: Event) -> None:
        process.asks = True

    def _on_stale_in(self, process: Process, event: Event) -> None:
        if process.visited:
            process.polls_since = min(process.polls_since, event.at)
        if process.asks and event.at >= process.well:  # else the answer may be lost
            process.asks, process.well = False, event.at

    def _on_able(self, process: Process, event: Event) -> None:
        tasks, crons, executes, _ = event.given
        process.names, process.well = frozenset((*tasks, *crons)), process.well if executes else inf
        process.kinds = frozenset([Kind.JOB] * bool(tasks) + [Kind.CRON] * bool(crons))

    def _on_visit(self, process: Process, event: Event) -> None:
        process.visited, process.ticks = True, process.ticks or event.given[0]

    # Polls

    def _on_poll(self, process: Process, event: Event) -> None:
        if event.got is None:
            return
        self.polls.begin(process.number, event.at)
        process.resting = frozenset(name for _, name in event.given[0].take.resting)
        self._claimed(process, event)
        self._lost(event, {(run.run_id, run.fence) for run in event.got.lost})

    def _on_defer(self, process: Process, event: Event) -> None:
        due = [new.run_id for new in event.given[0] if new.due <= event.clock]
        self.deferred |= {(process.number, run_id, 0): event.at for run_id in due}

    # Capacity

    def _claimed(self, process: Process, event: Event) -> None:
        claims = event.got.claims if event.got else ()
        runs = {(one.run_id, one.fence): Kind.JOB if one.kind is RunKind.JOB else Kind.CRON for one in claims}
        if runs:
            self._hold(process, event, runs)

    def _on_start(self, process: Process, event: Event) -> None:
        if isinstance(event.got, Claim):
            self._hold(process, event, {(event.got.run_id, event.got.fence): Kind.CRON})

    def _on_began(self, _process: Process, event: Event) -> None:
        self._begun.add(event.given[1:])

    def _on_finish(self, process: Process, event: Event) -> None:
        self._drop(process, event, {(end.claim.run_id, end.claim.fence) for end in event.given[0]})
        self._claimed(process, event)

    def _lost(self, event: Event, runs: set[Run]) -> None:
        """Forget a lost claim that has not begun, as its process does not know of it; others hold capacity to their
        end.
        """
        for process in self if runs - self._begun else ():
            self._drop(process, event, runs - self._begun)

    def _hold(self, process: Process, event: Event, runs: Mapping[Run, Kind]) -> None:
        process.held |= runs
        self._count(process, event.at)

    def _drop(self, process: Process, event: Event, runs: set[Run]) -> None:
        if not runs.isdisjoint(process.held):
            process.held = {run: kind for run, kind in process.held.items() if run not in runs}
            self._count(process, event.at)

    def _count(self, process: Process, at: float) -> None:
        """Note for what there is capacity, and since when."""
        size, held = self._application.concurrency, list(process.held.values())
        most = size - 1 if size > 1 and {Kind.JOB, Kind.CRON} <= process.kinds else size
        for kind in Kind:
            if len(held) >= size or (kind is not Kind.LEASE and held.count(kind) >= most):
                process.free[kind] = inf
            elif process.free[kind] == inf:
                process.free[kind] = at


class Polls:
    """Who polls."""

    def __init__(self) -> None:
        self._polled: dict[int, float] = {}
        self.abandoned = -inf
        """Until when the gate may be too fresh."""

    def begin(self, who: int, at: float) -> None:
        self._polled[who] = at

    def alone(self, who: int, at: float) -> bool:
        """Whether nobody else has polled since shortly before."""
        return all(polled < at - POLL for other, polled in self._polled.items() if other != who)
