"""Odd days, walked through minute by minute: what a cron runs and misses on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from pseudocron.backends.model import CronState
from pseudocron.crons import Cron
from pseudocron.schedule import parse
from pseudocron.targets import Function
from pseudocron.worker.due import plan as planned

if TYPE_CHECKING:
    from pseudocron.backends.model import Skip
    from pseudocron.backends.questions import Plan

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def a_cron(schedule: object, tz: str = "UTC", **options: Any) -> Cron:
    return Cron(name="cron", target=Function(print, "builtins:print"), schedule=parse(schedule, tz), **options)


def due(cron: Cron, state: CronState, now: datetime) -> Plan:
    return planned(cron, state, now, since=now)


def walk(cron: Cron, start: datetime, end: datetime, *, step: timedelta = MINUTE) -> tuple[list[datetime], list[Skip]]:
    """The slots that a cron runs, and those that it skips, where somebody looks at every step."""
    ran: list[datetime] = []
    skipped: list[Skip] = []
    mark, now = start, start
    while now <= end:
        plan = due(cron, CronState(cron.name, mark=mark), now)
        ran += plan.slots
        skipped += plan.skips
        mark = max([mark, *plan.slots, *(skip.slot for skip in plan.skips)])
        now += step
    return ran, skipped


def local(slots: list[datetime], tz: str) -> list[str]:
    """Day and time of day with the offset, as the clock on the wall shows it."""
    return [f"{slot.astimezone(ZoneInfo(tz)):%d %H:%M %z}" for slot in slots]


@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_a_slot_at_midnight_is_of_the_day_that_begins(tz: str) -> None:
    eve = datetime(2024, 12, 31, 23, 30, tzinfo=ZoneInfo(tz)).astimezone(UTC)
    ran, skipped = walk(a_cron("@daily", tz), eve, eve + HOUR)
    assert (ran, skipped) == ([datetime(2025, 1, 1, tzinfo=ZoneInfo(tz))], [])


def test_polls_around_midnight_run_the_last_and_the_first_slot() -> None:
    eve = datetime(2024, 12, 31, 23, 57, 30, tzinfo=UTC)
    cron = a_cron("*/2 * * * *")
    ran, skipped = walk(cron, eve, eve + 5 * MINUTE)
    assert local(ran, "UTC") == ["31 23:58 +0000", "01 00:00 +0000", "01 00:02 +0000"]
    assert not skipped


def test_a_slot_before_midnight_polled_after_it_runs_for_its_own_day() -> None:
    slot = datetime(2024, 12, 31, 23, 59, tzinfo=UTC)
    plan = due(a_cron("59 23 * * *"), CronState("cron", mark=slot - HOUR), slot + HOUR)
    assert list(plan.slots) == [slot]
    assert plan.next == slot + timedelta(days=1)


@pytest.mark.parametrize(("year", "days"), [(2023, [28, 1]), (2024, [28, 29, 1]), (2100, [28, 1]), (2000, [28, 29, 1])])
def test_a_daily_cron_runs_on_a_leap_day_like_on_any_other(year: int, days: list[int]) -> None:
    start = datetime(year, 2, 27, 12, tzinfo=UTC)
    ran, skipped = walk(a_cron("@daily"), start, datetime(year, 3, 1, 12, tzinfo=UTC), step=HOUR)
    assert ([slot.day for slot in ran], skipped) == (days, [])


@pytest.mark.parametrize(
    ("schedule", "last"), [("0 0 L * *", 29), ("every month on the last day at 00:00", 29), ("0 0 30 * *", 30)]
)
def test_the_29th_of_february_is_found_and_a_30th_waits_for_march(schedule: str, last: int) -> None:
    plan = due(
        a_cron(schedule),
        CronState("cron", mark=datetime(2024, 2, 1, tzinfo=UTC)),
        datetime(2024, 2, 2, tzinfo=UTC),
    )
    assert plan.next is not None
    assert plan.next.day == last


@pytest.mark.parametrize(("since", "until"), [(2024, 2028), (2096, 2104)])
def test_years_without_a_slot_run_nothing_miss_nothing_and_know_the_next(since: int, until: int) -> None:
    cron = a_cron("0 0 29 2 *")
    begin, end = datetime(since, 2, 29, tzinfo=UTC), datetime(until, 2, 28, tzinfo=UTC)
    ran, skipped = walk(cron, begin, end, step=timedelta(days=30))
    assert (ran, skipped) == ([], [])
    assert due(cron, CronState("cron", mark=begin), end).next == datetime(until, 2, 29, tzinfo=UTC)


# In Berlin 02:00 to 03:00 did not exist on 31 March 2024, and came twice on 27 October.
SPRING = datetime(2024, 3, 30, 12, tzinfo=UTC)
AUTUMN = datetime(2024, 10, 26, 12, tzinfo=UTC)

DAYLIGHT = [
    ("30 2 * * *", SPRING, ["31 03:00 +0200", "01 02:30 +0200"]),
    ("30 2 * * *", AUTUMN, ["27 02:30 +0200", "28 02:30 +0100"]),
    ("0 3 * * *", SPRING, ["31 03:00 +0200", "01 03:00 +0200"]),
    ("0 3 * * *", AUTUMN, ["27 03:00 +0100", "28 03:00 +0100"]),
]


@pytest.mark.parametrize(("schedule", "start", "expected"), DAYLIGHT)
def test_a_fixed_time_runs_once_a_day_whatever_the_clock_does(
    schedule: str, start: datetime, expected: list[str]
) -> None:
    ran, skipped = walk(a_cron(schedule, "Europe/Berlin"), start, start + timedelta(hours=40))
    assert (local(ran, "Europe/Berlin"), skipped) == (expected, [])


@pytest.mark.parametrize(("start", "runs"), [(SPRING, 46), (AUTUMN, 50)])
def test_a_cron_that_follows_the_wall_clock_has_a_day_of_23_or_25_hours(start: datetime, runs: int) -> None:
    begin = start.replace(hour=0) + timedelta(days=1) - (HOUR if start is SPRING else 2 * HOUR) - MINUTE
    hours = 23 if start is SPRING else 25
    ran, skipped = walk(a_cron("*/30 * * * *", "Europe/Berlin"), begin, begin + hours * HOUR)
    assert (len(ran), skipped) == (runs, [])
    assert len(set(ran)) == len(ran)


@pytest.mark.parametrize("start", [SPRING, AUTUMN])
def test_an_interval_knows_no_daylight_saving(start: datetime) -> None:
    ran, skipped = walk(a_cron(3600), start, start + timedelta(days=1))
    assert (len(ran), skipped) == (24, [])
    assert {later - sooner for sooner, later in pairwise(ran)} == {HOUR}


def test_a_process_that_slept_over_the_change_runs_the_latest_slot_once() -> None:
    cron = a_cron("30 2 * * *", "Europe/Berlin")
    plan = due(cron, CronState("cron", mark=SPRING), SPRING + timedelta(days=3))
    assert local(list(plan.slots), "Europe/Berlin") == ["02 02:30 +0200"]
    assert [(skip.slots, local([skip.slot], "Europe/Berlin")) for skip in plan.skips] == [(2, ["01 02:30 +0200"])]
