from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from random import Random
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from cronsim import CronSim

from pseudocron.errors import ScheduleError
from pseudocron.schedule import Schedule, parse
from schedule.slot_oracle import Expression, Slots, Window, changes, moments, random_expression

YEARS = {
    "Africa/Casablanca": (2012, 2024),
    "America/Havana": (2012, 2024),
    "America/New_York": (2006, 2024),
    "Antarctica/Palmer": (1965,),  # set back three hours at the very New Year, in UTC too
    "Antarctica/Troll": (2023, 2024),
    "Asia/Kathmandu": (1986,),
    "Asia/Kolkata": (1945,),
    "Australia/Lord_Howe": (2023, 2024),
    "Europe/Berlin": (1980, 2024),
    "Pacific/Apia": (2010, 2011),
    "Pacific/Chatham": (2023, 2024),
    "UTC": (),
}
EXPRESSIONS = 500  # in each of the 12 zones
SPAN = timedelta(hours=40)


@cache
def windows(tz: str) -> list[tuple[Window, datetime]]:
    random = Random(tz)
    found = [change for year in YEARS[tz] for change in changes(tz, year)]
    by_chance = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=random.randrange(10 * 8760)) for _ in range(2)]
    return [(Window(tz, around - SPAN, around + SPAN), around) for around in found + by_chance]


def assert_same(schedule: Schedule, slots: Slots, window: Window, moment: datetime) -> None:
    ahead, expected = schedule.next(moment), slots.next(moment)
    assert ahead == expected or (expected is None and ahead is not None and ahead >= window.end)
    start = window.begin + timedelta(hours=26)
    expected = slots.latest(moment)
    assert schedule.latest(start, moment) == (expected if expected and expected > start else None)
    some = slots.between(moment, moment + timedelta(hours=4))
    assert schedule.count(moment, moment + timedelta(hours=4), limit=9) == min(len(some), 9)
    assert schedule.last(moment, moment + timedelta(hours=4), limit=9) == some[-9:]


@pytest.mark.parametrize("tz", YEARS)
def test_every_slot_is_that_of_the_oracle_which_steps_through_each_minute(tz: str) -> None:
    random = Random(f"{tz} 1")
    checked = 0
    while checked < EXPRESSIONS:
        expression = random_expression(random)
        try:
            schedule = parse(expression.text, tz)
        except ScheduleError as error:
            assert "never comes" in str(error), expression.text  # noqa: PT017  that it is the only one
            continue
        window, around = random.choice(windows(tz))
        slots = window.slots(expression)
        for moment in moments(random, window, around):
            try:
                assert_same(schedule, slots, window, moment)
            except AssertionError as error:
                raise AssertionError(f"{expression.text!r} {tz} at {moment.isoformat()}, seed '{tz} 1'") from error
        checked += 1


def test_the_oracle_has_seen_gaps_and_repeated_hours() -> None:
    seen = [window for tz in YEARS for window, _ in windows(tz)]
    assert sum(window.skipped > 0 for window in seen) >= 15
    assert sum(window.repeated > 0 for window in seen) >= 15


def aware(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "tz", "after", "slots"),
    [
        # Berlin: 02:00 becomes 03:00 on 31 March 2024, 03:00 becomes 02:00 on 27 October.
        ("30 2 * * *", "Europe/Berlin", "2024-03-30T12:00+01:00", ["2024-03-31T03:00+02:00", "2024-04-01T02:30+02:00"]),
        (
            "0,30 2 * * *",
            "Europe/Berlin",
            "2024-03-31T00:00+01:00",
            ["2024-03-31T03:00+02:00", "2024-04-01T02:00+02:00"],
        ),
        (
            "0 2,3 * * *",
            "Europe/Berlin",
            "2024-03-31T00:00+01:00",
            ["2024-03-31T03:00+02:00", "2024-04-01T02:00+02:00"],
        ),
        ("30 2 * * *", "Europe/Berlin", "2024-10-26T12:00+02:00", ["2024-10-27T02:30+02:00", "2024-10-28T02:30+01:00"]),
        ("30 * * * *", "Europe/Berlin", "2024-10-27T02:00+02:00", ["2024-10-27T02:30+02:00", "2024-10-27T02:30+01:00"]),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2024-03-30T12:00+01:00",
            ["2024-04-01T02:00+02:00", "2024-04-01T02:30+02:00"],
        ),
        # Lord Howe moves by half an hour.
        (
            "*/30 * * * *",
            "Australia/Lord_Howe",
            "2024-04-07T01:30+11:00",
            ["2024-04-07T01:30+10:30", "2024-04-07T02:00+10:30"],
        ),
        ("45 1 * * *", "Australia/Lord_Howe", "2024-04-07T01:45+11:00", ["2024-04-08T01:45+10:30"]),
        # Apia had no 30 December 2011.
        ("0 12 30 * *", "Pacific/Apia", "2011-12-29T00:00-10:00", ["2011-12-31T00:00+14:00", "2012-01-30T12:00+14:00"]),
        # Havana has no midnight when summer time begins.
        ("0 0 * * *", "America/Havana", "2024-03-09T12:00-05:00", ["2024-03-10T01:00-04:00", "2024-03-11T00:00-04:00"]),
        # Troll moves by two hours.
        (
            "30 1 * * *",
            "Antarctica/Troll",
            "2024-03-30T12:00+00:00",
            ["2024-03-31T03:00+02:00", "2024-04-01T01:30+02:00"],
        ),
        # A leap day, and one after which there is none for eight years.
        ("0 0 29 2 *", "UTC", "2096-02-28T00:00+00:00", ["2096-02-29T00:00+00:00", "2104-02-29T00:00+00:00"]),
        # Either day of month or day of week, as neither starts with a star.
        ("0 0 13 * fri", "UTC", "2024-09-06T00:00+00:00", ["2024-09-13T00:00+00:00", "2024-09-20T00:00+00:00"]),
        # Both, as one does: Fridays among the 1st, the 8th, the 15th ...
        ("0 0 */7 * fri", "UTC", "2024-09-01T00:00+00:00", ["2024-11-01T00:00+00:00", "2024-11-08T00:00+00:00"]),
    ],
)
def test_the_clock_changes_as_debian_has_it(text: str, tz: str, after: str, slots: list[str]) -> None:
    schedule = parse(text, tz)
    expected = [aware(slot) for slot in slots]
    assert list(islice(schedule.ahead(aware(after)), len(slots))) == expected
    assert schedule.last(aware(after), expected[-1], limit=9) == expected
    assert schedule.count(aware(after), expected[-1]) == len(slots)


