"""A schedule counts from when it took over: what an edit, a deployment and a removal make due, and what they do not."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from backends.stores import STORES
from support import Clock

from pseudocron.backends.model import Reason, Skip
from pseudocron.backends.questions import Capacity, Plan, Poll, Take
from pseudocron.crons import Crons
from worker.world import Process, World, aside

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

DAY = timedelta(days=1)
MINUTE = 60.0


def noon(month: int = 5, day: int = 1, *, hour: int = 12, minute: int = 0) -> datetime:
    return datetime(2024, month, day, hour, minute, tzinfo=UTC)


def one(schedule: object, *, name: str = "report", **options: Any) -> Crons:
    made: list[Crons] = []

    def make() -> None:
        made.append(Crons(cron_max_time=60))
        made[0].add(name, int, schedule, **options)
        _ = [*made[0]]

    aside(make)
    return made[0]


def none() -> Crons:
    return one("* * * * *", name="other")


async def slots(process: Process) -> list[datetime | None]:
    """Poll, and return the slots of the report that this has started."""
    report = await process.poll_all()
    return [run.claim.slot for run in report.started if run.name == "report"]


async def skips(world: World) -> list[tuple[Reason, int]]:
    return [(line.reason, line.slots) for line in await world.lines("report") if isinstance(line, Skip)]


def by(clock: datetime) -> Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]:
    """Run a scene at once, whose clock shows this time as it begins."""

    def run(scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            world = World(none())
            world.clock.now = clock
            await scene(world)

        asyncio.run(main())

    return run


async def every(seconds: float, until: datetime, *processes: Process) -> list[tuple[int, datetime | None]]:
    """Let processes poll, one after the other; return who has started which slots of the report."""
    found, clock, number = list[tuple[int, datetime | None]](), processes[0].clock, 0
    while clock.now + timedelta(seconds=seconds) <= until:
        clock.forward(seconds)
        who = number % len(processes)
        found += [(who, slot) for slot in await slots(processes[who])]
        number += 1
    return found


# The samples


def test_a_later_time_of_day_does_not_run_at_once_for_yesterday() -> None:
    @by(noon(hour=13, minute=20))
    async def _(world: World) -> None:
        before = world.another(one("30 13 * * *"))
        assert await slots(before) == []
        world.clock.now = noon(hour=13, minute=31)
        assert await slots(before) == [noon(hour=13, minute=30)]
        world.clock.now = noon(day=2, hour=12, minute=20)
        after = world.another(one("0 16 * * *"))
        assert await slots(after) == []
        assert await every(MINUTE, noon(day=3, hour=12), after) == [(0, noon(day=2, hour=16))]
        assert await skips(world) == []


def test_a_monthly_cron_whose_zone_changes_does_not_bill_twice_in_a_month() -> None:
    @by(noon(month=4, day=30))
    async def _(world: World) -> None:
        before = world.another(one("0 0 1 * *", tz="Asia/Shanghai"))
        await slots(before)
        world.clock.now = noon(month=4, day=30, hour=16)
        assert await slots(before) == [world.clock.now]
        world.clock.now = noon(month=5, day=5)
        after = world.another(one("0 0 1 * *", tz="UTC"))
        assert await slots(after) == []
        assert await every(6 * 3600, noon(month=6, day=20), after) == [(0, noon(month=6, day=1, hour=0))]


def test_a_yearly_cron_that_becomes_frequent_has_missed_nothing() -> None:
    @by(noon())
    async def _(world: World) -> None:
        await slots(world.another(one("0 0 1 1 *")))
        world.clock.now = noon(month=7) + timedelta(minutes=1)
        after = world.another(one("*/5 * * * *"))
        assert await slots(after) == []
        world.clock.forward(4 * MINUTE)
        assert await slots(after) == [noon(month=7, minute=5)]
        assert await skips(world) == []


def test_a_cron_that_comes_back_after_weeks_has_missed_nothing() -> None:
    @by(noon())
    async def _(world: World) -> None:
        daily = one("0 0 * * *")
        await slots(world.another(daily))
        await every(3600 * 6, noon(day=29), world)
        back = world.another(daily)
        assert await slots(back) == []
        assert await every(3600, noon(day=30), back) == [(0, noon(day=30, hour=0))]
        assert await skips(world) == []


def test_slots_for_which_nobody_came_are_missed_as_ever() -> None:
    @by(noon())
    async def _(world: World) -> None:
        process = world.another(one("0 0 * * *"))
        await slots(process)
        world.clock.now = noon(day=29)
        assert await slots(process) == [noon(day=29, hour=0)]
        assert await skips(world) == [(Reason.NO_TRAFFIC, 27)]


def test_a_cron_without_which_others_polled_for_minutes_has_missed_its_slots() -> None:
    @by(noon())
    async def _(world: World) -> None:
        process = world.another(one("*/10 * * * *"))
        await slots(process)
        await every(MINUTE, noon(minute=35), world)
        assert await slots(process) == [noon(minute=30)]
        assert await skips(world) == [(Reason.NO_TRAFFIC, 2)]


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({"schedule": 3600}, [noon(hour=15)]),
        ({"schedule": "0 * * * *"}, []),
        ({"schedule": "0 * * * *", "last_run": noon(hour=9)}, [noon(hour=15)]),
    ],
)
def test_the_first_sight_is_exempt(options: dict[str, Any], due: list[datetime]) -> None:
    @by(noon(minute=30))
    async def _(world: World) -> None:
        await every(MINUTE, noon(hour=15, minute=30), world)
        assert await slots(world.another(one(**options))) == due


# What is recorded, and what is no change


def test_the_unclaimed_slots_of_the_old_schedule_are_skipped_as_changed() -> None:
    @by(noon())
    async def _(world: World) -> None:
        await slots(world.another(one("*/10 * * * *")))
        world.clock.now = noon(minute=35)
        await slots(world.another(one("0 16 * * *")))
        (skip,) = await world.lines("report")
        assert isinstance(skip, Skip)
        assert (skip.reason, skip.slots, skip.first) == (Reason.CHANGED, 3, noon(minute=10))
        assert (skip.slot, skip.recorded) == (noon(minute=30), world.clock.now)
        state = (await world.backend.states(["report"])).crons["report"]
        assert (state.replaced, state.schedule, state.since) == (
            ("*/10 * * * *|UTC|",),
            "0 16 * * *|UTC|",
            noon(minute=35),
        )


@pytest.mark.parametrize(
    ("before", "after", "due"),
    [
        ({"schedule": "0 * * * *"}, {"schedule": "0 * * * *", "jitter": 20}, [noon(hour=13)]),
        ({"schedule": "0 * * * *"}, {"schedule": "@hourly", "retries": 5}, [noon(hour=13)]),
        ({"schedule": 3600}, {"schedule": "1h"}, [noon(hour=13)]),
        ({"schedule": 3600}, {"schedule": 3600, "last_run": noon(day=1, hour=3)}, [noon(hour=13)]),
        ({"schedule": 3600}, {"schedule": 3600, "last_run": noon(day=1, minute=20)}, []),
        ({"schedule": "0 * * * *"}, {"schedule": "0 * * * *", "tz": "Asia/Kolkata"}, []),
        ({"schedule": 3600}, {"schedule": "0 * * * *"}, []),
    ],
)
def test_jitter_is_no_part_of_a_schedule_but_the_phase_is(
    before: dict[str, Any], after: dict[str, Any], due: list[datetime]
) -> None:
    @by(noon(minute=30))
    async def _(world: World) -> None:
        await slots(world.another(one(**before)))
        world.clock.now = noon(hour=13, minute=45)
        assert await slots(world.another(one(**after))) == due


def test_the_stored_schedule_is_read_off_the_event_loop() -> None:
    """Its time zone is in a file, which the suite does not let an event loop read."""

    @by(noon())
    async def _(world: World) -> None:
        take = Take({}, {"report": 1}, Capacity(0, 0, 0), "gone:1", 30)
        plan = Plan("report", None, noon(), schedule="0 * * * *|Pacific/Chatham|")
        await world.backend.poll(Poll(take, [plan], force=True))
        world.clock.now = noon(hour=15)
        await slots(world.another(one("0 16 * * *")))
        assert await skips(world) == [(Reason.CHANGED, 3)]


# Versions side by side


def test_an_older_worker_leaves_the_cron_alone_and_logs_that_once(caplog: pytest.LogCaptureFixture) -> None:
    @by(noon())
    async def _(world: World) -> None:
        await slots(world.another(one("*/10 * * * *")))
        newer = world.another(one("*/15 * * * *"))
        await slots(newer)
        respawned = world.another(one("*/10 * * * *"))
        found = await every(10, noon(hour=13, minute=1), newer, respawned)
        assert found == [(0, noon(minute=15 * n)) for n in (1, 2, 3)] + [(0, noon(hour=13))]

    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("report: left alone")
    assert "10" in line
    assert "15" in line


def test_the_older_takes_it_back_when_the_newer_is_gone() -> None:
    @by(noon())
    async def _(world: World) -> None:
        older, newer = world.another(one("* * * * *")), world.another(one("30 * * * *"))
        await slots(older)
        await slots(newer)
        found = await every(10, noon(minute=4), older)
        assert found == [(0, noon(minute=3)), (0, noon(minute=4))]


def test_the_older_has_it_back_before_its_own_next_slot() -> None:
    """It learns that it was replaced although nothing of it is due: else that slot would be lost."""

    @by(noon())
    async def _(world: World) -> None:
        older = world.another(one("0 14 * * *"))
        await slots(older)
        await slots(world.another(one("0 16 * * *")))
        assert await every(MINUTE, noon(hour=14), older) == [(0, noon(hour=14))]


def test_an_edit_that_is_undone_counts_at_once_where_it_was_seen() -> None:
    @by(noon())
    async def _(world: World) -> None:
        process = world.another(one("0 * * * *"))
        for schedule in ("* * * * *", "0 * * * *", "* * * * *"):
            await slots(process)
            process.crons = one(schedule)
        assert await slots(process) == []
        world.clock.forward(MINUTE)
        assert await slots(process) == [noon(minute=1)]


def test_a_deployment_where_each_worker_has_another_phase_settles() -> None:
    """As where the last run is the start of the process: more versions than a store keeps replaced ones."""

    @by(noon())
    async def _(world: World) -> None:
        workers = [world.another(one(600, last_run=noon() + timedelta(seconds=number))) for number in range(25)]
        await every(1, noon(minute=2), *workers)
        before = (await world.backend.states(["report"])).crons["report"]
        found = await every(1, noon(minute=22), *workers)
        assert (await world.backend.states(["report"])).crons["report"].since == before.since
        assert len(found) == 2


@pytest.mark.parametrize("pace", [30.0, 300.0])
@pytest.mark.parametrize("store", ["memory", "file", "redis"])
def test_two_versions_that_take_turns_for_an_hour_run_it_by_one(store: str, pace: float, tmp_path: Path) -> None:
    shared = STORES[store](tmp_path)

    async def main() -> None:
        clock = Clock()
        clock.now = noon()
        older, newer = (
            Process(one(words), clock, shared.make(clock.host)) for words in ("*/10 * * * *", "*/15 * * * *")
        )
        await slots(older)
        await slots(newer)
        found = await every(pace, noon(hour=13, minute=10), older, newer)
        assert found == [(1, noon(minute=15 * n)) for n in (1, 2, 3)] + [(1, noon(hour=13))]
        await older.backend.close()
        await newer.backend.close()

    asyncio.run(main())


@pytest.mark.parametrize("store", ["memory", "file", "redis"])
def test_two_versions_that_take_turns_of_ten_minutes_both_get_it(store: str, tmp_path: Path) -> None:
    """Each has it back two `CRON_MAX_TIME` after the other has polled last, and no slot runs twice."""

    shared = STORES[store](tmp_path)

    async def main() -> None:
        clock = Clock()
        clock.now = noon()
        versions = [Process(one(words), clock, shared.make(clock.host)) for words in ("* * * * *", "0-59 * * * *")]
        await slots(versions[0])
        await slots(versions[1])
        ran = list[datetime | None]()
        for turn in range(6):
            ran += [
                slot for _, slot in await every(20, noon(minute=10) + turn * timedelta(minutes=10), versions[turn % 2])
            ]
        assert len(ran) == len(set(ran))
        assert len(ran) >= 6 * 7
        for version in versions:
            await version.backend.close()

    asyncio.run(main())
