"""What people do: pause, reset, cancel and retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.model import Reason, Skip, State
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, NOON, SECOND

if TYPE_CHECKING:
    from pseudocron.testing.conformance.process import Process


class PeopleTests(Base):
    """Pause, reset, cancel, retry."""

    def test_a_cron_is_paused_for_all_processes_and_repeatedly(self, one: Process, two: Process) -> None:
        assert not one.state().paused
        for paused in (True, True, False, False):
            one.pause(paused=paused)
            assert two.state().paused is paused

    def test_a_cron_may_be_paused_before_it_is_seen(self, one: Process) -> None:
        one.pause("new")
        state = one.state("new")
        assert (state.paused, state.mark, state.since, state.next) == (True, None, None, None)
        one.crons = {"new": 1}
        one.poll(one.plan(name="new", since=NOON - SECOND))
        assert one.state("new").since == NOON - SECOND

    def test_a_pause_leaves_what_is_running(self, one: Process) -> None:
        claim = one.slot()
        one.pause()
        assert one.renew(claim) == {claim.run_id}
        assert one.end(claim) is State.SUCCEEDED

    def test_a_paused_cron_is_due_again_for_what_it_has_missed(self, one: Process) -> None:
        one.poll(one.plan(next=NOON + SECOND))
        one.pause()
        one.cluster.forward(5)
        assert one.poll().fresh_for > 0
        one.pause(paused=False)
        assert one.stale_in() == 0

    # Reset

    @pytest.mark.parametrize("by", [-1, 1])
    def test_a_reset_sets_the_mark_down_or_up(self, one: Process, by: int) -> None:
        one.end(one.slot())
        mark = NOON + by * HOUR
        one.reset(mark)
        state = one.state()
        assert (state.mark, state.since, state.back) == (mark, mark, mark)
        assert state.next is not None
        assert state.next <= one.cluster.now

    def test_a_slot_runs_again_after_a_reset(self, one: Process) -> None:
        one.end(one.slot())
        one.reset(NOON - SECOND)
        claim = one.slot(NOON)
        assert one.end(claim) is State.SUCCEEDED
        assert len(one.runs()) == 2

    def test_a_plan_from_before_a_reset_is_outdated(self, one: Process) -> None:
        one.end(one.slot())
        plan = one.plan(one.cluster.forward(1))
        one.reset(NOON - HOUR)
        polled = one.poll(plan)
        assert (polled.claims, polled.outdated) == ([], {"tick": one.state()})

    def test_a_cron_that_was_reset_is_due(self, one: Process) -> None:
        one.poll(one.plan())
        one.reset(NOON)
        assert list(one.poll().outdated) == ["tick"]

    def test_a_reset_may_be_of_a_cron_never_seen(self, one: Process) -> None:
        one.reset(NOON - HOUR, "new")
        assert one.state("new").mark == NOON - HOUR

    def test_a_reset_leaves_pending_and_running_runs(self, one: Process) -> None:
        one.crons = {"tick": 2}
        pending, running = one.slot(next=None), one.start(max_instances=2)
        one.end(pending, State.FAILED, due=NOON)
        one.reset(NOON - HOUR)
        assert (one.state_of(pending), one.state_of(running)) == (State.PENDING, State.RUNNING)
        assert one.claims() == [pending.run_id]

    def test_a_step_of_the_clock_is_recorded_again_after_a_reset(self, one: Process) -> None:
        one.end(one.slot())
        for _ in range(2):
            one.poll(one.plan(skips=[Skip("tick", NOON, Reason.CLOCK_BACK)]))
            one.reset(NOON - HOUR)
        assert one.state().missed == 2

    # Cancel

    def test_a_pending_job_is_cancelled_by_its_id(self, one: Process) -> None:
        run_id = one.defer()
        assert one.cancel(run_id)
        run = one.run(run_id)
        assert (run.state, run.ended, run.reason) == (State.CANCELLED, NOON, "on request")
        assert not one.cancel(run_id)
        assert one.claims() == []

    def test_a_pending_retry_of_a_cron_is_cancelled_by_its_id(self, one: Process) -> None:
        claim = one.slot(next=None)
        one.end(claim, State.FAILED, due=NOON)
        assert one.cancel(claim.run_id)
        assert (one.state_of(claim), one.claims()) == (State.CANCELLED, [])
        assert one.state().failures == 1

    def test_jobs_are_cancelled_by_task_and_key(self, one: Process) -> None:
        claim = one.job("k")
        pending = one.defer("k")
        others = [one.defer("other"), one.defer("k", task="bill"), one.defer()]
        assert one.cancel(task="mail", key="k")
        assert one.state_of(pending) is State.CANCELLED
        assert one.end(claim, State.FAILED, due=NOON) is State.CANCELLED
        assert [one.state_of(run_id) for run_id in others] == [State.PENDING] * 3
        assert not one.cancel(task="mail", key="k")

    def test_a_running_job_alone_is_marked_by_task_and_key(self, one: Process) -> None:
        claim = one.job("k")
        assert not one.cancel(task="mail", key="k")
        assert one.end(claim, State.FAILED) is State.CANCELLED

    def test_nothing_to_cancel_is_no_error(self, one: Process) -> None:
        claim = one.job("k")
        one.end(claim)
        assert not one.cancel("unknown")
        assert not one.cancel(claim.run_id)
        assert not one.cancel(task="mail", key="k")
        assert one.state_of(claim) is State.SUCCEEDED

    def test_a_cancelled_attempt_leaves_no_trace_for_the_next(self, one: Process) -> None:
        claim = one.job("k")
        one.cancel(claim.run_id)
        one.end(claim, State.FAILED)
        claim = one.job("k")
        assert one.end(claim, State.FAILED, due=NOON) is State.PENDING

    def test_a_running_slot_is_cancelled_by_its_id(self, one: Process) -> None:
        claim = one.slot()
        assert not one.cancel(claim.run_id)
        assert one.end(claim, State.INTERRUPTED) is State.CANCELLED

    # Retry

    @pytest.mark.parametrize("outcome", [State.FAILED, State.TIMED_OUT])
    def test_a_failed_job_is_retried_with_all_counts_at_zero(self, one: Process, outcome: State) -> None:
        claim = one.job(expires=60)
        one.end(claim, outcome, error="E: boom", reason="no more retries", unfit=True)
        one.cluster.forward(100)
        assert one.retry(claim.run_id)
        run = one.run(claim.run_id)
        assert (run.state, run.due, run.expires) == (State.PENDING, one.cluster.now, None)
        assert (run.attempts, run.failures, run.lost, run.reason, run.unfit_since) == (0, 0, 0, None, None)
        (again,) = one.poll().claims
        assert (again.run_id, again.attempt, again.fence > claim.fence) == (claim.run_id, 1, True)

    def test_a_job_that_was_lost_three_times_is_retried(self, one: Process) -> None:
        claim = one.job()
        for _ in range(3):
            one.cluster.forward(60)
            one.poll()
        assert one.state_of(claim) is State.FAILED
        assert one.retry(claim.run_id)
        assert one.run(claim.run_id).lost == 0

    def test_other_runs_are_not_retried(self, one: Process) -> None:
        succeeded, slot, manual = one.job(), one.slot(), one.start(max_instances=2)
        one.end(succeeded)
        one.end(slot, State.FAILED)
        one.end(manual, State.FAILED)
        interrupted = one.job()
        one.end(interrupted, State.INTERRUPTED)
        running, pending, cancelled = one.job(), one.defer(), one.defer()
        one.cancel(cancelled)
        ids = [one_of.run_id for one_of in (succeeded, slot, manual, interrupted, running)]
        for run_id in (*ids, pending, cancelled, "unknown"):
            assert not one.retry(run_id)
        assert one.counts()[State.PENDING] == 1

    def test_a_retry_is_refused_while_the_key_is_taken(self, one: Process) -> None:
        claim = one.job("k")
        one.end(claim, State.FAILED)
        new = one.defer("k")
        before = one.run(claim.run_id)
        assert not one.retry(claim.run_id)
        assert one.run(claim.run_id) == before
        one.cancel(new)
        assert one.retry(claim.run_id)

    def test_a_retry_takes_the_key_of_one_that_has_expired(self, one: Process) -> None:
        claim = one.job("k")
        one.end(claim, State.FAILED)
        old = one.defer("k", expires=0)
        one.cluster.forward(1)
        assert one.retry(claim.run_id)
        assert (one.state_of(old), one.claims()) == (State.EXPIRED, [claim.run_id])

    def test_a_retry_that_is_repeated_changes_nothing(self, one: Process) -> None:
        claim = one.job()
        one.end(claim, State.FAILED)
        assert one.retry(claim.run_id)
        assert not one.retry(claim.run_id)
        assert one.claims() == [claim.run_id]
