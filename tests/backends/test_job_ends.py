"""Contract of a backend's queue: what becomes of a job that was claimed, cancelled, lost, or is long over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from backends.worlds import LEASE, NOON
from pseudocron.backends.jobs import JobEnd, JobState
from pseudocron.truncation import LIMIT

if TYPE_CHECKING:
    from backends.desk import Desk

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


# Finishing


def test_a_job_that_succeeded_is_over(desk: Desk) -> None:
    job_id = desk.defer()
    claim = desk.claim()
    desk.world.forward(1)
    assert desk.end(claim) is JobState.SUCCEEDED
    job = desk.job(job_id)
    assert (job.state, job.ended, job.error, job.reason) == (JobState.SUCCEEDED, NOON + SECOND, None, None)
    desk.world.forward(2 * LEASE)
    assert not desk.lose()
    assert desk.started() == []


def test_of_several_that_are_finished_together_each_one_s_state_is_told(desk: Desk) -> None:
    desk.defer_all(*(desk.new() for _ in range(3)))
    first, second, third = desk.claims()
    assert desk.end(second) is JobState.SUCCEEDED
    ended = desk.end_all(
        (first, JobEnd(state=JobState.FAILED)),
        (second, JobEnd(state=JobState.FAILED)),
        (third, JobEnd(state=JobState.PENDING)),
    )
    assert list(ended) == [JobState.FAILED, None, JobState.PENDING]
    assert desk.end_all() == []


def test_a_batch_ends_each_of_its_jobs_as_if_it_were_alone(desk: Desk) -> None:
    names = ("reaped", "plain", "replaced", "cancelled", "again")
    desk.defer_all(*(desk.new(key=name, job_id=name) for name in names))
    (late,) = desk.claims(1)
    desk.lose()
    claims = {claim.job_id: claim for claim in desk.claims()}
    desk.defer("replaced")
    for name in ("cancelled", "plain"):
        assert not desk.cancel(name)
    ended = desk.end_all(
        (late, JobEnd(state=JobState.SUCCEEDED)),
        (claims["plain"], JobEnd(state=JobState.SUCCEEDED)),
        (claims["replaced"], JobEnd(state=JobState.FAILED)),
        (claims["cancelled"], JobEnd(state=JobState.PENDING)),
        (claims["again"], JobEnd(state=JobState.SUCCEEDED, error="but", counts=False)),
        (claims["reaped"], JobEnd(state=JobState.SUCCEEDED, reason="at last", counts=False)),
    )
    assert list(ended) == [None, "succeeded", "replaced", "cancelled", "succeeded", "succeeded"]
    assert [desk.state(name) for name in names] == ["succeeded", "succeeded", "replaced", "cancelled", "succeeded"]
    again, reaped = desk.job("again"), desk.job("reaped")
    assert (again.attempts, again.error) == (0, "but")
    assert (reaped.attempts, reaped.fence, reaped.lost) == (1, claims["reaped"].fence, 1)
    assert reaped.reason == "at last"
    assert (reaped.worker, reaped.started, reaped.ended) == ("host:1", desk.world.now, desk.world.now)


def test_of_two_ends_of_one_claim_in_a_batch_the_first_counts(desk: Desk) -> None:
    job_id = desk.defer()
    claim = desk.claim()
    ends = [(claim, JobEnd(state=state)) for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED)]
    assert list(desk.end_all(*ends)) == [JobState.SUCCEEDED, None, None]
    assert desk.state(job_id) is JobState.SUCCEEDED


def test_a_job_that_failed_for_good_says_why(desk: Desk) -> None:
    job_id = desk.defer()
    assert desk.end(desk.claim(), JobState.FAILED, error="boom", reason="timed_out") is JobState.FAILED
    job = desk.job(job_id)
    assert (job.state, job.error, job.reason) == (JobState.FAILED, "boom", "timed_out")
    assert desk.started() == []


def test_the_last_of_a_long_error_is_kept(desk: Desk) -> None:
    job_id = desk.defer()
    desk.end(desk.claim(), JobState.FAILED, error="x" * LIMIT + "the end")
    error = desk.job(job_id).error
    assert error
    assert len(error) == LIMIT
    assert error.endswith("the end")


def test_a_job_that_is_tried_again_waits_for_its_time(desk: Desk) -> None:
    job_id = desk.defer()
    first = desk.claim()
    assert desk.end(first, JobState.PENDING, due=NOON + SECOND, error="boom") is JobState.PENDING
    assert desk.next() == NOON + SECOND
    assert desk.started() == []
    desk.world.forward(1)
    second, job = desk.claim(), desk.job(job_id)
    assert (second.attempt, second.fence > first.fence, job.error) == (2, True, "boom")
    desk.end(second)
    assert desk.job(job_id).error == "boom"


def test_a_job_that_is_tried_again_at_no_time_is_due_at_once(desk: Desk) -> None:
    desk.defer()
    desk.end(desk.claim(), JobState.PENDING)
    assert desk.claim().due == NOON


def test_a_job_that_was_handed_back_has_not_been_tried(desk: Desk) -> None:
    job_id = desk.defer()
    first = desk.claim()
    desk.end(first, JobState.PENDING, counts=False)
    assert desk.job(job_id).attempts == 0
    again = desk.claim()
    assert (again.attempt, again.fence > first.fence) == (1, True)


def test_an_attempt_ends_once(desk: Desk) -> None:
    desk.defer()
    claim = desk.claim()
    desk.end(claim)
    assert desk.end(claim, JobState.FAILED) is None


def test_a_late_holder_ends_nothing(desk: Desk) -> None:
    job_id = desk.defer()
    late = desk.claim()
    desk.lose()
    assert desk.end(late) is None
    assert desk.state(job_id) is JobState.PENDING
    now = desk.claim()
    assert desk.end(late) is None
    assert desk.end(now) is JobState.SUCCEEDED


def test_a_job_whose_lease_is_over_but_not_reaped_can_be_finished(desk: Desk) -> None:
    desk.defer()
    claim = desk.claim()
    desk.world.forward(2 * LEASE)
    assert desk.end(claim) is JobState.SUCCEEDED


# Leases


def test_a_lost_job_is_pending_again_and_due_at_once(desk: Desk) -> None:
    job_id = desk.defer()
    first = desk.claim()
    (reaped,) = desk.lose()
    assert reaped == desk.job(job_id)
    assert (reaped.state, reaped.due, reaped.lost) == (JobState.PENDING, desk.world.now, 1)
    again = desk.claim()
    assert (again.attempt, again.fence > first.fence) == (2, True)
    assert not desk.world.do(desk.world.backend.reap_jobs())


def test_a_job_that_was_lost_too_often_is_failed(desk: Desk) -> None:
    job_id = desk.defer()
    for _ in range(desk.world.backend.lost_at_most):
        desk.claim()
        desk.lose()
    job = desk.job(job_id)
    assert (job.state, job.reason, job.lost, job.ended) == (JobState.FAILED, "lost 3 times", 3, desk.world.now)


def test_a_living_lease_is_not_reaped(desk: Desk) -> None:
    desk.defer()
    desk.claim()
    desk.world.forward(LEASE - 1)
    assert not desk.world.do(desk.world.backend.reap_jobs())


def test_a_renewed_lease_outlives_its_first_end(desk: Desk) -> None:
    job_id = desk.defer()
    claim = desk.claim()
    desk.world.forward(LEASE + 1)
    assert set(desk.world.backend.renew_jobs([claim], LEASE)) == {job_id}
    desk.world.forward(LEASE - 1)
    assert not desk.world.do(desk.world.backend.reap_jobs())
    desk.world.forward(1)
    assert desk.world.do(desk.world.backend.reap_jobs())


def test_renewing_names_only_the_living(desk: Desk) -> None:
    desk.defer_all(desk.new(), desk.new(), desk.new())
    done, other, living = desk.claims()
    desk.end(done)
    late = replace(other, fence=other.fence + 1)
    assert set(desk.world.backend.renew_jobs([done, late, living], LEASE)) == {living.job_id}
    assert not desk.world.backend.renew_jobs([], LEASE)


def test_a_lease_is_renewed_from_a_plain_thread_while_the_loop_is_blocked(desk: Desk) -> None:
    desk.defer()
    claim, renewed = desk.claim(), list[str]()

    async def blocked() -> None:
        thread = Thread(target=lambda: renewed.extend(desk.world.backend.renew_jobs([claim], LEASE)))
        thread.start()
        thread.join(10)

    desk.world.do(blocked())
    assert renewed == [claim.job_id]


# Cancelling


@pytest.mark.parametrize("due", [NOON, NOON + SECOND])
def test_a_pending_job_that_is_cancelled_never_starts(desk: Desk, due: object) -> None:
    job_id = desk.defer(due=due)
    assert desk.cancel(job_id)
    job = desk.job(job_id)
    assert (job.state, job.ended, job.reason) == (JobState.CANCELLED, NOON, "on request")
    desk.world.forward(1)
    assert desk.started() == []
    assert not desk.cancel(job_id)


def test_cancelling_by_a_key_cancels_what_has_it_and_nothing_else(desk: Desk) -> None:
    job_id, others = desk.defer("k"), [desk.defer("l"), desk.defer("k", task="bill"), desk.defer()]
    assert desk.cancel(task="mail", key="k")
    assert desk.state(job_id) is JobState.CANCELLED
    assert all(desk.state(other) is JobState.PENDING for other in others)
    assert not desk.cancel(task="mail", key="k")


def test_cancelling_nothing_cancels_nothing(desk: Desk) -> None:
    job_id = desk.defer()
    running = desk.claim()
    pending = desk.defer()
    assert not desk.cancel("none")
    assert not desk.cancel()
    assert not desk.cancel(task="mail")
    assert desk.state(pending) is JobState.PENDING
    assert desk.end(running, JobState.FAILED) is desk.state(job_id) is JobState.FAILED


@pytest.mark.parametrize("by", ["job_id", "key"])
@pytest.mark.parametrize("state", [JobState.FAILED, JobState.PENDING])
def test_a_running_job_that_is_cancelled_is_not_tried_again(desk: Desk, by: str, state: JobState) -> None:
    job_id = desk.defer("k")
    claim = desk.claim()
    assert not (desk.cancel(job_id) if by == "job_id" else desk.cancel(task="mail", key="k"))
    assert desk.state(job_id) is JobState.RUNNING
    assert desk.end(claim, state) is JobState.CANCELLED
    assert desk.started() == []


def test_a_running_job_that_is_cancelled_may_succeed_or_be_lost(desk: Desk) -> None:
    desk.defer_all(desk.new(), desk.new())
    first, second = desk.claims()
    desk.cancel(first.job_id)
    desk.cancel(second.job_id)
    assert desk.end(first) is JobState.SUCCEEDED
    assert [job.state for job in desk.lose()] == [JobState.CANCELLED]


def test_cancelling_a_key_cancels_the_running_and_the_pending_job(desk: Desk) -> None:
    desk.defer("k")
    running = desk.claim()
    pending = desk.defer("k")
    assert desk.cancel(task="mail", key="k")
    assert desk.state(pending) is JobState.CANCELLED
    assert desk.end(running, JobState.PENDING) is JobState.CANCELLED


def test_a_job_that_was_cancelled_while_it_ran_is_not_replaced(desk: Desk) -> None:
    desk.defer("k")
    running = desk.claim()
    desk.cancel(running.job_id)
    desk.defer("k")
    assert desk.end(running, JobState.FAILED) is JobState.CANCELLED


# Retrying what failed


def test_a_failed_job_that_is_retried_begins_anew(desk: Desk) -> None:
    job_id = desk.defer(expires=NOON)
    first = desk.claim()
    desk.end(first, JobState.FAILED, error="boom", reason="failed")
    desk.world.forward(1)
    assert desk.retry(job_id)
    job = desk.job(job_id)
    assert (job.state, job.due, job.attempts, job.lost) == (JobState.PENDING, desk.world.now, 0, 0)
    assert (job.error, job.reason) == ("boom", None)
    again = desk.claim()
    assert (again.attempt, again.fence > first.fence) == (1, True)


def test_only_a_failed_job_is_retried(desk: Desk) -> None:
    job_id = desk.defer()
    assert not desk.retry("none")
    assert not desk.retry(job_id)
    claim = desk.claim()
    assert not desk.retry(job_id)
    desk.end(claim)
    assert not desk.retry(job_id)


def test_a_failed_job_is_not_retried_beside_a_pending_one_of_its_key(desk: Desk) -> None:
    failed = desk.defer("k")
    desk.end(desk.claim(), JobState.FAILED)
    new = desk.defer("k")
    assert not desk.retry(failed)
    assert desk.started() == [new]


def test_a_job_that_is_retried_beside_a_running_one_of_its_key_is_the_newer(desk: Desk) -> None:
    failed = desk.defer("k")
    desk.end(desk.claim(), JobState.FAILED)
    desk.defer("k")
    running = desk.claim()
    assert desk.retry(failed)
    assert desk.end(running, JobState.PENDING) is JobState.REPLACED
    assert desk.started() == [failed]


# Listing


def test_jobs_are_listed_the_latest_stored_first_and_page_by_page(desk: Desk) -> None:
    ids = [desk.defer() for _ in range(5)]
    desk.claims(2)
    assert desk.listed(limit=2) == [ids[4], ids[3]]
    assert desk.listed(limit=2, before=ids[3]) == [ids[2], ids[1]]
    assert desk.listed(limit=2, before=ids[1]) == [ids[0]]
    assert desk.listed(before=ids[0]) == desk.listed(before="none") == []


def test_a_list_of_several_states_is_in_the_order_of_their_storing(desk: Desk) -> None:
    desk.defer_all(*(desk.new() for _ in range(6)))  # j1 to j6
    ends = (JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED, JobState.PENDING)
    for claim, state in zip(desk.claims(5), ends, strict=False):
        desk.end(claim, state)
    assert desk.listed() == ["j6", "j5", "j4", "j3", "j2", "j1"]
    assert desk.listed(states=[JobState.RUNNING]) == ["j5"]
    assert desk.listed(states=[JobState.PENDING]) == ["j6", "j4"]
    assert desk.listed(states=[JobState.PENDING, JobState.FAILED, JobState.RUNNING], limit=3) == ["j6", "j5", "j4"]
    assert desk.listed(states=[JobState.SUCCEEDED, JobState.FAILED], before="j3") == ["j2", "j1"]
    assert desk.listed(states=[JobState.FAILED, JobState.FAILED]) == ["j2"]


def test_a_list_holds_what_is_asked_for(desk: Desk) -> None:
    first, bill = desk.defer("k"), desk.defer("k", task="bill")
    desk.end(desk.claim(), JobState.FAILED)
    second = desk.defer("k")
    assert desk.listed(task="mail") == [second, first]
    assert desk.listed(key="k") == [second, bill, first]
    assert desk.listed(key="k", task="bill") == [bill]
    assert desk.listed(states=[JobState.FAILED]) == [first]
    assert desk.listed(states={JobState.PENDING, JobState.FAILED}, task="mail", key="k") == [second, first]
    assert desk.listed(states=[JobState.RUNNING]) == desk.listed(key="none") == []


# Forgetting


def test_what_ended_longer_ago_than_is_kept_is_forgotten(desk: Desk) -> None:
    old = desk.defer()
    desk.end(desk.claim())
    desk.world.forward(1)
    new = desk.defer()
    desk.end(desk.claim())
    desk.world.now = NOON + DAY
    assert purge(desk, succeeded=1) == 0
    desk.world.now += desk.world.backend.precision
    assert purge(desk, succeeded=1) == 1
    assert desk.listed() == [new]
    assert desk.defer_all(desk.new(job_id=old)) == desk.started() == [old]


def test_each_state_is_kept_for_a_time_of_its_own_and_what_is_not_over_for_ever(desk: Desk) -> None:
    done, failed, tried, running, pending = (desk.defer() for _ in range(5))
    claims = desk.claims(4)
    desk.end(claims[0])
    desk.end(claims[1], JobState.FAILED)
    desk.end(claims[2], JobState.PENDING, due=NOON + 100 * DAY)
    desk.world.now += 7 * DAY + SECOND
    assert purge(desk, succeeded=7, failed=30, cancelled=1) == 1
    desk.world.now += 90 * DAY
    assert purge(desk, failed=30) == 1
    assert desk.listed() == [pending, running, tried]
    assert desk.world.do(desk.world.backend.job(done)) is desk.world.do(desk.world.backend.job(failed)) is None


def test_no_more_than_so_many_are_forgotten_at_once(desk: Desk) -> None:
    ids = desk.defer_all(*(desk.new() for _ in range(5)))
    for job_id in ids[:3]:
        desk.cancel(job_id)
    for claim in desk.claims():
        desk.end(claim)
    desk.world.forward(1)
    assert [purge(desk, limit=2, succeeded=0, cancelled=0) for _ in range(4)] == [2, 2, 1, 0]


def purge(desk: Desk, limit: int = 1000, **days: int) -> int:
    keep = {JobState(state): days * DAY for state, days in days.items()}
    return desk.world.do(desk.world.backend.purge(keep, limit=limit))