def test_slots_come_in_utc_whatever_zone_was_asked_in() -> None:
    slot = parse("0 2 * * *", "Asia/Shanghai").next(aware("2024-01-01T00:00+08:00"))
    assert slot is not None
    assert (slot.isoformat(), slot.tzinfo) == ("2023-12-31T18:00:00+00:00", UTC)


@pytest.mark.parametrize("schedule", [parse("* * * * *"), parse(60)])
def test_a_naive_instant_is_refused(schedule: Schedule) -> None:
    now = aware("2024-01-01T00:00+00:00")
    naive = now.replace(tzinfo=None)
    for ask in (
        lambda: schedule.next(naive),
        lambda: schedule.latest(naive, now),
        lambda: schedule.latest(now, naive),
        lambda: schedule.count(now, naive),
    ):
        with pytest.raises(ValueError, match="no time zone"):
            ask()


@pytest.mark.parametrize("tz", ["Asia/Shanghai", "America/New_York", "UTC"])
@pytest.mark.parametrize("text", ["* * * * *", "0 0 1 1 *", "0 0 29 2 *", 60])
def test_at_the_ends_of_time_there_is_no_slot_and_no_error(text: str | int, tz: str) -> None:
    schedule = parse(text, tz)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    beyond = datetime.max.replace(tzinfo=datetime.fromisoformat("2024-01-01T00:00-12:00").tzinfo)
    assert schedule.next(last) is None
    assert schedule.next(beyond) is None
    assert schedule.latest(first, first) is None
    assert schedule.next(first) is not None
    assert schedule.latest(first, last) is not None


def test_the_latest_of_a_year_of_minutes_is_found_without_walking_them(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = parse("* * * * *", "Europe/Berlin")
    steps = []
    reverse = CronSim.reverse

    def counted(sim: CronSim) -> None:
        steps.append(sim.dt)
        reverse(sim)

    monkeypatch.setattr(CronSim, "reverse", counted)
    until = aware("2024-12-31T23:59:30+00:00")
    assert schedule.latest(until - timedelta(days=365), until) == until.replace(second=0)
    assert len(steps) == 1


def plain(random: Random) -> Expression:
    """An expression that all agree on: of the two fields for days, at most one is given."""
    while True:
        expression = random_expression(random)
        day, weekday = expression.text.split()[2::2]
        one_in_range = re.search(r"\b(\w+)-\1\b", expression.text)  # croniter takes 5-5 for all
        if "*" in {day, weekday} and not any(sign in day + weekday for sign in "L#/") and not one_in_range:
            return expression


def test_croniter_and_cronsim_agree_where_the_clock_does_not_change() -> None:
    random = Random(7)
    for n in range(400):
        expression = plain(random)
        try:
            schedule = parse(expression.text, tz := random.choice(["UTC", "Asia/Kolkata"]))
        except ScheduleError:
            continue
        start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=random.randrange(10**6))
        slots = list(islice(schedule.ahead(start), 5))
        local = start.astimezone(ZoneInfo(tz))
        numbers = expression.text.lower().replace("-sun", "-7")
        assert slots == list(islice(CronSim(numbers, local), 5)), (n, expression.text, tz)
        other = croniter(numbers, local)
        assert slots == [other.get_next(datetime) for _ in slots], (n, expression.text, tz)
