"""How attempts end: what becomes of the run, for jobs and crons alike, and what a late holder can no longer do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.model import Attempt, Kind, State
from pseudocron.backends.questions import End
from pseudocron.testing.conformance.base import Base
from pseudocron.testing.conformance.times import HOUR, NOON, SECOND

if TYPE_CHECKING:
    from pseudocron.testing.conformance.process import Process

OUTCOMES = [State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.INTERRUPTED]
LIMIT = 64 * 1024


class EndTests(Base):
    """`finish`."""

    @pytest.mark.parametrize("outcome", OUTCOMES)
    @pytest.mark.parametrize("kind", Kind)
    def test_a_run_is_in_the_state_of_its_end(self, one: Process, kind: Kind, outcome: State) -> None:
        claim = one.begin(kind)
        one.cluster.forward(3)
        assert one.end(claim, outcome, error="Traceback\nE: boom", output="out", reason="because") is outcome
        run = one.run(claim.run_id)
        assert (run.kind, run.state, run.ended, run.started) == (kind, outcome, NOON + 3 * SECOND, NOON)
        assert (run.error, run.output, run.reason) == ("Traceback\nE: boom", "out", "because")
        assert (run.attempts, run.failures) == (1, outcome in {State.FAILED, State.TIMED_OUT})
        assert one.state().running == 0

    def test_an_end_that_is_repeated_changes_nothing(self, one: Process, two: Process) -> None:
        claim = one.job()
        assert one.end(claim) is State.SUCCEEDED
        before = one.run(claim.run_id)
        one.cluster.forward(1)
        assert two.end(claim, State.FAILED) is None
        assert one.run(claim.run_id) == before

    def test_of_two_ends_of_a_claim_the_first_counts(self, one: Process) -> None:
        claim = one.job()
        ends = [End(claim, State.FAILED, error="first"), End(claim, State.SUCCEEDED)]
        assert list(one.finish(*ends).states) == [State.FAILED, None]
        assert (one.state_of(claim), one.run(claim.run_id).error) == (State.FAILED, "first")

    def test_several_runs_end_in_one_call(self, one: Process) -> None:
        one.defer_all(one.new(), one.new())
        claims = one.poll(one.plan(NOON)).claims
        ends = [End(claim, outcome) for claim, outcome in zip(claims, OUTCOMES, strict=False)]
        assert list(one.finish(*ends).states) == OUTCOMES[:3]

    def test_no_ends_and_nothing_to_take_is_no_error(self, one: Process) -> None:
        assert list(one.finish().states) == []

    def test_an_end_of_an_unknown_claim_changes_nothing(self, one: Process) -> None:
        claim = one.job()
        assert one.end(claim._replace(run_id="unknown")) is None
        assert one.end(claim._replace(fence=claim.fence + 1)) is None
        assert one.state_of(claim) is State.RUNNING

    def test_a_claim_whose_lease_is_over_holds_its_run_until_it_is_lost(self, one: Process) -> None:
        claim = one.job()
        one.cluster.forward(3600)
        assert one.end(claim) is State.SUCCEEDED

    @pytest.mark.parametrize("kind", [Kind.JOB, Kind.SLOT])
    def test_a_late_holder_changes_nothing(self, one: Process, two: Process, kind: Kind) -> None:
        late = one.begin(kind, at_least_once=True, next=None)
        one.cluster.forward(30)
        (claim,) = two.poll().claims
        assert (claim.run_id, claim.fence > late.fence) == (late.run_id, True)
        assert one.end(late, State.FAILED, due=NOON, goes_on=True) is None
        assert one.renew(late) == set()
        one.release(late)
        assert two.state_of(claim) is State.RUNNING
        assert two.end(claim) is State.SUCCEEDED

    def test_error_and_output_are_kept_from_their_end(self, one: Process) -> None:
        claim = one.job()
        one.end(claim, State.FAILED, error="x" * LIMIT + "\nE: ä", output="y" * LIMIT + "z")
        run = one.run(claim.run_id)
        assert run.error is not None
        assert (len(run.error.encode()), run.error[-5:]) == (LIMIT, "\nE: ä")
        assert run.output == "y" * (LIMIT - 1) + "z"

    # Retries

    @pytest.mark.parametrize("kind", [Kind.JOB, Kind.SLOT])
    def test_a_failed_run_with_a_retry_is_pending_until_it_is_due(self, one: Process, kind: Kind) -> None:
        claim = one.begin(kind)
        one.cluster.forward(2)
        due = NOON + 9 * SECOND
        assert one.end(claim, State.FAILED, due=due, error="Traceback\n  line\nE: boom\n") is State.PENDING
        run = one.run(claim.run_id)
        assert (run.state, run.due, run.attempts, run.failures, run.lost) == (State.PENDING, due, 1, 1, 0)
        assert (run.worker, run.started, run.ended) == ("host:1", NOON, NOON + 2 * SECOND)
        assert run.earlier == (Attempt("host:1", NOON, NOON + 2 * SECOND, State.FAILED, "E: boom"),)
        one.cluster.forward(6.9)
        assert one.claims() == []
        one.cluster.forward(0.1)
        (again,) = one.poll().claims
        assert (again.run_id, again.attempt, again.failures) == (claim.run_id, 2, 1)
        assert (again.due, again.fence > claim.fence, again.slot) == (due, True, claim.slot)

    def test_a_pending_retry_holds_no_lease(self, one: Process) -> None:
        claim = one.job()
        one.end(claim, State.TIMED_OUT, due=NOON + 100 * SECOND)
        assert one.renew(claim) == set()
        one.cluster.forward(60)
        assert one.poll().lost == []
        assert one.run(claim.run_id).failures == 1

    def test_a_retry_in_the_past_is_due_now(self, one: Process) -> None:
        claim = one.job()
        one.cluster.forward(5)
        one.end(claim, State.FAILED, due=NOON - HOUR)
        assert one.run(claim.run_id).due == NOON + 5 * SECOND
        assert one.claims() == [claim.run_id]

    def test_a_run_that_succeeds_is_over_whatever_its_due_time(self, one: Process) -> None:
        assert one.end(one.job(), due=NOON) is State.SUCCEEDED

    def test_a_success_keeps_the_error_of_the_failure_before(self, one: Process) -> None:
        claim = one.job()
        one.end(claim, State.FAILED, due=NOON, error="E: boom")
        (claim,) = one.poll().claims
        one.end(claim)
        run = one.run(claim.run_id)
        assert (run.state, run.error, run.attempts, run.failures) == (State.SUCCEEDED, "E: boom", 2, 1)

    def test_at_most_ten_earlier_attempts_are_described(self, one: Process) -> None:
        one.defer()
        for number in range(12):
            (claim,) = one.poll().claims
            one.end(claim, State.FAILED, due=NOON, error=str(number))
        run = one.run(claim.run_id)
        assert [attempt.error for attempt in run.earlier] == [str(number) for number in range(2, 12)]
        assert (run.attempts, run.failures) == (12, 12)

    def test_a_run_that_is_handed_back_does_not_count_that(self, one: Process) -> None:
        claim = one.job()
        assert one.end(claim, State.INTERRUPTED, due=NOON, counts=False) is State.PENDING
        run = one.run(claim.run_id)
        assert (run.attempts, run.failures, run.lost) == (0, 0, 0)
        (again,) = one.poll().claims
        assert (again.attempt, again.fence > claim.fence) == (1, True)

    def test_a_cron_is_handed_back_too(self, one: Process) -> None:
        claim = one.slot(at_least_once=True, next=None)
        assert one.end(claim, State.INTERRUPTED, due=NOON, counts=False) is State.PENDING
        assert one.claims() == [claim.run_id]

    def test_finish_claims_the_next_runs(self, one: Process) -> None:
        one.tasks = {"mail": 1}
        claim, following = one.job(), one.defer()
        later = one.defer()
        finished = one.finish(End(claim, State.SUCCEEDED), take=one.take())
        assert [claim.run_id for claim in finished.claims] == [following]
        assert (list(finished.states), finished.left) == ([State.SUCCEEDED], False)
        assert one.state_of(later) is State.PENDING

    def test_finish_claims_no_more_than_there_is_capacity_for(self, one: Process) -> None:
        ids = [one.defer(), one.defer()]
        finished = one.finish(take=one.take(1))
        assert ([claim.run_id for claim in finished.claims], finished.left) == (ids[:1], True)

    def test_finish_claims_runs_of_names_that_no_poll_has_named(self, one: Process) -> None:
        claim, run_id = one.start(), one.defer()
        one.end(claim, State.FAILED, due=NOON)
        assert [claim.run_id for claim in one.finish(take=one.take()).claims] == [claim.run_id, run_id]

    # Arguments that do not fit

    def test_since_when_arguments_do_not_fit_is_kept(self, one: Process) -> None:
        claim = one.job()
        assert claim.unfit_since is None
        for _ in range(2):
            assert one.end(claim, State.FAILED, due=NOON, counts=False, unfit=True) is State.PENDING
            one.cluster.forward(10)
            assert one.run(claim.run_id).unfit_since == NOON
            (claim,) = one.poll().claims
            assert (claim.unfit_since, claim.attempt) == (NOON, 1)
        one.end(claim, State.FAILED, due=NOON)
        assert one.run(claim.run_id).unfit_since is None

    # Cancelled while it ran, and keys that are taken

    @pytest.mark.parametrize("outcome", OUTCOMES)
    @pytest.mark.parametrize("due", [None, NOON])
    def test_a_cancelled_run_ends_as_cancelled_unless_it_succeeds(
        self, one: Process, outcome: State, due: object
    ) -> None:
        claim = one.job()
        assert not one.cancel(claim.run_id)
        assert one.state_of(claim) is State.RUNNING
        after = State.SUCCEEDED if outcome is State.SUCCEEDED else State.CANCELLED
        assert one.end(claim, outcome, due=due) is after
        assert one.run(claim.run_id).reason == (None if after is State.SUCCEEDED else "on request")

    def test_a_retry_of_a_key_that_is_taken_is_replaced(self, one: Process) -> None:
        claim = one.job("k")
        new = one.defer("k", due=50)
        assert one.end(claim, State.FAILED, due=NOON) is State.REPLACED
        assert one.run(claim.run_id).reason == "by a newer run"
        assert one.state_of(new) is State.PENDING

    def test_a_failure_without_a_retry_fails_whatever_its_key(self, one: Process) -> None:
        claim = one.job("k")
        one.defer("k")
        assert one.end(claim, State.FAILED) is State.FAILED

    def test_a_retry_of_a_key_that_was_taken_for_a_time_is_not_replaced(self, one: Process) -> None:
        claim = one.job("k")
        assert one.cancel(one.defer("k"))
        assert one.end(claim, State.FAILED, due=NOON) is State.PENDING

    def test_a_retry_takes_its_key_from_a_job_that_has_expired(self, one: Process) -> None:
        claim = one.job("k")
        old = one.defer("k", expires=1)
        one.cluster.forward(2)
        assert one.end(claim, State.FAILED, due=NOON) is State.PENDING
        assert one.state_of(old) is State.EXPIRED
        assert one.defer("k") != claim.run_id
        assert one.state_of(claim) is State.REPLACED
