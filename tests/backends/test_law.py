"""Contract of a backend: what makes something due brings the gate forward, by so much and no more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from backends.desk import Desk
from backends.worlds import NOON
from pseudocron.backends.jobs import JobState
from pseudocron.backends.records import Claim, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.worlds import World

SECOND = timedelta(seconds=1)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


class Case(NamedTuple):
    """What is there before a process polls, what then happens, and after how many seconds it is to poll again."""

    before: Callable[[Desk], Any]
    verb: Callable[[Desk, Any], object]
    again: float


def nothing(_desk: Desk) -> None:
    pass


def a_run(desk: Desk) -> Claim:
    return desk.world.claim()


def a_run_to_recover(desk: Desk) -> Claim:
    return desk.world.claim(recover=True)


def a_lost_run(desk: Desk, *, recover: bool = False) -> None:
    desk.world.claim(recover=recover)
    desk.world.forward(30)


def an_orphan(desk: Desk) -> None:
    a_lost_run(desk, recover=True)
    assert desk.world.do(desk.world.backend.reap()).orphans


def a_kept_run(desk: Desk) -> Claim:
    claim = desk.world.claim()
    desk.world.finish(claim, Outcome.TIMED_OUT, keep_lease=True)
    return claim


def a_job(desk: Desk) -> Any:
    desk.defer("k")
    return desk.claim()


def a_job_without_a_key(desk: Desk) -> Any:
    desk.defer()
    return desk.claim()


def one_job_of_three(desk: Desk) -> Any:
    """At the limit of its task; two more wait, the earlier one for a second."""
    desk.defer_all(desk.new(), desk.new(due=NOON + 9 * SECOND), desk.new(due=NOON + SECOND))
    (claim,) = desk.claims(mail=1)
    return claim


def a_job_and_one_of_its_key(desk: Desk) -> Any:
    claim = a_job(desk)
    desk.defer("k", due=NOON + 7 * SECOND)
    return claim


def a_job_and_one_of_another_task(desk: Desk) -> Any:
    claim = a_job(desk)
    desk.defer(task="bill")
    return claim


def a_lost_job(desk: Desk) -> None:
    a_job(desk)
    desk.world.forward(30)


def a_kept_job(desk: Desk) -> Any:
    claim = a_job(desk)
    desk.end(claim, JobState.FAILED, goes_on=True)
    desk.defer("k")
    return claim


def a_kept_job_whose_lease_is_over(desk: Desk) -> None:
    a_kept_job(desk)
    desk.world.forward(30)


def a_failed_job(desk: Desk) -> str:
    claim = a_job(desk)
    desk.end(claim, JobState.FAILED)
    return str(claim.job_id)


def do(verb: str, *args: Any, **options: Any) -> Callable[[Desk, Any], object]:
    return lambda desk, _: desk.world.do(getattr(desk.world.backend, verb)(*args, **options))


def end(state: JobState, **options: Any) -> Callable[[Desk, Any], object]:
    return lambda desk, claim: desk.end(claim, state, **options)


CASES = {
    "a claim": Case(nothing, lambda desk, _: desk.world.claim(), 30),
    "a claim by hand": Case(nothing, lambda desk, _: desk.world.claim(manual=True), 30),
    "a claim that is refused": Case(a_run, lambda desk, _: desk.world.ask(), 60),
    "a run ends": Case(a_run_to_recover, lambda desk, claim: desk.world.finish(claim), 60),
    "a run is interrupted": Case(a_run, lambda desk, claim: desk.world.finish(claim, Outcome.INTERRUPTED), 60),
    "a run to recover is interrupted": Case(
        a_run_to_recover, lambda desk, claim: desk.world.finish(claim, Outcome.INTERRUPTED), 0
    ),
    "a run is released": Case(a_kept_run, lambda desk, claim: desk.world.do(desk.world.backend.release(claim)), 0),
    "a run is lost": Case(a_lost_run, do("reap"), 60),
    "a run to recover is lost": Case(lambda desk: a_lost_run(desk, recover=True), do("reap"), 0),
    "an orphan waits on": Case(an_orphan, do("reap"), 60),
    "a cron is paused": Case(nothing, do("pause", "mail"), 0),
    "a cron is resumed": Case(nothing, do("resume", "mail"), 0),
    "a mark is set": Case(nothing, do("reset", "mail", NOON), 0),
    "a claim of a job": Case(lambda desk: desk.defer(), lambda desk, _: desk.claim(), 30),
    "a claim of no job": Case(nothing, lambda desk, _: desk.claims(), 60),
    "a job succeeds": Case(a_job, end(JobState.SUCCEEDED), 60),
    "a job is tried again": Case(a_job, end(JobState.PENDING, due=NOON + 7 * SECOND), 7),
    "a job is handed back": Case(a_job, end(JobState.PENDING, counts=False), 0),
    "a job of three at the limit ends": Case(one_job_of_three, end(JobState.SUCCEEDED), 1),
    "a key is free": Case(a_job_and_one_of_its_key, end(JobState.SUCCEEDED), 7),
    "a key is not free yet": Case(a_job_and_one_of_its_key, end(JobState.SUCCEEDED, goes_on=True), 60),
    "a job beside those of another task ends": Case(a_job_and_one_of_another_task, end(JobState.SUCCEEDED), 60),
    "a job that goes on is to be tried again": Case(a_job, end(JobState.PENDING, goes_on=True), 60),
    "a job without a key goes on too": Case(a_job_without_a_key, end(JobState.PENDING, goes_on=True), 60),
    "a kept job is released": Case(a_kept_job, lambda desk, claim: desk.release(claim), 0),
    "a job is lost": Case(a_lost_job, do("reap_jobs"), 0),
    "a kept lease is over": Case(a_kept_job_whose_lease_is_over, do("reap_jobs"), 0),
    "no job is lost": Case(a_job, do("reap_jobs"), 60),
    "a failed job is retried": Case(a_failed_job, lambda desk, job_id: desk.retry(job_id), 0),
    "a job that is not failed is not retried": Case(nothing, lambda desk, _: desk.retry("j1"), 60),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_verb_brings_the_gate_forward_to_what_it_makes_due(desk: Desk, case: Case) -> None:
    before, world = case.before(desk), desk.world
    assert world.do(world.backend.enter(60))
    case.verb(desk, before)
    assert world.do(world.backends[1].fresh_for(60)) == pytest.approx(case.again)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_verb_makes_no_gate_later_nor_a_stale_one_fresh(desk: Desk, case: Case) -> None:
    before, world = case.before(desk), desk.world
    assert world.do(world.backend.enter(60))
    world.do(world.backend.lower(world.now, 60))
    case.verb(desk, before)
    assert world.do(world.backend.fresh_for(60)) == 0


def test_a_gate_that_turns_stale_sooner_stays_as_it_is(desk: Desk) -> None:
    claim, world = a_job(desk), desk.world
    assert world.do(world.backend.enter(60))
    world.do(world.backend.lower(NOON + 5 * SECOND, 60))
    desk.end(claim, JobState.PENDING, due=NOON + 7 * SECOND)
    assert world.do(world.backend.fresh_for(60)) == pytest.approx(5)


@pytest.mark.parametrize("cron_max_time", [20, 3600])
def test_the_gate_is_brought_forward_by_the_configured_time(desk: Desk, cron_max_time: float) -> None:
    claim, world = a_job(desk), desk.world
    assert world.backend.cron_max_time == 60
    world.backend.cron_max_time = cron_max_time
    assert world.do(world.backend.enter(cron_max_time))
    desk.end(claim, JobState.PENDING, due=NOON + 7 * SECOND)
    assert world.do(world.backend.fresh_for(cron_max_time)) == pytest.approx(7)


# When the store needs the next poll


def upcoming(desk: Desk, **tasks: int | None) -> float | None:
    """Seconds until then."""
    due = desk.world.do(desk.world.backends[1].next_due(tasks))
    return None if due is None else (due - desk.world.now).total_seconds()


def test_the_end_of_each_lease_of_runs_and_of_jobs_is_next(desk: Desk) -> None:
    run = desk.world.claim()
    desk.world.forward(10)
    desk.defer()
    job = desk.claim()
    assert upcoming(desk) == 20
    desk.world.backend.renew([run], 300)
    assert upcoming(desk) == 30
    desk.world.backend.renew_jobs([job], 400)
    assert upcoming(desk) == 300
    desk.world.finish(run)
    assert upcoming(desk) == 400
    desk.end(job)
    assert upcoming(desk) is None


def test_a_job_whose_key_is_busy_is_not_next(desk: Desk) -> None:
    desk.defer("k")
    claim = desk.claim()
    desk.defer("k", priority=9)
    assert upcoming(desk, mail=None) == 30
    desk.defer("other", due=NOON + 3 * SECOND)
    assert upcoming(desk, mail=None) == 3
    desk.end(claim)
    assert upcoming(desk, mail=None) == 0


@pytest.mark.parametrize("due", [0, 2])
def test_a_job_behind_those_that_are_held_back_is_next(desk: Desk, due: int) -> None:
    """In the line of those that are ready, and in that of the scheduled."""
    desk.defer_all(desk.new("k"), desk.new("l"), desk.new())
    for claim in desk.claims():
        desk.end(claim, JobState.PENDING, due=NOON + due * SECOND, goes_on=True)
    desk.defer("other", due=NOON + due * SECOND, priority=-1)
    assert upcoming(desk, mail=None) == due


def test_a_job_of_a_task_at_its_limit_is_not_next(desk: Desk) -> None:
    claim = one_job_of_three(desk)
    assert upcoming(desk, mail=1) == 30
    assert upcoming(desk, mail=0) == 30
    assert upcoming(desk, mail=2) == 1
    desk.end(claim)
    assert upcoming(desk, mail=1) == 1


def test_a_job_that_has_expired_is_next_so_that_it_is_recorded(desk: Desk) -> None:
    desk.defer(expires=NOON)
    desk.world.forward(1)
    assert upcoming(desk, mail=None) == -1
    assert desk.started() == []
    assert upcoming(desk, mail=None) is None


def test_a_job_of_a_task_that_only_another_process_has_is_next(desk: Desk) -> None:
    desk.defer(task="bill", due=NOON + 200 * SECOND)
    desk.world.forward(90)
    assert upcoming(desk) == 110
    assert desk.claims(bill=None) == []
    desk.world.forward(120)
    assert upcoming(desk) == -10
    desk.world.forward(1)
    assert upcoming(desk) is None, "no process has named it for two minutes"
    assert upcoming(desk, bill=None) == -11


@pytest.mark.parametrize(("again", "used"), [(14, 120), (15, 135)])
def test_that_a_task_is_in_use_is_written_once_in_15_seconds(desk: Desk, again: int, used: int) -> None:
    desk.defer(task="bill", due=NOON - SECOND)
    desk.world.forward(again)
    desk.claims(0, bill=0)
    desk.claims(1, bill=0)
    desk.world.forward(used - again)
    assert upcoming(desk) == -used - 1
    desk.world.forward(1)
    assert upcoming(desk) is None


def test_that_a_new_task_is_in_use_is_written_at_once(desk: Desk) -> None:
    desk.defer()
    desk.world.forward(500)
    assert upcoming(desk) is None
    desk.claims(1, mail=0)
    assert upcoming(desk) == -500


def test_a_task_is_in_use_after_the_clock_was_set_back(desk: Desk) -> None:
    desk.defer()
    desk.world.forward(-3600)
    assert upcoming(desk) == 0, "what was ready stays so"
    desk.claims(1, mail=0)
    desk.world.forward(121)
    assert upcoming(desk) is None


def test_deferring_to_a_task_that_was_forgotten_brings_its_old_jobs_back(desk: Desk) -> None:
    desk.defer()
    desk.world.forward(500)
    world = desk.world
    assert world.do(world.backend.enter(60))
    desk.defer(due=world.now + 50 * SECOND)
    assert world.do(world.backend.fresh_for(60)) == 0
