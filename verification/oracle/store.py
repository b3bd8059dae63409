"""The data of the oracle, and what the contract says of them: who is living, held back, in use, and due."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends import rules
from pseudocron.backends.model import CronState, Kind, Run, Skip, State
from pseudocron.backends.questions import Claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Name = tuple[Kind, str]
"""A task (`Kind.JOB`) or a cron (`Kind.SLOT`)."""


class Lease(NamedTuple):
    """For how long a claim holds its run."""

    fence: int
    end: datetime


def name_of(run: Run) -> Name:
    """Return the task or cron of a run."""
    return (Kind.JOB if run.kind is Kind.JOB else Kind.SLOT), run.name


@dataclass
class Store:
    """What all processes share.

    Args:
        keep: How many ended runs, and how many skips, are kept of each cron.
    """

    keep: int = 20
    lock: threading.RLock = field(default_factory=threading.RLock)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    gate: datetime | None = None
    """When the gate turns stale."""
    polled: datetime | None = None
    runs: dict[str, Run] = field(default_factory=dict)
    """By id, in the order in which they were stored."""
    leases: dict[str, Lease] = field(default_factory=dict)
    """Of the living runs, by id."""
    stopped: set[str] = field(default_factory=set)
    """The running runs that were cancelled."""
    not_coalescing: set[str] = field(default_factory=set)
    """The runs of plans that did not coalesce."""
    crons: dict[str, CronState] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    """The crons with slots above their mark that `max_instances` held back in the last poll that planned them."""
    skips: dict[str, list[tuple[int, Skip]]] = field(default_factory=lambda: defaultdict(list))
    """With the number of each among all that was stored."""
    seen: dict[Name, datetime] = field(default_factory=dict)
    limits: dict[Name, int | None] = field(default_factory=dict)
    """Of each name in use, as the last poll has named it."""
    takeovers: int = 0
    times: dict[float, datetime] = field(default_factory=dict)
    """The `CRON_MAX_TIME` of the processes, with the last poll by each."""
    order: dict[str, int] = field(default_factory=dict)
    """The number of each run among all that was stored."""

    def new_id(self) -> str:
        """Return an id for a run of a cron."""
        return f"run-{next(self.numbers)}"

    def cron(self, name: str) -> CronState:
        """Return the state of a cron."""
        seen = self.seen.get((Kind.SLOT, name))
        return self.crons.get(name, CronState(name))._replace(running=len(self.counting(name)), seen=seen)

    def change(self, name: str, **changes: object) -> None:
        """Change the state of a cron."""
        self.crons[name] = self.cron(name)._replace(**changes)  # type: ignore[arg-type]  # names of its fields

    def put(self, run: Run) -> Run:
        """Store a run, and what follows from its state for the rest."""
        before = self.runs.get(run.run_id)
        self.order.setdefault(run.run_id, next(self.numbers))
        self.runs[run.run_id] = run
        if run.state is not State.RUNNING:
            self.stopped.discard(run.run_id)
        has_ended = before and before.state not in rules.FINAL and run.state in rules.FINAL
        if has_ended and run.kind is not Kind.JOB and run.state is not State.SUCCEEDED:
            self.change(run.name, failures=self.cron(run.name).failures + 1)
        return run

    def forget(self, run_id: str) -> None:
        """Delete a run that has ended."""
        for table in (self.runs, self.order):
            del table[run_id]
        self.not_coalescing.discard(run_id)

    def trim(self) -> None:
        """Keep the newest ended runs and skips of each cron."""
        for name in self.crons:
            ended = [run for run in self.of((Kind.SLOT, name)) if run.state in rules.FINAL]
            for run in ended[: -self.keep]:
                if run.run_id not in self.leases:
                    self.forget(run.run_id)
            del self.skips[name][: -self.keep]

    def of(self, name: Name, state: State | None = None) -> list[Run]:
        """Return the runs of a task or cron, in the order in which they were stored."""
        runs = (run for run in self.runs.values() if name_of(run) == name)
        return [run for run in runs if state is None or run.state is state]

    def pending(self) -> list[Run]:
        """Return all pending runs."""
        return [run for run in self.runs.values() if run.state is State.PENDING]

    def living(self, name: Name) -> list[Run]:
        """Return the runs of a task or cron whose leases no poll, end or release has ended."""
        return [run for run in self.of(name) if run.run_id in self.leases]

    def counting(self, cron: str) -> list[Run]:
        """Return the runs of a cron that count for `max_instances` when a slot is to be claimed."""
        return [run for run in self.of((Kind.SLOT, cron)) if run.run_id in self.leases or self._waits_and_counts(run)]

    def _waits_and_counts(self, run: Run) -> bool:
        coalesce = run.run_id not in self.not_coalescing
        return run.state is State.PENDING and rules.counts_for_instances(run, coalesce=coalesce)

    def holds_back(self, run: Run, limit: int | None) -> bool:
        """Return whether a pending run must not start."""
        living = self.living(name_of(run))
        if run.run_id in self.leases or (limit is not None and len(living) >= limit):
            return True
        if run.kind is Kind.JOB:
            return run.key is not None and run.key in {other.key for other in living}
        return self.cron(run.name).paused

    def holder(self, run: Run) -> Run | None:
        """Return the other pending job of its task that has its key, also if that has expired."""
        others = (other for other in self.of(name_of(run), State.PENDING) if other.run_id != run.run_id)
        return next((other for other in others if run.key is not None and other.key == run.key), None)

    def is_key_taken(self, run: Run, now: datetime) -> bool:
        """Return whether a pending job of its task that has not expired has its key."""
        holder = self.holder(run)
        return holder is not None and not rules.is_expired(holder, now)

    def claim(self, run: Run, *, worker: str, lease: float, now: datetime) -> Claim:
        """Let a process have a run that may be new."""
        fence = run.fence + 1
        if run.kind is not Kind.JOB:
            fence = self.cron(run.name).claims + 1
            self.change(run.name, claims=fence)
        run = run._replace(state=State.RUNNING, attempts=run.attempts + 1, fence=fence, worker=worker)
        run = self.put(run._replace(started=now, ended=None))
        self.leases[run.run_id] = Lease(fence, now + timedelta(seconds=lease))
        return Claim(
            run_id=run.run_id,
            kind=run.kind,
            name=run.name,
            due=run.due,
            fence=fence,
            attempt=run.attempts,
            failures=run.failures,
            started=now,
            slot=run.slot,
            arguments=run.arguments,
            key=run.key,
            unfit_since=run.unfit_since,
        )

    def holds(self, claim: Claim) -> bool:
        """Return whether the lease of a claim is living."""
        lease = self.leases.get(claim.run_id)
        return lease is not None and lease.fence == claim.fence

    def renew(self, claim: Claim, end: datetime) -> None:
        """Let the lease of a claim end then."""
        self.leases[claim.run_id] = Lease(claim.fence, end)

    # Of the gate

    def name_in_use(self, names: Mapping[Name, int | None], cron_max_time: float, now: datetime) -> None:
        """Note that these tasks and crons, with these limits, are in use."""
        for name, limit in names.items():
            self.limits[name] = limit
            if name not in self.seen or not rules.is_seen(_age(self.seen[name], now), cron_max_time):
                self.seen[name] = now

    def times_in_use(self, now: datetime) -> list[float]:
        """Return each `CRON_MAX_TIME` in use."""
        return [time for time, seen in self.times.items() if rules.is_in_use(_age(seen, now), time)]

    def shortest(self, now: datetime) -> float | None:
        """Return the smallest `CRON_MAX_TIME` in use."""
        return min(self.times_in_use(now), default=None)

    def is_in_use(self, name: Name, now: datetime) -> bool:
        """Return whether a task or cron is in use."""
        longest = max(self.times_in_use(now), default=None)
        return longest is not None and name in self.seen and rules.is_in_use(_age(self.seen[name], now), longest)

    def earliest(self, now: datetime) -> datetime | None:
        """Return *earliest* of the law of the gate; None if no process has polled."""
        dues = [run.due for run in self.pending() if self._counts(run, now)]
        dues += [lease.end for lease in self.leases.values()]
        dues += [cron.next for cron in self.crons.values() if cron.next and self.is_awaited(cron.name, now)]
        time = self.shortest(now)
        if self.polled is not None and time is not None:
            dues.append(self.polled + timedelta(seconds=time))
        return min(dues, default=None)

    def _counts(self, run: Run, now: datetime) -> bool:
        return self.is_in_use(name_of(run), now) and not self.holds_back(run, self.limits.get(name_of(run)))

    def is_awaited(self, cron: str, now: datetime) -> bool:
        """Return whether the `next` of a cron counts."""
        name = Kind.SLOT, cron
        limit = self.limits.get(name)
        is_full = cron in self.waiting and limit is not None and len(self.counting(cron)) >= limit
        return self.is_in_use(name, now) and not self.cron(cron).paused and not is_full

    def bring_forward(self, now: datetime) -> None:
        """Let the gate turn stale no later than the law says."""
        earliest = self.earliest(now)
        if self.gate is not None and earliest is not None:
            self.gate = min(self.gate, earliest)


def _age(seen: datetime, now: datetime) -> float:
    return (now - seen).total_seconds()
