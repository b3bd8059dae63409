"""What each process of a history could do, and since when: its health, its capacity, its tasks, its polls."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from pseudocron.backends.records import Claim
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

AFTER = {
    Fault.CRASH: inf,  # another process takes its place
    Fault.STOP: inf,
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
    tasks: frozenset[str]
    free: dict[Kind, float]
    held: dict[tuple[str, int], Kind] = field(default_factory=dict)
    visited: bool = False
    polls_since: float = inf
    """When it first reached the gate behind a visit."""

    misled: float = -inf
    """When it last read a gate that the poll of another one kept fresh, or was about to enter."""

    ticks: bool = False
    asks: bool = False
    """Whether the store has to tell it the time."""

    def since(self, kind: Kind) -> float:
        """Since when it can start something of a kind."""
        return inf if self.asks else max(self.well, self.free[kind], self.misled)


class Processes:
    """Follows the processes of a history.

    Args:
        application: What there is to run.

    Attributes:
        polls: Who has entered the gate.
        deferred: When a process has deferred a job that was due at once.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._all: dict[int, Process] = {}
        self._begun: set[Run] = set()
        self.polls = Polls(application.cron_max_time)
        self.deferred: dict[tuple[object, ...], float] = {}

    def __getitem__(self, number: int) -> Process:
        return self._all[number]

    def __iter__(self) -> Iterator[Process]:
        return iter(self._all.values())

    def follow(self, event: Event) -> None:
        """Note what an event says of a process."""
        process = self._all.get(event.who)
        if event.what == "born":
            tasks = frozenset(job.name for job in self._application.jobs)
            self._all[event.who] = Process(event.who, event.at, tasks, dict.fromkeys(Kind, event.at))
        elif event.what == Fault.STORE_CLOCK:
            for one in self:
                self._on_clock(one, event)
            self.polls.step(event.at, event.given[0])
        elif process and event.what in AFTER:
            self._fail(process, event, event.given[0] + AFTER[Fault(event.what)])
        elif process and not isinstance(event.got, Exception):
            getattr(self, f"_on_{event.what}", self._pass)(process, event)

    def _pass(self, process: Process, event: Event) -> None:
        """Nothing follows from it."""

    def _fail(self, process: Process, event: Event, seconds: float) -> None:
        process.well = max(process.well, event.at + seconds)
        self.polls.fail(process.number, event.at)

    def _on_died(self, process: Process, event: Event) -> None:
        self._fail(process, event, inf)

    def _on_clock(self, process: Process, event: Event) -> None:
        process.asks = True
        self.polls.fail(process.number, event.at)

    def _on_states(self, process: Process, event: Event) -> None:
        if process.asks and event.at >= process.well:  # else the answer may be lost
            process.asks, process.well = False, event.at

    _on_open = _on_states

    def _on_able(self, process: Process, event: Event) -> None:
        tasks, executes = event.given
        process.tasks, process.well = frozenset(tasks), process.well if executes else inf

    def _on_visit(self, process: Process, event: Event) -> None:
        process.visited, process.ticks = True, process.ticks or event.given[0]

    # Polls

    def _on_enter(self, process: Process, event: Event) -> None:
        if event.got:
            self.polls.begin(process.number, event.at, well=process.since(Kind.LEASE) <= event.at)
        else:
            process.misled = event.at

    def _on_fresh_for(self, process: Process, event: Event) -> None:
        if process.visited:
            process.polls_since = min(process.polls_since, event.at)
        if event.got > 0 and self.polls.others_under_way(process.number, event.at):
            process.misled = event.at

    def _on_lower(self, process: Process, event: Event) -> None:
        self.polls.end(process.number, event.at)

    def _on_defer(self, process: Process, event: Event) -> None:
        due = [new.job_id for new in event.given[0] if new.due <= event.clock]
        self.deferred |= {(process.number, job_id, 0): event.at for job_id in due}

    # Capacity

    def _on_claim(self, process: Process, event: Event) -> None:
        if isinstance(event.got, Claim):
            self._hold(process, event, {(event.got.run_id, event.got.fence): Kind.CRON})

    def _on_claim_jobs(self, process: Process, event: Event) -> None:
        self._hold(process, event, {(claim.job_id, claim.fence): Kind.JOB for claim in event.got})

    def _on_began(self, _process: Process, event: Event) -> None:
        self._begun.add(event.given[1:])

    def _on_finish(self, process: Process, event: Event) -> None:
        if process.asks:  # it brings the gate forward itself for a slot that waited for this one, by a wrong clock
            self.polls.mistime(event.at)
        self._drop(process, event, {(event.given[0].run_id, event.given[0].fence)})

    def _on_finish_jobs(self, process: Process, event: Event) -> None:
        self._drop(process, event, {(claim.job_id, claim.fence) for claim, _ in event.given[0]})

    def _on_reap(self, _process: Process, event: Event) -> None:
        self._lost(event, {(run.run_id, run.fence) for run in event.got.lost})

    def _on_reap_jobs(self, _process: Process, event: Event) -> None:
        self._lost(event, {(job.job_id, job.fence) for job in event.got})

    def _lost(self, event: Event, runs: set[Run]) -> None:
        """What has not begun when it is lost its process does not know of; all else holds its capacity to its end."""
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
        most = size - 1 if size > 1 and self._application.crons and self._application.jobs else size
        for kind in Kind:
            if len(held) >= size or (kind is not Kind.LEASE and held.count(kind) >= most):
                process.free[kind] = inf
            elif process.free[kind] == inf:
                process.free[kind] = at


class Polls:
    """Who enters the gate, and until when one who failed then keeps others out.

    Args:
        cron_max_time: Seconds.
    """

    def __init__(self, cron_max_time: float) -> None:
        self._cron_max_time = cron_max_time
        self._entered: dict[int, float] = {}
        self._under_way: dict[int, float] = {}
        self.abandoned = -inf
        """Until when the gate may be too fresh."""

    def begin(self, who: int, at: float, *, well: bool) -> None:
        self._entered[who] = self._under_way[who] = at
        if not well:
            self.mistime(at)

    def end(self, who: int, at: float) -> None:
        """It has dated the gate."""
        if self._under_way.pop(who, None) is not None and self.abandoned > at:
            self.abandoned = at if not self._under_way else self.abandoned

    def fail(self, who: int, at: float) -> None:
        began = self._under_way.get(who, -inf)
        if at <= began + 2 * POLL:
            self.mistime(began)

    def mistime(self, at: float) -> None:
        self.abandoned = max(self.abandoned, at + self._cron_max_time)

    def step(self, at: float, seconds: float) -> None:
        """The clock of the store was stepped, by which the gate turns stale: set back, it does so later."""
        if self.abandoned > at:
            self.abandoned += max(0.0, -seconds)

    def others_under_way(self, who: int, at: float) -> bool:
        return any(began > at - POLL for other, began in self._under_way.items() if other != who)

    def alone(self, who: int, at: float) -> bool:
        """Whether nobody else has entered since shortly before."""
        return all(entered < at - POLL for other, entered in self._entered.items() if other != who)
