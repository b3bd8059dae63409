"""The stretches of time in which a time zone's offset stays the same, found by asking the zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from pseudocron.dataclass import dataclass
from pseudocron.errors import ScheduleError, closest, show

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)

YEARS = range(2, 9999)
"""A year of leeway at both ends of what a `datetime` can hold, so that adding an offset never overflows."""

_OF_THE_HOST = {"localtime", "posixrules"}
"""Names that mean something else on every host, where all must compute the same slots."""

_MEANT = {
    **dict.fromkeys(("beijing", "peking", "china"), "'Asia/Shanghai'"),
    "cst": "'Asia/Shanghai' or 'America/Chicago'",
    "cdt": "'America/Chicago'",
    "est5edt": "'America/New_York'",
    "edt": "'America/New_York'",
    **dict.fromkeys(("pst", "pdt"), "'America/Los_Angeles'"),
    "mdt": "'America/Denver'",
    "bst": "'Europe/London'",
    "cest": "'Europe/Berlin'",
    "ist": "'Asia/Kolkata'",
    "jst": "'Asia/Tokyo'",
    "kst": "'Asia/Seoul'",
    "hkt": "'Asia/Hong_Kong'",
    "sgt": "'Asia/Singapore'",
    "aest": "'Australia/Sydney'",
    "msk": "'Europe/Moscow'",
    "z": "'UTC'",
}
"""Names that people write for zones; an abbreviation resembles others that are far away."""

_UNUSUAL = re.compile(r"[^a-z0-9_/:+-]")
_OFFSET = re.compile(r"(?:utc|gmt)?([+-])0?(\d\d?)(?::?00)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of time with one offset, `start <= instant < end`, both naive UTC.

    Args:
        start: A change of the offset, or New Year.
        end: The next change of the offset, or New Year.
        offset: Local time minus UTC.
        shown: Up to where (naive local time) the clock had come before `start`: usually `start + offset`,
            earlier if `start` ends a gap, later if the times from `start` on have been shown before.
    """

    start: datetime
    end: datetime
    offset: timedelta
    shown: datetime


def check_zone(tz: object) -> str:
    """Return `tz` if it is an IANA name, else raise `ScheduleError`."""
    why = wrong_with(tz)
    if why or not isinstance(tz, str):
        raise ScheduleError(f"time zone {show(tz)} {why}")
    return tz


def wrong_with(tz: object) -> str:
    """Return why a value is no IANA name, with the fix, or an empty string if it is one."""
    meant = None
    if isinstance(tz, str):
        try:
            if tz not in _OF_THE_HOST:
                _zone(tz)
                return ""
        except (LookupError, OSError, ValueError):  # it has an error for each fault, even IsADirectoryError
            meant = _meant(_UNUSUAL.sub("", tz[:60].strip().lower().replace(" ", "_")))
    return f"is unknown, did you mean {meant}?" if meant else "is unknown, use an IANA name such as Europe/Berlin"


def _meant(tz: str) -> str | None:
    """Return the quoted name of the zone that was meant, or None; `tz` is in lower case."""
    from zoneinfo import available_timezones  # noqa: PLC0415  only for those who make a mistake

    names = {name.lower(): name for name in sorted(available_timezones() - _OF_THE_HOST)}
    city = tz.rpartition("/")[2]
    if city in _MEANT:
        return _MEANT[city]
    if offset := _OFFSET.fullmatch(tz):  # the signs of Etc are those of POSIX: west is positive
        city = tz = f"etc/gmt{'-' if offset[1] == '+' else '+'}{int(offset[2])}"
    if tz not in names:
        # By its last part: an area in common makes Asia/Beijing and Asia/Brunei alike.
        cities = {name.rpartition("/")[2]: name for name in names if "/" in name}
        near = city if city in cities else closest(city, cities, cutoff=0.75) if len(city) > 4 else None
        tz = cities[near] if near else tz
    return repr(names[tz]) if tz in names else None


def parts_ahead(tz: str, instant: datetime) -> Iterator[Part]:
    """Yield the part around a naive UTC instant, and those after it."""
    for year in YEARS[max(instant.year - YEARS.start, 0) :]:
        yield from (part for part in _parts(tz, year) if part.end > instant)


def parts_back(tz: str, instant: datetime) -> Iterator[Part]:
    """Yield the part around a naive UTC instant, and those before it, the latest first."""
    for year in YEARS[: max(instant.year - YEARS.start + 1, 0)][::-1]:
        yield from (part for part in _parts(tz, year)[::-1] if part.start <= instant)


@cache
def _zone(tz: str) -> tzinfo:
    """Return a zone, and keep it: ZoneInfo's own cache drops zones, and may read the file again on an event loop."""
    if tz == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415  it reads the build settings of Python, and most crons are in UTC

    return ZoneInfo(tz)


@lru_cache(maxsize=1024)
def _parts(tz: str, year: int) -> tuple[Part, ...]:
    """Return the parts of a year, which begins and ends in UTC."""
    zone = _zone(tz)
    # Two days are longer than any clock was set back: what was shown twice around New Year is known.
    before, begin, end = datetime(year, 1, 1) - 2 * DAY, datetime(year, 1, 1), datetime(year + 1, 1, 1)  # noqa: DTZ001  naive UTC
    borders = sorted({begin, end, *_changes(zone, before, end)})
    offset, shown, parts = _offset(zone, before), before - DAY, []
    for start, stop in pairwise(borders):
        shown = max(shown, start + offset)
        offset = _offset(zone, start)
        parts.append(Part(start=start, end=stop, offset=offset, shown=shown))
    return tuple(part for part in parts if part.start >= begin)


def _changes(zone: tzinfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the instants in (start, end) at which the offset differs from that of a second before."""
    days = [start + n * DAY for n in range((end - start) // DAY + 1)]
    offsets = [_offset(zone, day) for day in days]
    for (low, high), (a, b) in zip(pairwise(days), pairwise(offsets), strict=True):
        if a != b:
            yield from _bisect(zone, low, high)


def _bisect(zone: tzinfo, low: datetime, high: datetime) -> Iterator[datetime]:
    """Yield the changes in (low, high], to the second."""
    if _offset(zone, low) == _offset(zone, high):
        return
    if high - low == SECOND:
        yield high
        return
    middle = low + (high - low) // 2
    middle = middle.replace(microsecond=0)
    yield from _bisect(zone, low, middle)
    yield from _bisect(zone, middle, high)


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta()
