"""Schedules as the texts that a store keeps: two schedules have the same slots if their texts are the same.

`EXPRESSION|ZONE|` is a cron expression, `SECONDS||PHASE` an interval, whose phase is less than the interval. Jitter is
no part of it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.errors import ScheduleError
from pseudocron.schedule import EPOCH, CronExpression, Interval

if TYPE_CHECKING:
    from pseudocron.schedule import Schedule

_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000


def definition(schedule: Schedule) -> str:
    """Return a schedule as text; one of a class that is not ours by its words."""
    match schedule:
        case Interval(every, phase):
            return f"{_plain(every)}||{_plain((phase - EPOCH) % every)}"
        case CronExpression(text, tz):
            return f"{text}|{tz}|"
    return schedule.words


def defined(text: str) -> Schedule | None:
    """Return the schedule of such a text; None if it can't be read, as it may be of another version."""
    expression, zone, phase = (*text.split("|"), "", "")[:3]
    try:
        if phase:
            return Interval(_delta(expression), EPOCH + _delta(phase))
        return CronExpression(expression, zone)
    except (ScheduleError, ValueError, OverflowError):
        return None


def words_of(text: str) -> str:
    """Return what such a text means, for people."""
    schedule = defined(text)
    return text if schedule is None else schedule.words


def _plain(delta: timedelta) -> str:
    seconds, rest = divmod(delta // _MICROSECOND, _SECOND)
    return f"{seconds}.{rest:06}".rstrip("0").rstrip(".")


def _delta(text: str) -> timedelta:
    seconds, _, rest = text.partition(".")
    return timedelta(seconds=int(seconds), microseconds=int(f"{rest:0<6}"))
