from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudocron.errors import ScheduleError
from pseudocron.schedule import EPOCH, Interval, parse

MICROSECOND = timedelta(microseconds=1)

# Python adds a duration to the wall clock's time; only where the offset is fixed that is the same instant.
offsets = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=offsets)  # noqa: DTZ001  it gets one
intervals = st.builds(Interval, st.timedeltas(timedelta(milliseconds=1), timedelta(days=4000)), instants)


@given(intervals, instants)
def test_the_next_slot_is_the_first_one_after(interval: Interval, after: datetime) -> None:
    slot = interval.next(after)
    assert slot is not None
    assert after < slot <= after + interval.every
    assert (slot - interval.phase) % interval.every == timedelta(0)


@given(intervals, instants, instants)
def test_the_latest_slot_is_the_last_one_up_to_and_with_the_end(
    interval: Interval, after: datetime, until: datetime
) -> None:
    slot = interval.latest(after, until)
    following = interval.next(after)
    assert following is not None
    if slot is None:
        assert following > until
        return
    assert after < slot <= until
    assert (slot - interval.phase) % interval.every == timedelta(0)
    assert interval.next(slot) == slot + interval.every
    assert slot + interval.every > until


@given(intervals, instants, st.integers(0, 500))
def test_slots_are_counted_exactly(interval: Interval, after: datetime, n: int) -> None:
    until = interval.next(after)
    assert until is not None
    until += n * interval.every
    assert interval.count(after, until) == n + 1
    assert interval.count(after, until - MICROSECOND) == n
    assert interval.count(until, after) == 0
    slots = interval.last(after, until, limit=7)
    assert slots == [until - k * interval.every for k in reversed(range(min(n + 1, 7)))]
    assert interval.last(after, until, limit=0) == []


@given(intervals, instants)
def test_a_phase_and_the_slots_made_from_it_are_the_same_slots(interval: Interval, after: datetime) -> None:
    slot = interval.next(after)
    assert slot is not None
    assert interval.anchored(slot).latest(after - interval.every, after) == slot - interval.every
    assert interval.anchored(after).next(after) == after + interval.every


def test_ten_years_of_tenths_of_a_second_do_not_drift() -> None:
    tenth = parse(0.1)
    end = datetime(2034, 1, 1, tzinfo=UTC)
    begin = end - timedelta(days=3650)
    assert tenth.count(begin, end) == 3650 * 864_000
    assert tenth.latest(begin, end + timedelta(microseconds=99_999)) == end
    assert tenth.next(end) == end + timedelta(microseconds=100_000)
    a_million = list(islice(tenth.ahead(begin), 1_000_000))
    assert a_million[-1] == begin + timedelta(seconds=100_000)


def test_the_phase_is_the_epoch_unless_a_last_run_sets_it() -> None:
    interval = Interval(timedelta(days=7))
    assert interval.next(EPOCH - MICROSECOND) == EPOCH
    monday = datetime(2024, 1, 1, 8, tzinfo=UTC)
    assert interval.anchored(monday).next(monday + timedelta(days=1)) == monday + timedelta(days=7)
    assert interval.anchored(monday).latest(EPOCH, monday - MICROSECOND) == monday - timedelta(days=7)


def test_a_clock_set_forward_makes_no_interval_shorter() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    noon = datetime(2024, 3, 30, 12, tzinfo=berlin)
    daily = Interval(timedelta(days=1), noon)
    assert daily.next(noon) == datetime(2024, 3, 31, 13, tzinfo=berlin)
    assert daily.count(noon, datetime(2024, 3, 31, 12, 59, tzinfo=berlin)) == 0


def test_an_interval_over_the_ends_of_time_has_no_slot_there() -> None:
    interval = Interval(timedelta(days=999_999_999))
    assert interval.next(EPOCH) is None
    assert interval.latest(EPOCH - timedelta(days=1), EPOCH) == EPOCH
    assert interval.latest(EPOCH - timedelta(days=2), EPOCH - timedelta(days=1)) is None


def test_intervals_are_equal_by_value() -> None:
    assert parse("90s") == parse(90) == parse("1m30s") == Interval(timedelta(seconds=90))
    assert len({parse("90s"), parse(90), parse("every 91 seconds")}) == 2
    shanghai = datetime.fromisoformat("1970-01-01T08:00+08:00")
    assert Interval(timedelta(1)).anchored(shanghai) == Interval(timedelta(1))


def test_an_interval_or_phase_that_can_not_be_is_refused() -> None:
    with pytest.raises(ScheduleError, match="too short"):
        Interval(timedelta(microseconds=999))
    with pytest.raises(ScheduleError, match="no time zone"):
        Interval(timedelta(seconds=1), datetime(2024, 1, 1))  # noqa: DTZ001  the fault
