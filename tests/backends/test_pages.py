"""What pages of many crons and jobs are made of: newest runs side by side, and counts whose cost is bounded."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backends.desk import Desk
from backends.worlds import KEEP, World
from pseudocron.backends.jobs import JobState
from pseudocron.backends.records import Claim, Outcome, Reason, Result

ENDED = Result(outcome=Outcome.FAILED, error="a traceback", output="a line")


def fail(world: World, name: str) -> Claim:
    world.forward(1)
    claim = world.claim(name=name)
    assert world.do(world.backend.finish(claim, ENDED))
    return claim


def test_a_timeline_is_the_newest_lines_of_each_cron_without_their_texts(world: World) -> None:
    fail(world, "mail")
    other = fail(world, "bill")
    world.skip(world.forward(1), Reason.MISFIRE, slots=3)
    newest = world.claim(world.forward(1), "mail")
    timelines = world.do(world.backend.timelines(["mail", "bill", "unknown"], limit=2))
    assert list(timelines) == ["mail", "bill", "unknown"]
    assert [(run.outcome, run.reason, run.slots) for run in timelines["mail"]] == [
        (None, None, 1),
        (Outcome.SKIPPED, Reason.MISFIRE, 3),
    ]
    assert timelines["mail"][0].run_id == newest.run_id
    (failed,) = timelines["bill"]
    assert (failed.run_id, failed.outcome, failed.error, failed.output) == (other.run_id, Outcome.FAILED, None, None)
    assert timelines["unknown"] == []


def test_the_timeline_of_one_cron_is_told_beside_the_lines_of_another(world: World) -> None:
    fail(world, "mail")
    bill = fail(world, "bill")
    timelines = world.do(world.backend.timelines(["bill"], limit=9))
    assert {name: [run.run_id for run in runs] for name, runs in timelines.items()} == {"bill": [bill.run_id]}


def test_the_timelines_of_more_crons_than_are_read_at_once_are_all_told(world: World) -> None:
    names = [f"cron {number}" for number in range(120)]
    claims = {name: world.claim(name=name).run_id for name in names}
    timelines = world.do(world.backend.timelines(names, limit=KEEP))
    assert {name: run.run_id for name, (run,) in timelines.items()} == claims


def test_jobs_are_counted_by_state(world: World, desk: Desk) -> None:
    for _ in range(4):
        desk.defer()
    succeeded, failed, *_ = desk.claims()
    desk.end(succeeded)
    desk.end(failed, JobState.FAILED)
    desk.cancel(desk.defer())
    desk.defer("key")
    desk.defer("key", due=world.now + timedelta(hours=1))
    desk.defer(due=world.now + timedelta(hours=1))
    desk.defer()
    assert desk.count() == {
        JobState.PENDING: 3,
        JobState.RUNNING: 2,
        JobState.SUCCEEDED: 1,
        JobState.FAILED: 1,
        JobState.CANCELLED: 1,
        JobState.REPLACED: 1,
        JobState.EXPIRED: 0,
    }


@pytest.mark.parametrize("at_most", [1, 3])
def test_no_jobs_are_counted_beyond_the_most_that_is_asked_for(desk: Desk, at_most: int) -> None:
    desk.defer_all(*[desk.new() for _ in range(5)])
    assert desk.count(at_most=at_most)[JobState.PENDING] == at_most
