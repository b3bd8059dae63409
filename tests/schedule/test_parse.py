from __future__ import annotations

import pickle
from copy import deepcopy
from datetime import timedelta
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudocron.errors import ScheduleError
from pseudocron.schedule import CronExpression, Interval, parse


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        (60, 60),
        (0.1, 0.1),
        (0.001, 0.001),
        (timedelta(minutes=5), 300),
        ("60", 60),
        (" 0.5 ", 0.5),
        ("90s", 90),
        ("5m", 300),
        ("5 M", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2 hours", 7200),
        ("1 hour, 5 minutes and 1 second", 3901),
        ("500ms", 0.5),
        ("1w 1d", 8 * 86400),
        ("every 5 minutes", 300),
        ("Every  30 Seconds", 30),
        ("every 1h30m", 5400),
        ("every 2 days", 2 * 86400),
        ("every second", 1),
        ("every minute", 60),
        ("every hour", 3600),
    ],
)
def test_a_duration_is_an_interval(schedule: object, seconds: float) -> None:
    assert parse(schedule, "Asia/Shanghai") == Interval(timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("every day at 02:00", "0 2 * * *"),
        ("every day", "0 0 * * *"),
        ("every day at midnight", "0 0 * * *"),
        ("every day at noon", "0 12 * * *"),
        ("every day at 9", "0 9 * * *"),
        ("every day at 9am", "0 9 * * *"),
        ("every day at 2:30 pm", "30 14 * * *"),
        ("every day at 12am", "0 0 * * *"),
        ("every day at 12pm", "0 12 * * *"),
        ("every day at 17:00 and 9:00", "0 9,17 * * *"),
        ("every day at 6:15, 12:15, and 18:15", "15 6,12,18 * * *"),
        ("every monday at 09:30", "30 9 * * 1"),
        ("Every Sunday", "0 0 * * 0"),
        ("every weekday at 18:00", "0 18 * * 1-5"),
        ("every weekend at 10:00", "0 10 * * 6,0"),
        ("every monday and thursday at 9:00", "0 9 * * 1,4"),
        ("every mon, wed and fri at 9:00", "0 9 * * 1,3,5"),
        ("every week", "0 0 * * 0"),
        ("every week on friday at 17:00", "0 17 * * 5"),
        ("every month", "0 0 1 * *"),
        ("every month on the 1st at 06:00", "0 6 1 * *"),
        ("every month on the 2nd and the 23rd at 06:00", "0 6 2,23 * *"),
        ("every month on day 15", "0 0 15 * *"),
        ("every month on the last day at 23:59", "59 23 L * *"),
        ("every month on the first day", "0 0 1 * *"),
        ("every month on the last weekday", "0 0 LW * *"),
        ("every month on the first monday at 9:00", "0 9 * * 1#1"),
        ("every month on the last friday at 17:00", "0 17 * * 5L"),
        ("every hour at :15", "15 * * * *"),
        ("every hour at :00 and :30", "0,30 * * * *"),
        ("every year", "0 0 1 1 *"),
        ("every year on 24 december at 18:00", "0 18 24 12 *"),
        ("every year on the 24th of dec", "0 0 24 12 *"),
        ("every year on May 1st", "0 0 1 5 *"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@Monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        (" @annually ", "0 0 1 1 *"),
        ("0  7 * *\tmon-fri", "0 7 * * mon-fri"),
        ("*/5 8-18 1,15 JAN-jun fri-SUN", "*/5 8-18 1,15 JAN-jun fri-SUN"),
        ("0 0 * * friL", "0 0 * * friL"),
        ("0 0 L * mon#1,5#3", "0 0 L * mon#1,5#3"),
    ],
)
def test_a_phrase_is_a_cron_expression_in_its_zone(phrase: str, text: str) -> None:
    assert parse(phrase, "Asia/Shanghai") == CronExpression(text, "Asia/Shanghai")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (60, "every minute"),
        (3600, "every hour"),
        (86400, "every day"),
        (300, "every 5 minutes"),
        (5400, "every 1 hour 30 minutes"),
        (0.1, "every 0.1 seconds"),
        (1.5, "every 1.5 seconds"),
        (90061, "every 1 day 1 hour 1 minute 1 second"),
        ("0 2 * * *", "at 02:00 every day (Asia/Shanghai)"),
        ("0 7 * * mon-fri", "at 07:00 on Monday through Friday (Asia/Shanghai)"),
        ("0 0 23 * *", "at 00:00 on the 23rd day of every month (Asia/Shanghai)"),
        ("0 0 12,13 * *", "at 00:00 on the 12th and the 13th day of every month (Asia/Shanghai)"),
        ("0 0 * * friL", "at 00:00 on the last Friday of the month (Asia/Shanghai)"),
    ],
)
def test_a_schedule_is_told_in_words(schedule: object, words: str) -> None:
    assert parse(schedule, "Asia/Shanghai").words == words


