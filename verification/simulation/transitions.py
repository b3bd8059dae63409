"""The rules of runs: which change of a run, and of its lease, may follow which."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.model import LOST_AT_MOST, Kind, Reason, State
from verification.simulation.execution import Execution
from verification.simulation.history import BEGINNING
from verification.simulation.rules import Rule
from verification.simulation.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pseudocron.backends.model import Run
    from pseudocron.backends.questions import Claim, End, Plan, Poll, Polled
    from verification.simulation.history import Event
    from verification.simulation.stored_records import StoredRun

STALE_BY = timedelta(seconds=5)
"""How old what a process has read of a cron may be when it polls."""

GIVEN_UP = frozenset({State.FAILED, State.TIMED_OUT})
UNWANTED = frozenset({State.CANCELLED, State.REPLACED, State.EXPIRED})


@dataclass
class Transitions(Stored):
    """Follows the verbs of a history, and reports what must not follow.

    Args:
        execution: What the processes do.
        report: Takes what was broken, and how.
        latest: The latest reading of the store's clock: what has come due stays so if it is set back.
    """

    execution: Execution = field(default_factory=Execution)
    report: Callable[[Rule, object], None] = lambda _rule, _what: None
    latest: datetime = BEGINNING
    _resumed: dict[str, datetime] = field(default_factory=dict)

    def must(self, kept: object, rule: Rule, what: object) -> None:
        if not kept:
            self.report(rule, what)

    # Claims

    def claimed(self, event: Event, claim: Claim, lease: float, plan: Plan | None) -> None:
        run = self.runs.get(claim.run_id)
        self.must(self.execution.can(event, claim.name), Rule.ABLE, event)
        if run is None:
            self._begun(event, claim, plan)
        else:
            self._again(claim, run)
        fence = (run.fence if run else 0) if claim.kind is Kind.JOB else self.crons[claim.name].fence
        self.must(claim.fence > fence, Rule.FENCES_GROW, claim)
        if claim.kind is Kind.SLOT:
            self.must(not self.crons[claim.name].is_paused, Rule.PAUSED, claim)
        super().claimed(event, claim, lease, plan)
        self.must(not self.is_full(self.runs[claim.run_id]), Rule.MAX_INSTANCES, claim)

    def _begun(self, event: Event, claim: Claim, plan: Plan | None) -> None:
        """Check a run that has no row before: of a slot, or by hand."""
        if claim.kind is Kind.JOB or claim.slot is None:
            self.report(Rule.CLAIMED, claim)
            return
        self.must(claim.slot <= event.clock, Rule.SLOT_NOT_EARLY, claim)
        self.must(self.has_instance(claim.name), Rule.MAX_INSTANCES, claim)
        if plan and plan.coalesce:
            pending = [run for run in self.unfinished.values() if run.state is State.PENDING]
            left = [run for run in pending if run.of == (False, claim.name) and not run.at_least_once]
            self.must(not left, Rule.DROPPED, (claim, left))

    def _again(self, claim: Claim, run: StoredRun) -> None:
        if run.state in UNWANTED:
            self.report(Rule.NOT_WANTED, claim)
        else:
            self.must(run.state is State.PENDING and claim.run_id not in self.leases, Rule.RUN_ONCE, claim)
        self.must(claim.due <= self.latest and run.due <= self.latest, Rule.NOT_EARLY, claim)
        beside = [other for run_id, other in self.with_key(run) if run_id in self.leases]
        kept = (run.name, run.key) in self.held().keys and claim.run_id not in self.leases
        self.must(not beside and not kept, Rule.ONE_OF_A_KEY, claim)
        counts = claim.attempt, claim.failures
        self.must(counts == (run.attempts + 1, run.failures), Rule.COUNTED, (claim, run))

    # Leases

    def _on_renew(self, event: Event) -> None:
        for claim in event.given[0]:
            self.must(not self.execution.needs_no_lease(event, claim), Rule.RENEWED, claim)
            self.must(claim.run_id not in event.got or self.holds(claim), Rule.LEASE_OVER, claim)
        super()._on_renew(event)

    def _on_poll(self, event: Event) -> None:
        poll, polled = event.given[0], event.got
        if polled is None:
            return
        for claim in poll.holding:
            self.must(not self.execution.needs_no_lease(event, claim), Rule.RENEWED, claim)
        self._check_paused(event, poll, polled)
        super()._on_poll(event)

    _on_torn = _on_poll

    def _end_leases(self, event: Event, lost: Sequence[Run]) -> None:
        super()._end_leases(event, lost)
        over = [run_id for run_id, lease in self.leases.items() if lease.until <= event.clock]
        self.must(not over, Rule.LEASE_ENDED, over)

    def lost(self, event: Event, run: Run) -> None:
        stored, lease = self.runs[run.run_id], self.leases.get(run.run_id)
        self.must(lease and lease.until <= event.clock, Rule.LEASE_IN_FULL, (run, lease))
        if lease:
            self.must(not self.execution.was_well(lease.who, lease.since), Rule.LEASE_KEPT, run)
        self.must(run.state is self._after_loss(event, stored), Rule.COMES_BACK, (run, stored))
        super().lost(event, run)

    def _after_loss(self, event: Event, run: StoredRun) -> State:
        if run.is_stopped:
            return State.CANCELLED
        if run.losses + 1 >= LOST_AT_MOST:
            return State.FAILED
        if not run.at_least_once:
            return State.LOST
        return State.REPLACED if self._is_key_taken(event, run) else State.PENDING

    def _is_key_taken(self, event: Event, run: StoredRun) -> bool:
        pending = (other for _, other in self.with_key(run) if other.state is State.PENDING)
        return any(not other.is_expired(event.clock) for other in pending)

    # Ends

    def ended(self, event: Event, end: End, state: State) -> None:
        claim, run = end.claim, self.runs[end.claim.run_id]
        self.must(run.state is State.RUNNING and run.fence == claim.fence, Rule.NO_LATE_HOLDER, (claim, run))
        self.must(state is self._after_end(event, end, run), Rule.ENDS_AS_SAID, (end, state, run))
        self.must(state is not State.SUCCEEDED or self.execution.has_done(claim), Rule.DONE, claim)
        is_retried = claim.kind is not Kind.MANUAL and claim.failures < self._retries(claim)
        self.must(not (state in GIVEN_UP and is_retried), Rule.RETRIED, (end, state))
        if end.outcome is State.INTERRUPTED and run.at_least_once:
            self.must(end.due and not end.counts, Rule.HANDED_BACK, end)
        super().ended(event, end, state)

    def _after_end(self, event: Event, end: End, run: StoredRun) -> State:
        if end.outcome is State.SUCCEEDED:
            return State.SUCCEEDED
        if run.is_stopped:
            return State.CANCELLED
        if end.due is None:
            return end.outcome
        return State.REPLACED if self._is_key_taken(event, run) else State.PENDING

    def _retries(self, claim: Claim) -> int:
        specs = self.application.jobs if claim.kind is Kind.JOB else self.application.crons
        return next((int(spec.options.get("retries", 0)) for spec in specs if spec.name == claim.name), 0)

    def dropped(self, event: Event, run: Run) -> None:
        stored = self.runs[run.run_id]
        is_expired = run.state is State.EXPIRED and stored.is_expired(event.clock)
        is_older = run.state is State.REPLACED and stored.kind is Kind.SLOT and not stored.at_least_once
        is_older = is_older and any(claim.name == run.name and claim.kind is Kind.SLOT for claim in event.got.claims)
        self.must(stored.state is State.PENDING and (is_expired or is_older), Rule.DROPPED, (run, stored))
        super().dropped(event, run)

    def _on_cancel(self, event: Event) -> None:
        pending = [run for _, run in self.named(event) if run.state is State.PENDING]
        may_be_over = any(run.is_expired(self.latest) for run in pending)
        self.must(event.got is bool(pending) or may_be_over, Rule.CANCEL_ANSWERS, event)
        super()._on_cancel(event)

    # Crons

    def _on_pause(self, event: Event) -> None:
        name, is_paused = event.given
        if not is_paused and self.crons[name].is_paused:
            self._resumed[name] = event.clock
        super()._on_pause(event)

    def _check_paused(self, event: Event, poll: Poll, polled: Polled) -> None:
        """Check a plan, which may be as old as what its process has read of the cron."""
        if self.execution.trouble[-1] > 0:  # it may go by a wrong clock
            return
        for plan in poll.plans:
            paused = [skip.slot for skip in plan.skips if skip.reason is Reason.PAUSED]
            if paused and plan.name not in polled.outdated and not self.crons[plan.name].is_paused:
                resumed = self._resumed.get(plan.name)
                self.must(resumed and paused[-1] <= resumed + STALE_BY, Rule.PAUSED, (plan, resumed))
