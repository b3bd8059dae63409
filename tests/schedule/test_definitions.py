"""A schedule as a store keeps it: the text tells apart what has other slots, and is read back as the same schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudocron.schedule import EPOCH, Interval, Schedule, parse
from pseudocron.schedule.definitions import defined, definition, words_of

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  it gets one
intervals = st.builds(Interval, st.timedeltas(timedelta(milliseconds=1), timedelta(days=4000)), instants)


def slots(schedule: Schedule, after: datetime) -> list[datetime]:
    return list(islice(schedule.ahead(after), 3))


@pytest.mark.parametrize(
    ("schedule", "tz", "text"),
    [
        ("0  2 * * mon-fri", "Asia/Shanghai", "0 2 * * mon-fri|Asia/Shanghai|"),
        ("@daily", "UTC", "0 0 * * *|UTC|"),
        ("every day at 02:00", "UTC", "0 2 * * *|UTC|"),
        (60, "Asia/Shanghai", "60||0"),
        ("1h30m", "UTC", "5400||0"),
        (0.25, "UTC", "0.25||0"),
        (Interval(timedelta(hours=1), NOON + timedelta(seconds=1.5)), "UTC", "3600||1.5"),
        (Interval(timedelta(hours=1), EPOCH - timedelta(minutes=1)), "UTC", "3600||3540"),
    ],
)
def test_a_schedule_as_text(schedule: object, tz: str, text: str) -> None:
    parsed = parse(schedule, tz)
    assert definition(parsed) == text
    again = defined(text)
    assert again is not None
    assert slots(again, NOON) == slots(parsed, NOON)


@given(intervals, instants)
def test_an_interval_read_back_has_the_same_slots(interval: Interval, after: datetime) -> None:
    again = defined(definition(interval))
    assert again is not None
    assert slots(again, after) == slots(interval, after)
    assert definition(again) == definition(interval)


def test_one_phase_has_one_text() -> None:
    hourly = [Interval(timedelta(hours=1), NOON + timedelta(hours=hours)) for hours in (-7, 0, 30)]
    assert len({definition(one) for one in hourly}) == 1


@pytest.mark.parametrize(
    "text", ["", "tick", "60", "60||", "60||x", "||5", "0||0", "9" * 30 + "||0", "* * * * *|Mars|"]
)
def test_what_can_not_be_read_is_none(text: str) -> None:
    assert defined(text) is None
    assert words_of(text) == text


def test_words_for_people() -> None:
    assert words_of("0 2 * * *|UTC|") == parse("0 2 * * *").words
    assert words_of("60||0") == "every minute"
