"""Contract of a backend's queue: what is stored, in which order it starts, and what a key does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backends.worlds import LEASE, NOON
from pseudocron.backends.job_rules import BATCH
from pseudocron.backends.jobs import Conflict, Job, JobState
from pseudocron.errors import JobConflictError

if TYPE_CHECKING:
    from backends.desk import Desk

SECOND = timedelta(seconds=1)


# Storing


def test_a_deferred_job_is_pending_with_all_that_was_said_of_it(desk: Desk) -> None:
    later = NOON + SECOND
    job_id = desk.defer("k", due=later, arguments='["B-204"]', priority=3, expires=later)
    assert desk.job(job_id) == Job(
        job_id=job_id,
        task="mail",
        arguments='["B-204"]',
        state=JobState.PENDING,
        due=later,
        created=NOON,
        key="k",
        priority=3,
        expires=later,
    )


def test_another_process_sees_it(desk: Desk) -> None:
    job_id = desk.defer()
    job = desk.world.do(desk.world.backends[1].job(job_id))
    assert job == desk.job(job_id)


def test_a_job_that_is_not_stored_is_none(desk: Desk) -> None:
    assert desk.world.do(desk.world.backend.job("none")) is None


def test_jobs_of_one_call_are_stored_in_its_order(desk: Desk) -> None:
    ids = desk.defer_all(desk.new(), desk.new("a"), desk.new(), desk.new("b"), desk.new())
    assert ids == ["j1", "j2", "j3", "j4", "j5"]
    assert desk.started() == list(ids)


def test_no_jobs_are_stored_at_once(desk: Desk) -> None:
    assert not desk.defer_all()


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("conflict", Conflict)
def test_a_call_that_is_repeated_stores_nothing_again(desk: Desk, key: str | None, conflict: Conflict) -> None:
    new = desk.new(key, on_conflict=conflict)
    assert desk.defer_all(new) == desk.defer_all(new) == [new.job_id]
    assert desk.defer_all(new, new) == [new.job_id] * 2
    claim = desk.claim()
    assert desk.defer_all(new) == [new.job_id]
    assert desk.end(claim, JobState.FAILED) is JobState.FAILED
    assert desk.defer_all(new) == [new.job_id]
    assert desk.listed() == [new.job_id]


# Keys


def test_the_newest_job_of_a_key_replaces_the_pending_one(desk: Desk) -> None:
    old, new = desk.defer("k"), desk.defer("k")
    assert (desk.state(old), desk.job(old).ended) == (JobState.REPLACED, NOON)
    assert desk.started() == [new]


def test_a_scheduled_job_is_replaced_as_one_that_is_due(desk: Desk) -> None:
    desk.defer("k", due=NOON + SECOND)
    new = desk.defer("k", due=NOON + 2 * SECOND)
    desk.world.forward(1)
    assert desk.started() == []
    desk.world.forward(1)
    assert desk.started() == [new]


def test_a_key_that_is_kept_stands_for_the_older_job(desk: Desk) -> None:
    old = desk.defer("k")
    assert desk.defer("k", on_conflict=Conflict.KEEP) == old
    assert desk.listed() == [old]


def test_a_key_that_is_taken_raises_and_nothing_of_the_call_is_stored(desk: Desk) -> None:
    old = desk.defer("k")
    with pytest.raises(JobConflictError, match=r"task 'mail': key 'k' is taken by pending job 'j1', cancel that or"):
        desk.defer_all(desk.new("other"), desk.new(), desk.new("k", on_conflict=Conflict.RAISE), desk.new())
    assert desk.listed() == [old]


def test_of_two_jobs_of_one_call_with_the_same_key_the_later_is_the_newer(desk: Desk) -> None:
    first, last = desk.defer_all(desk.new("k"), desk.new("k"))
    assert (desk.state(first), desk.state(last)) == (JobState.REPLACED, JobState.PENDING)
    kept = desk.defer_all(desk.new("l"), desk.new("l", on_conflict=Conflict.KEEP))
    assert kept[0] == kept[1]
    with pytest.raises(JobConflictError):
        desk.defer_all(desk.new("m"), desk.new("m", on_conflict=Conflict.RAISE))
    assert desk.listed(key="m") == []


def test_a_key_belongs_to_its_task(desk: Desk) -> None:
    mail, bill = desk.defer("k"), desk.defer("k", task="bill")
    assert desk.started(mail=None, bill=None) == [mail, bill]


def test_a_key_is_free_when_its_job_is_no_longer_pending(desk: Desk) -> None:
    desk.defer("k")
    assert desk.cancel(task="mail", key="k")
    desk.defer("k", on_conflict=Conflict.RAISE)
    desk.claim()
    desk.defer("k", on_conflict=Conflict.RAISE)


@pytest.mark.parametrize("conflict", Conflict)
def test_a_job_with_the_key_of_a_running_one_waits_until_that_has_ended(desk: Desk, conflict: Conflict) -> None:
    desk.defer("k")
    running = desk.claim()
    new = desk.defer("k", on_conflict=conflict)
    assert desk.started() == []
    assert desk.end(running) is JobState.SUCCEEDED
    assert desk.started() == [new]


def test_jobs_behind_one_that_waits_for_its_key_start(desk: Desk) -> None:
    desk.defer("k")
    desk.claim()
    desk.defer("k", priority=9)
    others = [desk.defer(), desk.defer("other")]
    assert desk.started() == others


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.PENDING])
def test_a_running_job_that_is_not_wanted_back_ends_as_replaced(desk: Desk, state: JobState) -> None:
    old = desk.defer("k")
    running = desk.claim()
    desk.defer("k")
    assert desk.end(running, state, error="boom") is JobState.REPLACED
    assert (desk.job(old).error, desk.job(old).reason) == ("boom", "by a newer job")


def test_a_lost_job_that_is_not_wanted_back_ends_as_replaced(desk: Desk) -> None:
    old = desk.defer("k")
    desk.claim()
    new = desk.defer("k")
    assert [(job.job_id, job.state) for job in desk.lose()] == [(old, JobState.REPLACED)]
    assert desk.started() == [new]


# The order of starting


def test_jobs_start_by_priority_then_by_due_then_in_the_order_of_their_storing(desk: Desk) -> None:
    low = desk.defer(priority=-1, due=NOON - 9 * SECOND)
    late, second = desk.defer(due=NOON), desk.defer(due=NOON)
    early = desk.defer(due=NOON - SECOND)
    high = desk.defer(priority=1, task="bill")
    assert desk.started(mail=None, bill=None) == [high, early, late, second, low]


def test_a_job_starts_at_its_time_and_not_before(desk: Desk) -> None:
    job_id = desk.defer(due=NOON + SECOND)
    desk.world.now = NOON + SECOND - desk.world.backend.precision
    assert desk.started() == []
    desk.world.now = NOON + SECOND
    assert desk.started() == [job_id]


def test_jobs_that_come_due_stand_where_their_priority_says(desk: Desk) -> None:
    now, later = desk.defer(), desk.defer(due=NOON + SECOND, priority=1)
    desk.world.forward(1)
    assert desk.started() == [later, now]


def test_a_claim_takes_no_more_than_its_limit_and_leaves_the_rest_in_order(desk: Desk) -> None:
    ids = [desk.defer() for _ in range(5)]
    assert [desk.started(limit) for limit in (2, 0, -1, 1, 9)] == [ids[:2], [], [], ids[2:3], ids[3:]]


def test_a_job_is_claimed_once(desk: Desk) -> None:
    desk.defer()
    assert len(desk.claims()) == 1
    assert not desk.claims()


def test_a_claim_says_what_to_run(desk: Desk) -> None:
    job_id = desk.defer("k", arguments="[1]", due=NOON - SECOND)
    claim, job = desk.claim(), desk.job(job_id)
    assert (claim.job_id, claim.task, claim.arguments, claim.key) == (job_id, "mail", "[1]", "k")
    assert (claim.due, claim.started, claim.attempt) == (NOON - SECOND, NOON, 1)
    assert (job.state, job.attempts, job.fence) == (JobState.RUNNING, 1, claim.fence)
    assert (job.worker, job.started, job.ended) == ("host:1", NOON, None)


def test_jobs_of_other_tasks_stay_pending_and_stand_in_nobodys_way(desk: Desk) -> None:
    strange = desk.defer(task="removed", priority=9)
    ours = desk.defer()
    assert desk.started() == [ours]
    assert desk.state(strange) is JobState.PENDING
    assert desk.started(removed=None) == [strange]


def test_no_task_is_no_job(desk: Desk) -> None:
    desk.defer()
    backend = desk.world.backend
    assert not desk.world.do(backend.claim_jobs({}, limit=9, worker="w", lease=LEASE))
    assert desk.state("j1") is JobState.PENDING


def test_a_task_at_its_limit_stands_in_nobodys_way(desk: Desk) -> None:
    mails = [desk.defer(priority=9) for _ in range(4)]
    bill = desk.defer(task="bill")
    assert desk.started(mail=2, bill=None) == [*mails[:2], bill]
    assert desk.started(mail=2, bill=None) == []
    assert desk.started(mail=3) == mails[2:3]


def test_a_lease_that_ended_makes_room_at_the_limit(desk: Desk) -> None:
    ids = [desk.defer() for _ in range(3)]
    (first,) = desk.claims(mail=1)
    desk.end(first)
    assert desk.started(mail=1) == ids[1:2]
    desk.lose()
    assert desk.started(mail=1) == ids[2:3]


def test_a_crowd_that_comes_due_at_once_is_started_whole_and_each_once(desk: Desk) -> None:
    ids = desk.defer_all(*(desk.new(due=NOON + SECOND) for _ in range(2 * BATCH + 1)))
    desk.world.forward(1)
    started = [desk.started(BATCH) for _ in range(4)]
    assert [job_id for batch in started for job_id in batch] == list(ids)
    assert [len(batch) for batch in started] == [BATCH, BATCH, 1, 0]


def test_a_crowd_of_one_task_does_not_hold_up_another_that_comes_due(desk: Desk) -> None:
    desk.defer_all(*(desk.new(due=NOON + SECOND) for _ in range(2 * BATCH)))
    bill = desk.defer(task="bill", due=NOON + 2 * SECOND, priority=1)
    desk.world.forward(2)
    assert desk.started(1, mail=None, bill=None) == [bill]


# Expiry


def test_a_job_may_start_until_it_expires(desk: Desk) -> None:
    job_id = desk.defer(expires=NOON)
    assert desk.started() == [job_id]


def test_a_due_job_that_has_expired_is_recorded_and_not_started(desk: Desk) -> None:
    late, other = desk.defer(expires=NOON), desk.defer()
    desk.world.forward(1)
    assert desk.started() == [other]
    job = desk.job(late)
    assert (job.state, job.ended, job.attempts) == (JobState.EXPIRED, desk.world.now, 0)
    assert job.reason == "not started in time"


def test_an_expired_job_is_not_tried_again(desk: Desk) -> None:
    job_id = desk.defer(expires=NOON)
    desk.end(desk.claim(), JobState.PENDING, error="boom")
    desk.world.forward(1)
    assert desk.started() == []
    assert (desk.state(job_id), desk.job(job_id).error) == (JobState.EXPIRED, "boom")


def test_an_expired_job_leaves_its_key(desk: Desk) -> None:
    desk.defer("k", expires=NOON)
    desk.world.forward(1)
    assert desk.started() == []
    new = desk.defer("k", on_conflict=Conflict.RAISE)
    assert desk.started() == [new]


def test_a_crowd_that_has_expired_is_recorded_claim_by_claim(desk: Desk) -> None:
    desk.defer_all(*(desk.new(expires=NOON) for _ in range(BATCH + 1)))
    last = desk.defer()
    desk.world.forward(1)
    first = desk.claims()
    assert first == []
    assert first.is_cut_short, "who claims is to claim again at once"
    assert desk.next() == NOON
    second = desk.claims()
    assert [claim.job_id for claim in second] == [last]
    assert not second.is_cut_short
    assert len(desk.listed(states=[JobState.EXPIRED], limit=2 * BATCH)) == BATCH + 1


# When the next is due


def test_the_next_job_is_the_first_that_will_be_due(desk: Desk) -> None:
    assert desk.next() is None
    later = [desk.defer(due=NOON + n * SECOND) for n in (3, 1, 2)]
    assert desk.next() == NOON + SECOND
    desk.cancel(later[1])
    assert desk.next() == NOON + 2 * SECOND
    desk.defer(task="bill", due=NOON + SECOND / 2)
    assert desk.next("mail", "bill") == NOON + SECOND / 2


def test_the_next_job_is_in_the_past_where_one_is_due(desk: Desk) -> None:
    desk.defer(due=NOON + SECOND)
    desk.defer(due=NOON - SECOND)
    assert desk.next() == NOON - SECOND
    desk.claim()
    assert desk.next() == NOON + SECOND


def test_of_what_runs_the_end_of_its_lease_is_next(desk: Desk) -> None:
    desk.defer()
    claim = desk.claim()
    assert desk.next() == NOON + LEASE * SECOND
    desk.end(claim)
    assert desk.next() is None


# The gate, and what waits


def test_deferring_lets_the_gate_turn_stale_when_the_first_job_is_due(desk: Desk) -> None:
    world = desk.world
    assert world.do(world.backend.enter(60))
    desk.defer_all(desk.new(due=NOON + 20 * SECOND), desk.new(due=NOON + 40 * SECOND))
    assert world.do(world.backends[1].fresh_for(60)) == 20
    desk.defer(due=NOON + 30 * SECOND)
    assert world.do(world.backend.fresh_for(60)) == 20
    desk.defer()
    assert world.do(world.backend.fresh_for(60)) == 0


def test_the_tasks_of_pending_jobs_are_named_each_once(desk: Desk) -> None:
    assert desk.waiting() == set()
    desk.defer_all(*(desk.new(task=task, due=NOON + n * SECOND) for task in ("mail", "sms", "fax") for n in (0, 1)))
    assert desk.waiting() == {"mail", "sms", "fax"}
    desk.world.forward(1)
    assert len(desk.started(mail=None)) == 2
    assert desk.waiting() == {"sms", "fax"}
