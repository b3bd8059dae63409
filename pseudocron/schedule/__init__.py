"""When a cron is due: schedules, and how they are read. Pure: reads no clock, does no I/O but load time zones.

An instant is an aware `datetime`, and comes back in UTC; a naive one is a `ScheduleError`, which is a `ValueError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from pseudocron.dataclass import dataclass
from pseudocron.errors import ScheduleError, show
from pseudocron.schedule.zones import SECOND, YEARS, check_zone, parts_ahead, parts_back

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pseudocron.schedule.expressions import Pattern

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST = timedelta(milliseconds=1)
"""The shortest interval; an instant is kept in microseconds, and a look takes longer than one."""

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
COUNTED = 10_000
"""How far slots are counted where that takes a walk: a week of minutes, in some 50 ms."""
COUNTED_FOR = timedelta(days=20 * 366)
"""And over which time: where slots are rare, it is the years between them that take long."""

_MINUTE = timedelta(minutes=1)
_LONGEST_TEXT = 1000


class Schedule(ABC):
    """A rule that says which instants are slots. Schedules are equal, and hash alike, if they are by value."""

    __slots__ = ()

    @abstractmethod
    def ahead(self, after: datetime) -> Iterator[datetime]:
        """Yield the slots strictly after an instant, in order, as far as a `datetime` can hold them."""

    @abstractmethod
    def back(self, until: datetime) -> Iterator[datetime]:
        """Yield the slots up to an instant, which may be one, the latest first."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The rule in English, such as "every 5 minutes" or "at 02:00 every day (Asia/Shanghai)"."""

    def next(self, after: datetime) -> datetime | None:
        """Return the first slot strictly after an instant, or None if there is none."""
        return next(self.ahead(after), None)

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last slot in (after, until], or None if there is none; the slots before it are not walked."""
        return next(iter(self.last(after, until, limit=1)), None)

    def last(self, after: datetime, until: datetime, *, limit: int) -> list[datetime]:
        """Return the last `limit` slots in (after, until], oldest first."""
        after = _utc(after)
        return list(islice(takewhile(lambda slot: slot > after, self.back(until)), limit))[::-1]

    def count(self, after: datetime, until: datetime, *, limit: int = COUNTED) -> int:
        """Count the slots in (after, until]; where they are counted one by one, to `limit` or 20 years at most."""
        after, until = _utc(after), _utc(until)
        until = min(until, after + min(COUNTED_FOR, _LAST - after))
        return sum(1 for _ in islice(takewhile(lambda slot: slot <= until, self.ahead(after)), limit))


@dataclass(frozen=True, slots=True)
class Interval(Schedule):
    """Slots at `phase` and at every multiple of `every` before and after it, in whole microseconds.

    Args:
        every: From slot to slot, 1 ms or more; else `ScheduleError`.
        phase: One of the slots, aware; the Unix epoch, so that all processes agree, unless a last or next run sets it.
        begins: Whether the phase is the first slot.
    """

    every: timedelta
    phase: datetime = EPOCH
    begins: bool = False

    def __post_init__(self) -> None:
        if self.every < SHORTEST:
            raise ScheduleError(f"an interval of {self.every / SECOND:g} seconds is too short, the shortest is 0.001")
        object.__setattr__(self, "phase", _utc(self.phase))

    def anchored(self, phase: datetime) -> Interval:
        """Return the same interval, with a slot at `phase`."""
        return Interval(self.every, phase)

    def beginning(self, first: datetime) -> Interval:
        """Return the same interval, with `first` as its first slot."""
        return Interval(self.every, first, begins=True)

    def ahead(self, after: datetime) -> Iterator[datetime]:
        """See `Schedule.ahead`."""
        return self._walk(self._number(after) + 1, 1)

    def back(self, until: datetime) -> Iterator[datetime]:
        """See `Schedule.back`."""
        return self._walk(self._number(until), -1)

    def next(self, after: datetime) -> datetime | None:
        """See `Schedule.next`."""
        return self._slot(self._number(after) + 1)

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """See `Schedule.latest`."""
        slot = self._slot(self._number(until))
        return slot if slot is not None and slot > (after if after.tzinfo else _utc(after)) else None

    def count(self, after: datetime, until: datetime, *, limit: int = COUNTED) -> int:  # noqa: ARG002  not walked
        """Count the slots in (after, until], exactly."""
        return max(self._number(until) - self._number(after), 0)

    @property
    def words(self) -> str:
        """See `Schedule.words`."""
        from pseudocron.schedule.phrases import spell  # noqa: PLC0415  only for those who read it

        return f"every {spell(self.every)}"

    def _number(self, instant: datetime) -> int:
        """Return the number of the last slot up to an instant; the slot at `phase` is number 0, -1 is before all."""
        number = (_utc(instant) - self.phase) // self.every
        return -1 if self.begins and number < 0 else number

    def _slot(self, number: int) -> datetime | None:
        try:
            return None if self.begins and number < 0 else self.phase + number * self.every
        except OverflowError:  # beyond the end of time
            return None

    def _walk(self, number: int, step: int) -> Iterator[datetime]:
        while (slot := self._slot(number)) is not None:
            yield slot
            number += step


@dataclass(frozen=True, slots=True)
class CronExpression(Schedule):
    """Slots at the local times of a time zone that an expression of five fields, or a shorthand, matches.

    Daylight saving follows Debian's cron. If the minute or hour starts with `*`, the cron follows the wall clock: what
    the clock skips does not exist, what it repeats comes twice. All others are at fixed times: what the clock skips
    comes at the first instant after the gap (several of a gap are one slot), what it repeats comes the first time.

    Args:
        text: `minute hour day-of-month month day-of-week`, or `@hourly` to `@yearly`; else `ScheduleError`.
        tz: The IANA name of the time zone; else `ScheduleError`.
    """

    text: str
    tz: str = "UTC"
    _pattern: Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from pseudocron.schedule.expressions import Pattern  # noqa: PLC0415  an application may know intervals only

        check_zone(self.tz)
        object.__setattr__(self, "_pattern", Pattern(self.text))
        object.__setattr__(self, "text", self._pattern.text)

    def ahead(self, after: datetime) -> Iterator[datetime]:
        """See `Schedule.ahead`. It ends in the year 9998."""
        low = _naive(after).replace(microsecond=0)
        if low.year >= YEARS.stop:
            return iter(())
        return (slot.replace(tzinfo=UTC) for slot in self._ahead(low + SECOND))

    def back(self, until: datetime) -> Iterator[datetime]:
        """See `Schedule.back`. It ends in the year 2."""
        return (slot.replace(tzinfo=UTC) for slot in self._back(_naive(until).replace(microsecond=0)))

    @property
    def words(self) -> str:
        """See `Schedule.words`."""
        return f"{self._pattern.words} ({self.tz})"

    # Within a part of time with one offset, a slot is a match in naive local time, less the offset. For fixed times,
    # the matches of a part begin where the clock had come to before it: after a gap that is earlier than the part, and
    # they come as it starts; in a repeated hour it is later, and leaves out what was shown. All below is naive.

    def _ahead(self, low: datetime) -> Iterator[datetime]:
        slot = match = None
        searched = low
        for part in parts_ahead(self.tz, low):
            begin = max(low, part.start) + part.offset
            if self._pattern.fixed:
                begin = part.shown if low <= part.start else max(begin, part.shown)
            # A search is dear where years lie between the matches; what the last one found may still be the first.
            if match is None or not searched <= begin <= match:
                match = self._pattern.first(begin)
            searched = begin
            while match and match < part.end + part.offset:
                if slot != (slot := max(match - part.offset, part.start)):
                    yield slot
                searched = match + _MINUTE
                match = self._pattern.first(searched)
            if match is None:
                return

    def _back(self, high: datetime) -> Iterator[datetime]:
        slot = match = None
        searched = high
        for part in parts_back(self.tz, high):
            begin = part.shown if self._pattern.fixed else part.start + part.offset
            end = min(high, part.end - SECOND) + part.offset
            if match is None or not match <= end <= searched:
                match = self._pattern.last(end)
            searched = end
            while match and match >= begin:
                if slot != (slot := max(match - part.offset, part.start)):
                    yield slot
                searched = match - _MINUTE
                match = self._pattern.last(searched)
            if match is None:
                return


def parse(schedule: object, tz: str = "UTC") -> Schedule:
    """Read a schedule.

    Args:
        schedule: Seconds; a `timedelta`; a text, such as "90s", "1h30m", "every 5 minutes", "every monday at 09:30",
            "0 7 * * mon-fri" or "@daily"; or a `Schedule`, which is returned as it is.
        tz: The IANA name of the time zone in which times of day are meant.

    A `ScheduleError`, one line that names the value and the mend, is all that is ever raised.
    """
    if isinstance(schedule, Schedule):
        return schedule
    tz = check_zone(tz)
    try:
        return _parse(schedule, tz)
    except ScheduleError as error:
        raise ScheduleError(f"schedule {show(schedule)}: {error}") from None
    except (OverflowError, ValueError):
        raise ScheduleError(f"schedule {show(schedule)}: not a number of seconds that can be waited for") from None


def _parse(schedule: object, tz: str) -> Schedule:
    match schedule:
        case timedelta():
            return Interval(schedule)
        case int() | float() if not isinstance(schedule, bool):
            return Interval(timedelta(seconds=schedule))
        case str():
            return _read(schedule, tz)
    raise ScheduleError(f"{type(schedule).__name__} is no schedule, use seconds, a timedelta or a text")


def _read(text: str, tz: str) -> Schedule:
    from pseudocron.schedule.phrases import duration, expression  # noqa: PLC0415  likewise numbers only

    if len(text) > _LONGEST_TEXT:
        raise ScheduleError(f"{len(text)} characters are too many, {_LONGEST_TEXT} are allowed")
    every = duration(text)
    if every is not None:
        return Interval(every)
    return CronExpression(expression(text), tz)


def _utc(instant: datetime) -> datetime:
    """Return an aware instant in UTC, or the end of the calendar that it lies beyond."""
    if instant.utcoffset() is None:
        raise ScheduleError(f"{instant!r} has no time zone")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        return _FIRST if instant.year == 1 else _LAST


def _naive(instant: datetime) -> datetime:
    return _utc(instant).replace(tzinfo=None)
