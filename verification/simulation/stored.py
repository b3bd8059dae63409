"""A model of what a store must hold, from what it has answered: runs, leases, crons, what is in use, what is due."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Claim
from verification.simulation.stored_records import Held, StoredCron, StoredLease, StoredRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pseudocron.backends.model import Run
    from pseudocron.backends.questions import End, NewJob, Plan, Poll, Polled, Take
    from verification.simulation.history import Event
    from verification.simulation.scenario import Application
    from verification.simulation.stored_records import Name

SURELY_IN_USE = rules.IN_USE_FOR - rules.SEEN_AGAIN
"""Parts of the smallest `CRON_MAX_TIME` for which a name is in use, as a store need not write each naming."""


@dataclass
class Stored:
    """Follows the verbs of a history.

    Args:
        application: What there is to run.

    Attributes:
        runs: All runs of which it has learnt, by id.
        unfinished: Those that are pending or running.
        leases: The living leases, by the id of their run.
        polled: The latest poll, by the clock of the store.
    """

    application: Application
    runs: dict[str, StoredRun] = field(default_factory=dict)
    unfinished: dict[str, StoredRun] = field(default_factory=dict)
    leases: dict[str, StoredLease] = field(default_factory=dict)
    crons: dict[str, StoredCron] = field(default_factory=dict)
    max_times: dict[int, float] = field(default_factory=dict)
    polled: datetime | None = None
    _seen: dict[Name, datetime] = field(default_factory=dict)
    _times: dict[float, datetime] = field(default_factory=dict)
    _limits: dict[Name, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.crons = {cron.name: StoredCron(cron) for cron in self.application.crons}
        self._limits = {(True, job.name): job.options.get("max_instances") for job in self.application.jobs}
        self._limits |= {(False, cron.name): cron.options.get("max_instances", 1) for cron in self.application.crons}

    def apply(self, event: Event) -> bool:
        """Apply what a verb has done; return whether that may have changed anything."""
        apply = getattr(self, f"_on_{event.what}", None)
        if apply is None or isinstance(event.got, Exception):
            return False
        apply(event)
        return True

    def _on_able(self, event: Event) -> None:
        self.max_times[event.who] = event.given[-1]

    # What is held back, and in use

    def held(self) -> Held:
        """Return what living leases hold back."""
        living = [self.runs[run_id] for run_id in self.leases]
        return Held(Counter(run.of for run in living), {(run.name, run.key) for run in living if run.key is not None})

    def holds_back(self, run_id: str, run: StoredRun, held: Held) -> bool:
        """Return whether a pending run must not start."""
        most = self._limits.get(run.of)
        is_full = most is not None and held.living[run.of] >= most
        is_paused = run.kind is not Kind.JOB and self.crons[run.name].is_paused
        return run_id in self.leases or is_full or is_paused or (run.name, run.key) in held.keys

    def counting(self, cron: str) -> int:
        """Return how many runs of a cron count for `max_instances`."""
        waiting = (run_id for run_id, run in self.unfinished.items() if run.counts and run.state is State.PENDING)
        return len({run_id for run_id in (*self.leases, *waiting) if self.runs[run_id].of == (False, cron)})

    def has_instance(self, cron: str) -> bool:
        return self.counting(cron) < (self._limits[False, cron] or 1)

    def is_full(self, run: StoredRun) -> bool:
        most = self._limits.get(run.of)
        return most is not None and sum(self.runs[run_id].of == run.of for run_id in self.leases) > most

    def shortest(self, now: datetime) -> float | None:
        """Return the smallest `CRON_MAX_TIME` that is in use for certain."""
        used = (time for time, seen in self._times.items() if (now - seen).total_seconds() <= SURELY_IN_USE * time)
        return min(used, default=None)

    def is_in_use(self, name: Name, now: datetime) -> bool:
        """Return whether a task or cron is in use for certain."""
        time = self.shortest(now)
        if time is None or name not in self._seen:
            return False
        return (now - self._seen[name]).total_seconds() <= SURELY_IN_USE * time

    def with_key(self, run: StoredRun) -> Iterator[tuple[str, StoredRun]]:
        """Return the other unfinished jobs of its task that have its key."""
        for run_id, other in list(self.unfinished.items()):
            if run.key is not None and (other.name, other.key) == (run.name, run.key) and other is not run:
                yield run_id, other

    def dues(self, now: datetime) -> Iterator[tuple[datetime, str]]:
        """Return all of which *earliest* is the least, and what it is."""
        held = self.held()
        for run_id, run in self.unfinished.items():
            is_waiting = run.state is State.PENDING and self.is_in_use(run.of, now)
            if is_waiting and not self.holds_back(run_id, run, held):
                yield run.due, f"run {run_id} of {run.name}"
        for run_id, lease in self.leases.items():
            yield lease.until, f"lease of {run_id}"
        for name, cron in self.crons.items():
            is_held = cron.is_held and not self.has_instance(name)
            if cron.next and not cron.is_paused and not is_held and self.is_in_use((False, name), now):
                yield cron.next, f"next slot of {name}"
        if self.polled and (time := self.shortest(now)) is not None:
            yield self.polled + timedelta(seconds=time), "CRON_MAX_TIME"

    # A poll

    def _on_poll(self, event: Event) -> None:
        poll: Poll = event.given[0]
        polled: Polled | None = event.got
        if polled is None:
            return
        for claim in poll.holding:
            if self.holds(claim):
                self.renewed(event, claim, poll.take.lease)
        self._end_leases(event, polled.lost)
        self._name(event, poll.take)
        plans = {plan.name: plan for plan in poll.plans if plan.name not in polled.outdated}
        for plan in plans.values():
            self.crons[plan.name].skip(plan, polled)
        for run in polled.dropped:
            self.dropped(event, run)
        for claim in polled.claims:
            self.claimed(event, claim, poll.take.lease, plans.get(claim.name))
        for plan in plans.values():
            self.crons[plan.name].store_next(plan, polled)

    _on_torn = _on_poll

    def _end_leases(self, event: Event, lost: Sequence[Run]) -> None:
        for run in lost:
            self.lost(event, run)
        for run_id in [one for one, lease in self.leases.items() if lease.is_kept and lease.until <= event.clock]:
            del self.leases[run_id]

    def _name(self, event: Event, take: Take) -> None:
        self.polled = event.clock
        self._times[self.max_times.get(event.who, self.application.cron_max_time)] = event.clock
        resting = [(kind is Kind.JOB, name) for kind, name in take.resting]
        names = [*((True, task) for task in take.tasks), *((False, cron) for cron in take.crons), *resting]
        self._seen |= dict.fromkeys(names, event.clock)

    # What becomes of runs

    def holds(self, claim: Claim) -> bool:
        """Return whether the lease of a claim is living."""
        return claim.run_id in self.leases and self.leases[claim.run_id].fence == claim.fence

    def renewed(self, event: Event, claim: Claim, lease: float) -> None:
        held = self.leases[claim.run_id]
        held.until, held.since = event.clock + timedelta(seconds=lease), event.at

    def claimed(self, event: Event, claim: Claim, lease: float, plan: Plan | None) -> None:
        run = self.runs.get(claim.run_id)
        if run is None:
            counts = plan is not None and (plan.at_least_once or not plan.coalesce)
            at_least_once = plan is not None and plan.at_least_once
            run = StoredRun(claim.kind, claim.name, claim.due, slot=claim.slot)
            run.at_least_once, run.counts = at_least_once, counts
            self.runs[claim.run_id] = run
        if claim.kind is not Kind.JOB:
            self.crons[claim.name].fence = claim.fence
        if claim.kind is Kind.SLOT and claim.slot is not None and run.fence == 0:
            self.crons[claim.name].grow(claim.slot)
        run.state, run.fence, run.attempts = State.RUNNING, claim.fence, run.attempts + 1
        self.unfinished[claim.run_id] = run
        until = event.clock + timedelta(seconds=lease)
        self.leases[claim.run_id] = StoredLease(claim.fence, event.who, until, event.at)

    def ended(self, event: Event, end: End, state: State) -> None:
        run_id = end.claim.run_id
        run = self.runs[run_id]
        run.failures += end.counts and end.outcome in {State.FAILED, State.TIMED_OUT}
        run.attempts -= not end.counts
        if state is State.PENDING and end.due:
            run.due = max(end.due, event.clock)
        if end.goes_on and self.holds(end.claim):
            self.leases[run_id].is_kept = True
        else:
            self.leases.pop(run_id, None)
        self.become(run_id, state)

    def lost(self, event: Event, run: Run) -> None:
        self.leases.pop(run.run_id, None)
        self.runs[run.run_id].losses += 1
        self.runs[run.run_id].due = run.due
        self.become(run.run_id, run.state)

    def dropped(self, event: Event, run: Run) -> None:
        self.become(run.run_id, run.state)

    def become(self, run_id: str, state: State) -> None:
        """Note the state of a run."""
        run = self.runs[run_id]
        run.state = state
        if state is not State.RUNNING:
            run.is_stopped = False
        if state in rules.FINAL:
            self.unfinished.pop(run_id, None)
        else:
            self.unfinished[run_id] = run

    # Other verbs

    def _on_finish(self, event: Event) -> None:
        ends, take = (*event.given, None)[:2]
        for end, state in zip(ends, event.got.states, strict=True):
            if state is not None:
                self.ended(event, end, state)
        for run in event.got.dropped:
            self.dropped(event, run)
        for claim in event.got.claims:
            self.claimed(event, claim, take.lease, None)

    def _on_renew(self, event: Event) -> None:
        claims, lease = event.given
        for claim in claims:
            if claim.run_id in event.got and self.holds(claim):
                self.renewed(event, claim, lease)

    def _on_release(self, event: Event) -> None:
        for claim in event.given[0]:
            if self.holds(claim) and self.leases[claim.run_id].is_kept:
                del self.leases[claim.run_id]

    def _on_start(self, event: Event) -> None:
        if isinstance(event.got, Claim):
            self.claimed(event, event.got, event.given[0].lease, None)

    def _on_defer(self, event: Event) -> None:
        self._seen |= {(True, new.task): event.clock for new in event.given[0]}
        for new, run_id in zip(event.given[0], event.got, strict=True):
            if run_id == new.run_id and run_id not in self.runs:
                self._defer(event, new)

    def _defer(self, event: Event, new: NewJob) -> None:
        due = max(new.due, event.clock)
        run = StoredRun(Kind.JOB, new.task, due, key=new.key, expires=new.expires)
        for other_id, other in self.with_key(run):
            if other.state is State.PENDING:
                self.become(other_id, State.EXPIRED if other.is_expired(event.clock) else State.REPLACED)
        self.runs[new.run_id] = self.unfinished[new.run_id] = run

    def _on_cancel(self, event: Event) -> None:
        for run_id, run in self.named(event):
            if run.state is State.PENDING:
                self.become(run_id, State.CANCELLED)
            else:
                run.is_stopped = True

    def named(self, event: Event) -> Sequence[tuple[str, StoredRun]]:
        """Return the unfinished runs that a call of `cancel` means."""
        run_id, task, key = event.given
        return [
            (one, run)
            for one, run in self.unfinished.items()
            if one == run_id or (key is not None and (run.of, run.key) == ((True, task), key))
        ]

    def _on_retry(self, event: Event) -> None:
        if event.got:
            (run_id,) = event.given
            run = self.runs[run_id]
            for other_id, other in self.with_key(run):
                if other.state is State.PENDING and other.is_expired(event.clock):
                    self.become(other_id, State.EXPIRED)
            run.due, run.expires, run.attempts, run.failures, run.losses = event.clock, None, 0, 0, 0
            self.become(run_id, State.PENDING)

    def _on_pause(self, event: Event) -> None:
        self.crons[event.given[0]].is_paused = event.given[1]

    def _on_reset(self, event: Event) -> None:
        cron = self.crons[event.given[0]]
        cron.mark = cron.since = event.given[1]
        cron.next, cron.is_held = event.clock, False
