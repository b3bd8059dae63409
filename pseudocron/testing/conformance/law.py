"""The law of the gate, stated from what a test has seen of a store: its verbs, their answers, its lists of runs.

Where the contract leaves a store free, there are two readings of *earliest*. By the strict one everything counts that
may count: the gate may be brought forward to it, and no further. By the mild one only that counts which must: the gate
turns stale no later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Claim, Refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pseudocron.backends.model import Run
    from pseudocron.backends.questions import End, Finished, NewJob, Plan, Poll, Polled, Take

Name = tuple[Kind, str]
"""A task (`Kind.JOB`) or a cron (`Kind.SLOT`)."""

ENOUGH = 0.01
"""Seconds of which a store may be wrong."""

UNLIMITED = 1_000_000_000


class Next(NamedTuple):
    """When a cron is due: its slots above the mark, whether `max_instances` holds them back, and the next one."""

    slots: Sequence[datetime]
    is_held: bool
    next: datetime | None


def name_of(run: Run) -> Name:
    """Return the task or cron of a run."""
    return (Kind.JOB if run.kind is Kind.JOB else Kind.SLOT), run.name


@dataclass
class Law:
    """What *earliest* is computed from."""

    now: datetime
    last_poll: datetime | None = None
    is_set_back: bool = False
    """Whether the clock was set back since the last poll, so that a gate may be dated too late and be stale."""
    times: dict[float, datetime] = field(default_factory=dict)
    seen: dict[Name, datetime] = field(default_factory=dict)
    """When a name was last named by a poll or `defer`."""
    limits: dict[Name, dict[int, datetime]] = field(default_factory=dict)
    """With which limits a name was named, and when last."""
    leases: dict[tuple[str, int], datetime] = field(default_factory=dict)
    nexts: dict[str, Next] = field(default_factory=dict)
    is_paused: dict[str, bool] = field(default_factory=dict)
    not_coalescing: set[str] = field(default_factory=set)
    is_outdated: bool = False

    # What the verbs do

    def polled(self, poll: Poll, polled: Polled | None, cron_max_time: float) -> None:
        """Note a poll; None if the gate was fresh."""
        if polled is None:
            return
        self.is_set_back = False
        self.last_poll = self.times[cron_max_time] = self.now
        self._name(poll.take)
        for claim in poll.holding:
            if (claim.run_id, claim.fence) in self.leases:
                self._grant([claim], poll.take.lease)
        self._grant(polled.claims, poll.take.lease)
        outdated = {plan.name for plan in poll.plans} & set(polled.outdated)
        self.is_outdated = bool(outdated)
        for plan in poll.plans:
            if plan.name not in outdated:
                self._planned(plan, polled)

    def _planned(self, plan: Plan, polled: Polled) -> None:
        claimed = {claim.slot: claim.run_id for claim in polled.claims if claim.name == plan.name}
        refused = {refused.slot: refused.why for refused in polled.refused if refused.name == plan.name}
        is_gone = {Refusal.PAUSED: True, Refusal.OVERLAP: plan.coalesce, Refusal.EARLY: False}
        left = [slot for slot in plan.slots if slot not in claimed and not (slot in refused and is_gone[refused[slot]])]
        is_held = bool(left) and refused.get(left[0]) is Refusal.OVERLAP
        self.nexts[plan.name] = Next(left, is_held, plan.next)
        if not plan.coalesce:
            self.not_coalescing |= set(claimed.values())

    def _name(self, take: Take) -> None:
        limits = {(Kind.JOB, task): UNLIMITED if limit is None else limit for task, limit in take.tasks.items()}
        limits |= {(Kind.SLOT, cron): limit for cron, limit in take.crons.items()}
        for name, limit in limits.items():
            self.seen[name] = self.now
            self.limits.setdefault(name, {})[limit] = self.now

    def _grant(self, claims: Collection[Claim], lease: float) -> None:
        for claim in claims:
            self.leases[claim.run_id, claim.fence] = self.now + timedelta(seconds=lease)

    def finished(self, ends: Sequence[End], take: Take | None, finished: Finished) -> None:
        """Note the ends of attempts, and further claims."""
        for end, state in zip(ends, finished.states, strict=True):
            if state is not None and not end.goes_on:
                self.leases.pop((end.claim.run_id, end.claim.fence), None)
        if take is not None:
            self._grant(finished.claims, take.lease)

    def renewed(self, claims: Sequence[Claim], ids: Collection[str], lease: float) -> None:
        """Note that leases go on."""
        known = [claim for claim in claims if (claim.run_id, claim.fence) in self.leases]
        self._grant([claim for claim in known if claim.run_id in ids], lease)

    def deferred(self, jobs: Sequence[NewJob]) -> None:
        """Note that tasks are in use."""
        self.seen |= {(Kind.JOB, job.task): self.now for job in jobs}

    def started(self, answer: Claim | Refusal, lease: float) -> None:
        """Note a manual run."""
        if isinstance(answer, Claim):
            self._grant([answer], lease)

    def paused(self, name: str, *, paused: bool) -> None:
        """Note that a cron is paused, or no longer."""
        self.is_paused[name] = paused

    def was_reset(self, name: str, _mark: datetime) -> None:
        """Note that a cron is due now."""
        self.nexts[name] = Next((), is_held=False, next=self.now)

    # What follows for the gate

    def state(self, gate: float, *, before: float | None, pending: Sequence[Run], living: Sequence[Run]) -> None:
        """State the law.

        Args:
            gate: In how many seconds the gate turns stale.
            before: The same before a verb that only brings it forward; None after a poll.
            pending: All pending runs.
            living: All runs with living leases.
        """
        if self.last_poll is None:
            assert gate == 0, "the gate is fresh, but no process has polled"
            return
        mild, strict = (self._earliest(pending, living, is_strict=is_strict) for is_strict in (False, True))
        assert gate <= max(0.0, mild) + ENOUGH, f"the gate is fresh for {gate} s, but a poll is needed in {mild} s"
        if self.is_set_back:
            return
        if before is None and self.is_outdated:
            assert gate == 0, "a plan was outdated, but the gate is fresh"
        else:
            bound = strict if before is None else min(before, strict)
            assert gate >= bound - ENOUGH, f"the gate is fresh for {gate} s, but nothing is due for {bound} s"

    def _earliest(self, pending: Sequence[Run], living: Sequence[Run], *, is_strict: bool) -> float:
        """Return in how many seconds a poll is needed."""
        assert self.last_poll is not None
        tells = 2.0 if is_strict else 1.5
        times = [time for time, seen in self.times.items() if self._age(seen) <= tells * time] or [max(self.times)]
        used_for = tells * max(times)
        names = {name for name, seen in self.seen.items() if self._age(seen) <= used_for}
        full = self._full(living, used_for, is_strict=is_strict)
        dues = [self.last_poll + timedelta(seconds=min(times))]
        dues += [end for run in living if (end := self.leases.get((run.run_id, run.fence)))]
        dues += [run.due for run in pending if name_of(run) in names and not self._is_held(run, living, full)]
        counting = [*living, *(run for run in pending if self._counts(run, living))]
        full = self._full(counting, used_for, is_strict=is_strict)
        for cron, (slots, is_held, following) in self.nexts.items():
            name = Kind.SLOT, cron
            if name not in names or self.is_paused.get(cron) or (is_held and name in full):
                continue
            dues += [*slots, *([following] if following else [])]
        return min((due - self.now).total_seconds() for due in dues)

    def _age(self, seen: datetime) -> float:
        return (self.now - seen).total_seconds()

    def _full(self, runs: Sequence[Run], used_for: float, *, is_strict: bool) -> set[Name]:
        """Return the tasks and crons with as many of these runs as their limit."""
        choose = max if is_strict else min
        recent: Mapping[Name, list[int]] = {
            name: [limit for limit, seen in limits.items() if is_strict or self._age(seen) <= 2 * used_for]
            for name, limits in self.limits.items()
        }
        numbers = {name: sum(name_of(run) == name for run in runs) for name in recent}
        return {name for name, limits in recent.items() if limits and numbers[name] >= choose(limits)}

    def _is_held(self, run: Run, living: Sequence[Run], full: Collection[Name]) -> bool:
        """Return whether a pending run must not start."""
        if name_of(run) in full or run.run_id in {other.run_id for other in living}:
            return True
        if run.kind is not Kind.JOB:
            return self.is_paused.get(run.name, False)
        return run.key is not None and (run.name, run.key) in {(other.name, other.key) for other in living}

    def _counts(self, run: Run, living: Sequence[Run]) -> bool:
        """Return whether a pending run counts for `max_instances`."""
        is_living = run.run_id in {other.run_id for other in living}
        is_cron = run.kind is Kind.SLOT and run.state is State.PENDING
        return is_cron and not is_living and (run.at_least_once or run.run_id in self.not_coalescing)
