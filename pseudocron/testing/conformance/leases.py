"""Leases: how they are renewed, what is lost with them, and those that outlive the record of their attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.model import Attempt, Kind, Reason, State
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, LEASE, NOON, SECOND

if TYPE_CHECKING:
    from pseudocron.backends.questions import Claim
    from pseudocron.testing.conformance.process import Process


def lose(process: Process) -> list[tuple[str, State]]:
    """Let all leases be over that are not renewed; return what a poll that claims nothing finds lost."""
    process.cluster.forward(LEASE)
    return [(run.run_id, run.state) for run in process.poll(total=0).lost]


def kept(process: Process, outcome: State = State.FAILED, key: str | None = None, **end: object) -> Claim:
    """Return the claim of a job whose end is recorded while its code goes on."""
    claim = process.job(key)
    process.end(claim, outcome, goes_on=True, **end)
    return claim


class LeaseTests(Base):
    """Leases and losses."""

    def test_a_lease_that_is_renewed_goes_on(self, one: Process) -> None:
        claim = one.job()
        for _ in range(3):
            one.cluster.forward(LEASE - 1)
            assert one.renew(claim) == {claim.run_id}
            assert one.poll().lost == []
        assert one.state_of(claim) is State.RUNNING

    def test_a_lease_that_is_over_is_living_until_a_poll_ends_it(self, one: Process) -> None:
        claim = one.slot()
        one.cluster.forward(LEASE + 1)
        assert one.renew(claim) == {claim.run_id}
        assert one.poll().lost == []
        one.cluster.forward(LEASE + 1)
        one.poll()
        assert one.renew(claim) == set()

    def test_leases_are_renewed_together(self, one: Process) -> None:
        job, slot, manual = one.job(), one.slot(), one.start(max_instances=2)
        one.end(job)
        assert one.renew(job, slot, manual) == {slot.run_id, manual.run_id}
        assert one.renew() == set()

    def test_what_a_poll_holds_is_renewed_before_leases_end(self, one: Process, two: Process) -> None:
        mine, other = one.job(), two.start()
        one.cluster.forward(HOUR.total_seconds())
        polled = one.poll(holding=[mine], lease=77)
        assert [run.run_id for run in polled.lost] == [other.run_id]
        assert one.state_of(mine) is State.RUNNING
        one.cluster.forward(76)
        assert one.poll().lost == []
        one.cluster.forward(1)
        assert [run.run_id for run in one.poll(total=0).lost] == [mine.run_id]

    def test_holding_what_is_no_longer_held_changes_nothing(self, one: Process) -> None:
        claim = one.job()
        one.end(claim)
        one.poll(holding=[claim, claim._replace(run_id="unknown")])
        assert one.state_of(claim) is State.SUCCEEDED

    # What is lost

    def test_a_lost_slot_is_lost(self, one: Process) -> None:
        claim = one.slot()
        assert lose(one) == [(claim.run_id, State.LOST)]
        run = one.run(claim.run_id)
        assert (run.state, run.lost, run.failures, run.attempts) == (State.LOST, 1, 0, 1)
        assert run.ended == one.cluster.now
        assert (one.state().running, one.state().failures) == (0, 1)
        assert one.poll().lost == [], "it is told once"

    def test_a_lost_manual_run_is_lost(self, one: Process) -> None:
        claim = one.start()
        assert lose(one) == [(claim.run_id, State.LOST)]

    @pytest.mark.parametrize("kind", [Kind.JOB, Kind.SLOT])
    def test_a_lost_run_that_is_at_least_once_is_pending_at_once(self, one: Process, kind: Kind) -> None:
        claim = one.begin(kind, at_least_once=True, next=None)
        assert lose(one) == [(claim.run_id, State.PENDING)]
        assert one.stale_in() == 0
        run, now = one.run(claim.run_id), one.cluster.now
        assert (run.state, run.due, run.lost, run.failures, run.attempts) == (State.PENDING, now, 1, 0, 1)
        assert run.earlier == (Attempt("host:1", NOON, now, State.LOST, None),)
        (again,) = one.poll().claims
        assert (again.run_id, again.fence > claim.fence, again.failures) == (claim.run_id, True, 0)

    def test_a_run_that_is_lost_is_claimed_in_the_same_poll(self, one: Process) -> None:
        claim = one.job()
        one.cluster.forward(LEASE)
        polled = one.poll()
        assert [run.run_id for run in polled.lost] == [claim.run_id]
        assert [claim.run_id for claim in polled.claims] == [claim.run_id]

    @pytest.mark.parametrize("kind", [Kind.JOB, Kind.SLOT])
    def test_a_run_that_is_lost_three_times_has_failed(self, one: Process, kind: Kind) -> None:
        claim = one.begin(kind, at_least_once=True, next=None)
        for state in (State.PENDING, State.PENDING, State.FAILED):
            assert lose(one) == [(claim.run_id, state)]
            one.poll()
        run = one.run(claim.run_id)
        assert (run.lost, run.failures, run.reason) == (3, 0, "lost 3 times")

    def test_losses_and_failures_are_counted_apart(self, one: Process) -> None:
        claim = one.job()
        lose(one)
        (claim,) = one.poll().claims
        one.end(claim, State.FAILED, due=NOON)
        (claim,) = one.poll().claims
        lose(one)
        (claim,) = one.poll().claims
        run = one.run(claim.run_id)
        assert (run.attempts, run.failures, run.lost) == (4, 1, 2)
        assert [attempt.outcome for attempt in run.earlier] == [State.LOST, State.FAILED, State.LOST]
        assert (claim.attempt, claim.failures) == (4, 1)

    def test_a_lost_run_that_was_cancelled_is_cancelled(self, one: Process) -> None:
        claim = one.job()
        one.cancel(claim.run_id)
        assert lose(one) == [(claim.run_id, State.CANCELLED)]
        assert one.run(claim.run_id).reason == "on request"

    def test_a_lost_job_whose_key_is_taken_is_replaced(self, one: Process) -> None:
        claim = one.job("k")
        new = one.defer("k")
        assert lose(one) == [(claim.run_id, State.REPLACED)]
        assert one.claims() == [new]

    def test_a_lost_job_takes_its_key_from_one_that_has_expired(self, one: Process) -> None:
        claim = one.job("k")
        old = one.defer("k", expires=1)
        assert lose(one) == [(claim.run_id, State.PENDING)]
        assert one.state_of(old) is State.EXPIRED

    def test_a_lost_run_frees_the_slots_that_wait_for_it(self, one: Process) -> None:
        one.slot(coalesce=False)
        slot = one.cluster.forward(1)
        one.poll(one.plan(slot, coalesce=False))
        one.cluster.forward(LEASE)
        assert [claim.slot for claim in one.poll(one.plan(slot, coalesce=False)).claims] == [slot]

    def test_a_loss_forgets_that_arguments_did_not_fit(self, one: Process) -> None:
        claim = one.job()
        one.end(claim, State.FAILED, due=NOON, counts=False, unfit=True)
        one.poll()
        lose(one)
        assert one.run(claim.run_id).unfit_since is None

    # Leases that are kept

    @pytest.mark.parametrize("outcome", [State.SUCCEEDED, State.FAILED, State.TIMED_OUT])
    @pytest.mark.parametrize("kind", Kind)
    def test_a_run_whose_code_goes_on_is_in_the_state_of_its_end(
        self, one: Process, kind: Kind, outcome: State
    ) -> None:
        claim = one.begin(kind)
        assert one.end(claim, outcome, goes_on=True) is outcome
        run = one.run(claim.run_id)
        assert (run.state, run.ended, run.is_kept, run.fence) == (outcome, NOON, True, claim.fence)
        assert one.runs(is_kept=True) == [claim.run_id]
        assert one.end(claim) is None
        one.release(claim)
        assert (one.runs(is_kept=True), one.run(claim.run_id).is_kept) == ([], False)
        assert one.state_of(claim) is outcome

    def test_a_retry_waits_until_its_code_is_over(self, one: Process) -> None:
        first = kept(one, due=NOON)
        other = one.defer()
        assert one.state_of(first) is State.PENDING
        assert one.claims() == [other]
        one.release(first)
        (second,) = one.poll().claims
        assert (second.run_id, second.attempt, second.fence > first.fence) == (first.run_id, 2, True)
        one.release(first)
        assert one.state_of(second) is State.RUNNING
        assert one.renew(first, second) == {first.run_id}

    def test_a_newer_job_of_the_key_waits_until_the_code_is_over(self, one: Process) -> None:
        claim = kept(one, key="k")
        new, other = one.defer("k"), one.defer("other")
        assert one.claims() == [other]
        one.release(claim)
        assert one.claims() == [new]

    def test_code_that_goes_on_counts_for_the_limit_of_its_task(self, one: Process) -> None:
        one.tasks = {"mail": 1}
        claim = kept(one)
        new = one.defer()
        assert one.claims() == []
        one.release(claim)
        assert one.claims() == [new]

    def test_code_that_goes_on_counts_for_max_instances(self, one: Process) -> None:
        claim = one.slot()
        one.end(claim, State.TIMED_OUT, goes_on=True)
        assert one.state().running == 1
        assert one.poll(one.plan(one.cluster.forward(1))).claims == []
        assert one.skips() == [(Reason.OVERLAP, 1)]
        one.release(claim)
        assert one.state().running == 0
        one.slot(one.cluster.forward(1))

    def test_a_run_that_is_kept_and_pending_counts_once(self, one: Process) -> None:
        claim = one.slot(at_least_once=True, next=None)
        one.end(claim, State.FAILED, due=NOON, goes_on=True)
        assert one.state().running == 1

    def test_a_kept_lease_is_renewed_and_ends_without_a_loss(self, one: Process) -> None:
        claim = kept(one, due=NOON)
        one.cluster.forward(LEASE - 1)
        assert one.renew(claim, claim._replace(fence=claim.fence + 1)) == {claim.run_id}
        one.cluster.forward(LEASE - 1)
        assert one.claims() == []
        one.cluster.forward(1)
        polled = one.poll()
        assert (polled.lost, [claim.run_id for claim in polled.claims]) == ([], [claim.run_id])
        run = one.run(claim.run_id)
        assert (run.lost, run.is_kept) == (0, False)

    def test_a_poll_renews_a_kept_lease_that_is_held(self, one: Process) -> None:
        claim = kept(one)
        one.cluster.forward(LEASE)
        one.poll(holding=[claim])
        assert one.runs(is_kept=True) == [claim.run_id]

    def test_only_the_claim_itself_releases_its_lease(self, one: Process) -> None:
        claim = kept(one)
        one.release(claim._replace(fence=claim.fence + 1))
        one.release()
        assert one.runs(is_kept=True) == [claim.run_id]
        one.release(claim)
        one.release(claim)
        assert one.runs(is_kept=True) == []

    def test_releasing_what_is_not_finished_leaves_its_lease(self, one: Process) -> None:
        claim = one.job()
        one.release(claim)
        assert one.state_of(claim) is State.RUNNING
        assert one.renew(claim) == {claim.run_id}
        assert one.end(claim) is State.SUCCEEDED

    def test_an_attempt_may_end_after_its_lease_while_its_code_goes_on(self, one: Process) -> None:
        claim = one.job()
        one.cluster.forward(LEASE + 1)
        assert one.end(claim, State.TIMED_OUT, goes_on=True) is State.TIMED_OUT
        assert one.renew(claim) == {claim.run_id}
        one.poll()
        assert one.runs(is_kept=True) == [claim.run_id]

    def test_a_pending_run_may_be_cancelled_while_its_code_goes_on(self, one: Process) -> None:
        claim = kept(one, key="k", due=NOON)
        assert one.cancel(claim.run_id)
        assert (one.state_of(claim), one.runs(is_kept=True)) == (State.CANCELLED, [claim.run_id])
        new = one.defer("k")
        assert one.claims() == []
        one.release(claim)
        assert one.claims() == [new]

    def test_a_failed_job_is_retried_once_its_code_is_over(self, one: Process) -> None:
        claim = kept(one)
        assert one.retry(claim.run_id)
        assert (one.state_of(claim), one.claims()) == (State.PENDING, [])
        one.release(claim)
        assert one.claims() == [claim.run_id]

    def test_a_job_whose_code_goes_on_is_not_purged(self, one: Process) -> None:
        claim = kept(one)
        one.cluster.forward(1)
        assert one.purge(failed=0) == 0
        one.release(claim)
        assert one.purge(failed=0) == 1

    def test_a_lease_of_another_attempt_is_not_kept(self, one: Process) -> None:
        first = kept(one, due=NOON)
        one.release(first)
        (second,) = one.poll().claims
        assert one.runs(is_kept=True) == []
        assert lose(one) == [(second.run_id, State.PENDING)]
        assert one.run(second.run_id).lost == 1

    def test_the_lease_after_a_long_sleep_ends_in_one_poll(self, one: Process) -> None:
        ids = one.defer_all(*(one.new() for _ in range(30)))
        assert len(one.claims(total=30)) == 30
        one.cluster.forward(HOUR / SECOND)
        assert sorted(run_id for run_id, _ in lose(one)) == sorted(ids)