@pytest.mark.parametrize("schedule", [parse("0 2 * * *", "Europe/Berlin"), parse("5m")])
def test_a_schedule_is_a_value(schedule: object) -> None:
    assert parse(schedule) is schedule
    assert deepcopy(schedule) == schedule == pickle.loads(pickle.dumps(schedule))  # noqa: S301  its own
    assert hash(deepcopy(schedule)) == hash(schedule)


def test_expressions_differ_by_text_and_zone() -> None:
    assert len({parse("@daily"), parse("0 0 * * *"), parse("@daily", "Europe/Berlin"), parse("1 0 * * *")}) == 3


class Nasty:
    def __repr__(self) -> str:
        raise RuntimeError


class Chatty:
    def __repr__(self) -> str:
        return "one\ntwo " * 1000


BAD = [
    (True, "True", "bool"),
    (None, "None", "NoneType"),
    (b"60", "b'60'", "bytes"),
    ([60], "[60]", "list"),
    (Nasty(), "<Nasty>", "Nasty"),
    (Chatty(), "one two one", "Chatty"),
    (float("nan"), "nan", "seconds"),
    (float("inf"), "inf", "seconds"),
    (10**400, "1000", "seconds"),
    (10**5000, "<int>", "seconds"),
    (0, "0", "too short"),
    (-1, "-1", "too short"),
    (0.0001, "0.0001", "the shortest is 0.001"),
    (timedelta(0), "timedelta(0)", "too short"),
    ("-5", "'-5'", "too short"),
    ("0s", "'0s'", "too short"),
    ("9" * 900, "'999", "seconds"),
    ("9" * 400 + " days", "'999", "seconds"),
    ("", "''", "write it like"),
    (" ", "' '", "write it like"),
    ("nan", "'nan'", "not understood"),
    ("5 minuts", "'5 minuts'", "did you mean 'minutes'"),
    ("every", "'every'", "write it like"),
    ("every moday at 9:00", "'moday'", "did you mean 'monday'"),
    ("every day at", "'every day at'", "write it like"),
    ("every day at 25:00", "'25:00'", "no time of day"),
    ("every day at 9:60", "'9:60'", "no time of day"),
    ("every day at 13pm", "'13pm'", "no time of day"),
    ("every day at 0am", "'0am'", "no time of day"),
    ("every day at 9:00 at 10:00", "'9:00 at 10:00'", "no time of day"),
    ("every day at 9:00 and 10:30", "'9:00 and 10:30'", "separate entries"),
    ("every 5 minutes on monday", "'5 minutes on monday'", "write it like"),
    ("every hour at 15", "'15'", "':15'"),
    ("every hour at :75", "'75'", "0-59"),
    ("every month on the 32nd", "'32'", "1-31"),
    ("every month on the first weekend", "'first weekend'", "'first monday'"),
    ("every month on monday", "'monday'", "'first monday'"),
    ("every year on 31 february", "'31'", "never comes"),
    ("every year on december", "'december'", "'24 december'"),
    ("at 9:00", "'at 9:00'", "write it like"),
    ("60 * * * *", "'60'", "bad minute"),
    ("* 24 * * *", "'24'", "bad hour"),
    ("* * 0 * *", "'0'", "bad day of month"),
    ("* * * foo *", "'foo'", "jan-dec"),
    ("* * * * fri-mon", "'fri-mon'", "bad day of week"),
    ("* * * * 8", "'8'", "bad day of week"),
    ("* * * * L", "'L'", "friL"),
    ("*/0 * * * *", "'*/0'", "bad minute"),
    ("5-5/0 * * * *", "'5-5/0'", "bad minute"),
    ("1,,2 * * * *", "'1,,2'", "bad minute"),
    ("+1 * * * *", "'+1'", "bad minute"),
    ("\u0661 * * * *", "'\u0661'", "bad minute"),
    ("* * * *", "'* * * *'", "4 fields instead of 5"),
    ("0 0 0 * * *", "'0 0 0 * * *'", "'30s'"),
    ("0 0 31 2 *", "'31'", "never comes"),
    ("0 0 30 2 *", "'30'", "never comes"),
    ("0 0 31 4,6,9,11 *", "'31'", "never comes"),
    ("0 0 */30 2 mon#5", "'*/30'", "never comes"),
    ("@dayly", "'@dayly'", "did you mean '@daily'"),
    ("@reboot", "'@reboot'", "@hourly"),
    ("," * 1000, "',,,", "write it like"),
    ("," * 990 + " * * * *", "',,,", "bad minute"),
    ("1," * 490 + " * * * *", "'1,1", "bad minute"),
    ("*" * 2000, "'***", "1000 are allowed"),
    ("a" * 1000, "'aaa", "write it like"),
    ("1a" * 500, "'1a1a", "not understood"),
    ("1mand" * 200, "'1mand", "not understood"),
    ("every " * 160, "'every", "write it like"),
    ("\ud800\x00 * * * *", "\\ud800", "bad minute"),
]


