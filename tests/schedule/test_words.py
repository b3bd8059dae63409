"""The words of an expression are read as English, and what they claim is compared with its slots."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pseudocron.errors import ScheduleError
from pseudocron.schedule import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)
DAYS = 1500
"""How far the words are followed: over each date of a calendar with a leap year."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
NTH = ("first", "second", "third", "fourth", "fifth")
NUMBER = r"(\d+)(?:st|nd|rd|th)?"

# What the words say


def listed(text: str, value: Callable[[str], int]) -> set[int]:
    """The values of a list such as "1, 3 through 5 and 9"."""
    found: set[int] = set()
    for part in re.split(r", | and ", text):
        ends = [value(end) for end in part.split(" through ")]
        found |= set(range(ends[0], ends[-1] + 1))
    return found


def clock(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def minutes_of_day(text: str) -> tuple[set[int], str]:
    """The minutes of a day that the words name, and the words that follow them."""
    number, words = r"(\d+(?:(?:, | and | through )\d+)*)", "(.*)"
    hours = rf"(?:every hour|the hours? {number})"
    if found := re.fullmatch(rf"at (\d\d:\d\d(?:(?:, | and )\d\d:\d\d)*)\b {words}", text):
        return {clock(one) for one in re.split(r", | and ", found[1])}, found[2]
    if found := re.fullmatch(rf"every (?:(\d+) )?(minute|hour)s? from (\d\d:\d\d) through (\d\d:\d\d) ?{words}", text):
        step = int(found[1] or 1) * (60 if found[2] == "hour" else 1)
        return set(range(clock(found[3]), clock(found[4]) + 1, step)), found[5]
    if found := re.fullmatch(rf"every (\d+) minutes from minute (\d+) through (\d+) of {hours} ?{words}", text):
        minutes = set(range(int(found[2]), int(found[3]) + 1, int(found[1])))
        return crossed(minutes, found[4]), found[5]
    if found := re.fullmatch(rf"at minutes? {number} of {hours} ?{words}", text):
        return crossed(listed(found[1], int), found[2]), found[3]
    if found := re.fullmatch(rf"at the start of every hour ?{words}", text):
        return crossed({0}, None), found[1]
    found = re.fullmatch(rf"every (?:(\d+) )?minutes? ?{words}", text)
    assert found, text
    return crossed(set(range(0, 60, int(found[1] or 1))), None), found[2]


def crossed(minutes: set[int], hours: str | None) -> set[int]:
    return {60 * hour + minute for hour in (listed(hours, int) if hours else range(24)) for minute in minutes}


def days_of_month(text: str) -> Callable[[date], bool]:
    numbers: set[int] = set()
    if found := re.search(rf"every {NUMBER} day from the {NUMBER} through the {NUMBER}", text):
        numbers |= set(range(int(found[2]), int(found[3]) + 1, int(found[1])))
    elif found := re.match(rf"((?:(?:, | and | through )?the {NUMBER})+) day", text):
        numbers |= listed(found[1], lambda one: int(one.removeprefix("the ")[:-2]))

    def holds(day: date) -> bool:
        last = monthrange(day.year, day.month)[1]
        workdays = [n for n in range(1, last + 1) if day.replace(day=n).weekday() < 5]
        return (
            day.day in numbers
            or ("the last day" in text and day.day == last)
            or ("the last weekday" in text and day.day == workdays[-1])
        )

    assert numbers or "the last" in text, text
    return holds


def days_of_week(text: str) -> Callable[[date], bool]:
    named = re.split(r"(?:, | and |^)(?=the )", text)
    plain = listed(named[0], WEEKDAYS.index) if named[0] else set()
    special = {tuple(one.split()[1:3]) for one in named[1:]}

    def holds(day: date) -> bool:
        words = {NTH[(day.day - 1) // 7]} | ({"last"} if day.day + 7 > monthrange(day.year, day.month)[1] else set())
        return day.weekday() in plain or any((word, WEEKDAYS[day.weekday()]) in special for word in words)

    return holds


def days(text: str) -> Callable[[date], bool]:
    """Whether the words name a day."""
    text = text.removeprefix("every day").strip()
    named = "|".join(WEEKDAYS)
    one = rf"((?:(?!{named}).)+)"
    if found := re.fullmatch(rf"on ({'|'.join(MONTHS)}) (\d+)", text):
        month, number = found.groups()
        return lambda day: (MONTHS[day.month - 1], str(day.day)) == (month, number)
    if found := re.fullmatch(rf"on {one} of the month (if it is|and on) (.*?)(?: in (.*))?", text):
        both = all if found[2] == "if it is" else any
        tests, months = (days_of_month(found[1]), days_of_week(found[3])), in_months(found[4])
        return lambda day: both(test(day) for test in tests) and months(day)
    if found := re.fullmatch(rf"on {one} of (every month|.*)", text):
        test, months = days_of_month(found[1]), in_months(None if found[2] == "every month" else found[2])
        return lambda day: test(day) and months(day)
    if found := re.fullmatch(r"on (.*?)(?: in (.*))?", text):
        weekday, months = days_of_week(found[1]), in_months(found[2])
        return lambda day: weekday(day) and months(day)
    return in_months(text.removeprefix("in ") or None)


def in_months(text: str | None) -> Callable[[date], bool]:
    months = listed(text, MONTHS.index) if text else set(range(12))
    return lambda day: day.month - 1 in months


def claimed(words: str) -> Iterator[datetime]:
    """The instants after the start that the words of a schedule in UTC name."""
    times, rest = minutes_of_day(words.removesuffix(" (UTC)"))
    named = days(rest)
    for n in range(DAYS):
        day = START.replace(hour=0, minute=0) + timedelta(days=n)
        if named(day.date()):
            instants = (day + timedelta(minutes=minute) for minute in sorted(times))
            yield from (instant for instant in instants if instant > START)


# What expressions there are


def field(low: int, high: int, *others: str, names: str = "") -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    pair = st.tuples(value, value).map(sorted)
    step = st.integers(1, min(high, high - low + 1))  # 0 and 7 are one weekday
    terms = [
        st.just("*"),
        value.map(str),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        step.map(lambda every: f"*/{every}"),
        st.tuples(pair, step).map(lambda parts: f"{parts[0][0]}-{parts[0][1]}/{parts[1]}"),
        *([st.sampled_from([*others, *names.split()])] if others or names else []),
    ]
    several = st.lists(st.one_of(*terms[1:]), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), several)


expressions = st.tuples(
    field(0, 59),
    field(0, 23),
    field(1, 31, "L", "LW", "1-31", "1-7", "1,15"),
    field(1, 12, names="jan mar-may dec"),
    field(0, 7, "mon#1", "tue#5", "friL", "0L", names="mon mon-fri sat,sun 0-6"),
).map(" ".join)


@settings(max_examples=300)
@given(expressions)
@example("0 9 1-31 * mon")
@example("0 9 * * 0-7")
@example("0 9 13 * fri")
@example("0 9 */2 * fri")
@example("0 9 */1 6 1-7")
@example("*/15 9-17 1 * 1-7/2")
def test_the_words_of_an_expression_name_its_slots_and_no_others(expression: str) -> None:
    try:
        schedule = parse(expression)
    except ScheduleError as error:
        assert "never comes" in str(error)  # noqa: PT017 - it may be the 31st of June
        return
    slots = list(islice(schedule.ahead(START), 50))
    end = START.replace(hour=0, minute=0) + timedelta(days=DAYS)
    assert [slot for slot in slots if slot < end] == list(islice(claimed(schedule.words), 50))


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("0 * * * *", "at the start of every hour"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", "every 7 minutes from minute 0 through 56 of every hour"),
        ("15 * * * *", "at minute 15 of every hour"),
        ("30 9-17 * * mon-fri", "every hour from 09:30 through 17:30 on Monday through Friday"),
        ("*/15 9-17 * * *", "every 15 minutes from 09:00 through 17:45"),
        ("10-20 11 * * *", "every minute from 11:10 through 11:20"),
        ("0 6,18 1 * *", "at 06:00 and 18:00 on the 1st day of every month"),
        ("0 9 1-31 * mon", "at 09:00 every day"),
        ("0 9 1-31 6 mon", "at 09:00 every day in June"),
        ("0 9 13 * fri", "at 09:00 on the 13th day of the month and on Friday"),
        ("0 9 */2 * fri", "at 09:00 on every 2nd day from the 1st through the 31st of the month if it is Friday"),
        ("0 9 * 1,7 sat,sun", "at 09:00 on Saturday and Sunday in January and July"),
        ("0 0 LW * *", "at 00:00 on the last weekday of every month"),
        ("0 18 24 12 *", "at 18:00 on December 24"),
    ],
)
def test_an_expression_is_told_in_plain_words(expression: str, words: str) -> None:
    assert parse(expression).words == f"{words} (UTC)"
