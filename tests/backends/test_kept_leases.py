"""Contract of a backend's queue: leases that outlive their attempt, and arguments that do not fit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backends.worlds import LEASE, NOON
from pseudocron.backends.jobs import Conflict, JobState
from pseudocron.backends.records import Lingering, Outcome

if TYPE_CHECKING:
    from backends.desk import Desk
    from pseudocron.backends.jobs import JobClaim

SECOND = timedelta(seconds=1)


def kept(desk: Desk, state: JobState = JobState.FAILED, key: str | None = None) -> JobClaim:
    """An attempt that is recorded and whose code goes on."""
    desk.defer(key)
    claim = desk.claim()
    assert desk.end(claim, state, error="boom", goes_on=True) is state
    return claim


def lingering(desk: Desk) -> list[Lingering]:
    return list(desk.world.do(desk.world.backends[1].lingering()))


def reaped(desk: Desk, seconds: float = LEASE) -> list[str]:
    desk.world.forward(seconds)
    return [job.job_id for job in desk.world.do(desk.world.backend.reap_jobs())]


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.PENDING])
def test_a_job_whose_code_goes_on_is_in_the_state_of_its_end(desk: Desk, state: JobState) -> None:
    claim = kept(desk, state)
    job = desk.job(claim.job_id)
    assert (job.state, job.ended, job.attempts, job.fence) == (state, NOON, 1, claim.fence)
    assert (job.worker, job.started, job.error) == ("host:1", NOON, "boom")
    assert desk.listed(states=[state]) == [claim.job_id]
    assert desk.listed(states=[JobState.RUNNING]) == []
    assert {at: count for at, count in desk.count().items() if count} == {state: 1}


def test_an_attempt_whose_code_goes_on_ends_once(desk: Desk) -> None:
    claim = kept(desk)
    assert desk.end(claim) is None
    assert desk.state(claim.job_id) is JobState.FAILED


def test_a_job_that_is_to_be_tried_again_waits_until_its_code_is_over(desk: Desk) -> None:
    first = kept(desk, JobState.PENDING)
    other = desk.defer()
    assert desk.started() == [other]
    desk.release(first)
    second = desk.claim()
    assert (second.job_id, second.attempt, second.fence > first.fence) == (first.job_id, 2, True)
    desk.release(first)
    assert desk.state(first.job_id) is JobState.RUNNING


def test_a_newer_job_of_the_key_waits_until_the_code_is_over(desk: Desk) -> None:
    claim = kept(desk, key="k")
    new, other = desk.defer("k", on_conflict=Conflict.RAISE), desk.defer("other")
    assert desk.started() == [other]
    desk.release(claim)
    assert desk.started() == [new]


def test_code_that_goes_on_counts_for_the_limit_of_its_task(desk: Desk) -> None:
    claim = kept(desk)
    new = desk.defer()
    assert desk.started(mail=1) == []
    desk.release(claim)
    assert desk.started(mail=1) == [new]


def test_a_kept_lease_is_renewed_and_ends_without_a_loss(desk: Desk) -> None:
    claim = kept(desk, JobState.PENDING)
    assert reaped(desk, LEASE - 1) == []
    assert set(desk.world.backend.renew_jobs([claim, replace(claim, fence=claim.fence + 1)], LEASE)) == {claim.job_id}
    assert reaped(desk, LEASE - 1) == []
    assert desk.started() == []
    assert reaped(desk, 1) == []
    assert (desk.job(claim.job_id).lost, desk.started()) == (0, [claim.job_id])
    assert not desk.world.backend.renew_jobs([claim], LEASE)


def test_only_the_claim_itself_releases_its_lease(desk: Desk) -> None:
    claim = kept(desk)
    desk.release(replace(claim, fence=claim.fence + 1))
    desk.release()
    assert [one.run_id for one in lingering(desk)] == [claim.job_id]


def test_releasing_an_attempt_that_is_not_finished_leaves_its_lease(desk: Desk) -> None:
    desk.defer()
    claim = desk.claim()
    desk.release(claim)
    assert desk.state(claim.job_id) is JobState.RUNNING
    assert desk.end(claim) is JobState.SUCCEEDED


def test_what_lingers_is_told_of_runs_and_of_jobs(desk: Desk) -> None:
    assert lingering(desk) == []
    run, job = desk.world.claim(name="cron"), kept(desk)
    desk.world.finish(run, Outcome.TIMED_OUT, keep_lease=True)
    assert lingering(desk) == [
        Lingering(name="cron", is_job=False, run_id=run.run_id, worker="host:1", ended=NOON),
        Lingering(name="mail", is_job=True, run_id=job.job_id, worker="host:1", ended=NOON),
    ]
    desk.world.do(desk.world.backend.release(run))
    desk.release(job)
    assert lingering(desk) == []


def test_a_job_may_be_cancelled_while_its_code_goes_on(desk: Desk) -> None:
    claim = kept(desk, JobState.PENDING, key="k")
    assert desk.cancel(claim.job_id)
    assert not desk.cancel(task="mail", key="k")
    assert (desk.state(claim.job_id), len(lingering(desk))) == (JobState.CANCELLED, 1)
    new = desk.defer("k")
    assert desk.started() == []
    desk.release(claim)
    assert desk.started() == [new]


def test_a_failed_job_is_retried_when_its_code_is_over(desk: Desk) -> None:
    claim = kept(desk)
    assert desk.retry(claim.job_id)
    assert (desk.state(claim.job_id), desk.started()) == (JobState.PENDING, [])
    desk.release(claim)
    assert desk.started() == [claim.job_id]


def test_a_job_whose_code_goes_on_is_not_forgotten(desk: Desk) -> None:
    claim = kept(desk)
    desk.defer()
    desk.end(desk.claim(), JobState.FAILED)
    desk.world.forward(1)
    backend = desk.world.backend
    assert desk.world.do(backend.purge({JobState.FAILED: timedelta()}, limit=1)) == 1
    assert desk.listed() == [claim.job_id]
    desk.release(claim)
    assert desk.world.do(backend.purge({JobState.FAILED: timedelta()}, limit=1)) == 1


def test_of_a_job_that_is_lost_after_its_code_went_on_the_lease_is_over(desk: Desk) -> None:
    first = kept(desk, JobState.PENDING)
    desk.release(first)
    desk.claim()
    assert reaped(desk) == [first.job_id]
    assert (desk.job(first.job_id).lost, lingering(desk)) == (1, [])


# Who has the key when an attempt ends


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.PENDING])
def test_a_job_whose_newer_one_was_cancelled_is_not_replaced(desk: Desk, state: JobState) -> None:
    desk.defer("k")
    running = desk.claim()
    assert desk.cancel(desk.defer("k"))
    assert desk.end(running, state) is state


def test_a_lost_job_whose_newer_one_was_cancelled_comes_back(desk: Desk) -> None:
    old = desk.defer("k")
    desk.claim()
    assert desk.cancel(desk.defer("k"))
    assert [(job.job_id, job.state) for job in desk.lose()] == [(old, JobState.PENDING)]


@pytest.mark.parametrize("lost", [True, False])
def test_a_job_whose_newer_one_has_expired_comes_back(desk: Desk, *, lost: bool) -> None:
    old = desk.defer("k")
    running = desk.claim()
    new = desk.defer("k", expires=NOON)
    desk.world.forward(LEASE)
    if lost:
        assert [job.state for job in desk.world.do(desk.world.backend.reap_jobs())] == [JobState.PENDING]
    else:
        assert desk.end(running, JobState.PENDING) is JobState.PENDING
    assert (desk.state(new), desk.started()) == (JobState.EXPIRED, [old])


def test_a_cancelled_attempt_leaves_no_mark_behind(desk: Desk) -> None:
    desk.defer("k")
    running = desk.claim()
    desk.cancel(running.job_id)
    assert desk.end(running, JobState.PENDING) is JobState.CANCELLED
    assert not desk.retry(running.job_id)
    again = desk.defer("k")
    claim = desk.claim()
    assert (claim.job_id, desk.end(claim, JobState.FAILED)) == (again, JobState.FAILED)


# A holder of a key that has expired


def test_a_key_is_free_when_its_holder_has_expired_unseen(desk: Desk) -> None:
    dead = desk.defer("k", expires=NOON)
    desk.world.forward(1)
    new = desk.new("k", on_conflict=Conflict.KEEP)
    assert desk.defer_all(new) == [new.job_id]
    job = desk.job(dead)
    assert (job.state, job.ended, job.reason) == (JobState.EXPIRED, desk.world.now, "not started in time")
    assert desk.started() == [new.job_id]


@pytest.mark.parametrize("conflict", [Conflict.RAISE, Conflict.REPLACE])
def test_a_holder_that_has_expired_is_no_conflict(desk: Desk, conflict: Conflict) -> None:
    dead = desk.defer("k", expires=NOON)
    desk.world.forward(1)
    new = desk.defer("k", on_conflict=conflict)
    assert (desk.state(dead), desk.started()) == (JobState.EXPIRED, [new])


def test_a_job_that_may_just_start_keeps_its_key(desk: Desk) -> None:
    old = desk.defer("k", expires=NOON)
    assert desk.defer("k", on_conflict=Conflict.KEEP) == old


def test_a_failed_job_is_retried_beside_one_of_its_key_that_has_expired(desk: Desk) -> None:
    failed = desk.defer("k")
    desk.end(desk.claim(), JobState.FAILED)
    dead = desk.defer("k", expires=NOON)
    desk.world.forward(1)
    assert desk.retry(failed)
    assert (desk.state(dead), desk.started()) == (JobState.EXPIRED, [failed])


# Arguments that do not fit


def unfit(desk: Desk, **options: object) -> JobState | None:
    return desk.end(desk.claim(), JobState.PENDING, counts=False, unfit=True, **options)


def test_since_when_arguments_do_not_fit_is_remembered(desk: Desk) -> None:
    job_id = desk.defer()
    assert desk.job(job_id).unfit_since is None
    unfit(desk)
    desk.world.forward(10)
    unfit(desk)
    assert desk.job(job_id).unfit_since == NOON
    claim = desk.claim()
    assert (claim.unfit_since, claim.attempt) == (NOON, 1)


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.FAILED, JobState.SUCCEEDED])
def test_an_attempt_whose_arguments_fit_clears_that(desk: Desk, state: JobState) -> None:
    job_id = desk.defer()
    unfit(desk)
    claim = desk.claim()
    assert claim.unfit_since == NOON
    desk.end(claim, state)
    assert desk.job(job_id).unfit_since is None


def test_a_loss_and_a_retry_clear_that_too(desk: Desk) -> None:
    job_id = desk.defer()
    unfit(desk)
    desk.claim()
    (lost,) = desk.lose()
    assert lost.unfit_since is None
    desk.end(desk.claim(), JobState.FAILED, unfit=True)
    assert desk.job(job_id).unfit_since == desk.world.now
    assert desk.retry(job_id)
    assert desk.job(job_id).unfit_since is None