@pytest.mark.parametrize(("schedule", "value", "mend"), BAD, ids=range(len(BAD)))
def test_a_bad_schedule_gets_one_line_that_names_the_value_and_the_mend(
    schedule: object, value: str, mend: str
) -> None:
    began = thread_time()  # of this thread: others may have the core for a while
    with pytest.raises(ScheduleError) as caught:
        parse(schedule)
    assert thread_time() - began < 0.5
    message = str(caught.value)
    assert value in message
    assert mend in message
    assert "\n" not in message
    assert len(message) < 400


BAD_ZONES = [
    ("Europe/Berln", "'Europe/Berln'", "did you mean 'Europe/Berlin'"),
    ("europe/berlin", "'europe/berlin'", "did you mean 'Europe/Berlin'"),
    ("Europe/Berlin ", "'Europe/Berlin '", "did you mean 'Europe/Berlin'"),
    ("Europe", "'Europe'", "IANA"),
    ("../../etc/passwd", "'../../etc/passwd'", "IANA"),
    ("/etc/passwd", "'/etc/passwd'", "IANA"),
    ("", "''", "IANA"),
    (".", "'.'", "IANA"),
    ("a\0b\n", "'a\\x00b\\n'", "IANA"),
    ("\ud800", "'\\ud800'", "IANA"),
    ("x" * 10_000, "'xxx", "IANA"),
    (None, "None", "IANA"),
    (8, "8", "IANA"),
]


@pytest.mark.parametrize("schedule", [60, "0 2 * * *"])
@pytest.mark.parametrize(("tz", "value", "mend"), BAD_ZONES, ids=range(len(BAD_ZONES)))
def test_a_bad_zone_gets_one_line_that_names_the_value_and_the_mend(
    schedule: object, tz: str, value: str, mend: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(schedule, tz)
    message = str(caught.value)
    assert value in message
    assert mend in message
    assert "\n" not in message
    assert len(message) < 200


WORDS = "every at on and the day monday weekday month year hour 1st last first 9 9:00 pm minutes , * */5 1-5 L 5L mon#2"
texts = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(WORDS.split()), max_size=8).map(" ".join),
    st.lists(st.text("0123456789*/,-#LWmonjafr", min_size=1, max_size=6), min_size=5, max_size=5).map(" ".join),
)


@given(st.one_of(texts, st.floats(), st.integers(), st.timedeltas()), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_whatever_is_given_is_a_schedule_or_a_schedule_error_of_one_line(schedule: object, tz: str) -> None:
    try:
        read = parse(schedule, tz)
    except ScheduleError as error:
        assert "\n" not in str(error)  # noqa: PT017  what it may be, if there is one
    else:
        assert read.words
        assert "\n" not in read.words
