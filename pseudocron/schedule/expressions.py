"""Cron expressions in naive local time: parsed once by cronsim, and walked in both directions."""

from __future__ import annotations

import re
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING

from pseudocron.errors import ScheduleError, did_you_mean

if TYPE_CHECKING:
    from typing import NoReturn

    from cronsim import CronSim

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_FIELDS = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31, L (the last) or LW (the last weekday)"),
    ("month", "1-12 or jan-dec"),
    ("day of week", "0-7, sun-sat, mon#2 (the second monday) or friL (the last friday)"),
)
_SIZES = (60, 24, 31, 12, 7)
_STEP = re.compile(r"/([0-9]+)")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_DAY = re.compile("|".join(_DAYS))
_ONE_STEP = re.compile(r"\b([0-9A-Z]+)-\1/0*[1-9][0-9]*\b")
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001  naive local time


class Pattern:
    """The naive local times that an expression of five fields matches.

    `fixed` tells apart the crons of Debian's DST rule: neither minute nor hour starts with `*`. Day of month and day
    of week must both match if one of them starts with `*`, else either. Both rules are of Debian's cron.
    """

    __slots__ = ("_sim", "fixed", "text")

    def __init__(self, text: str) -> None:
        fields = text.split()
        if fields and fields[0].startswith("@"):
            fields = _unalias(text).split()
        if len(fields) != len(_FIELDS):
            raise ScheduleError(_miscounted(fields))
        _check_steps(fields)
        self.text = " ".join(fields)
        self.fixed = not fields[0].startswith("*") and not fields[1].startswith("*")
        self._sim = _simulate(fields)
        if self.first(_EPOCH) is None:
            _never(fields)

    def first(self, begin: datetime) -> datetime | None:
        """Return the first match not before `begin`, a whole second, or None if there is none in 50 years."""
        sim = copy(self._sim)
        sim.dt, sim.tick_direction = begin, 1
        try:
            sim.advance()
        except (OverflowError, StopIteration):
            return None
        return sim.dt

    def last(self, end: datetime) -> datetime | None:
        """Return the last match not after `end`, a whole second, or None if there is none in 50 years."""
        sim = copy(self._sim)
        sim.dt, sim.tick_direction = end, -1
        try:
            sim.reverse()
        except (OverflowError, StopIteration):
            return None
        return sim.dt

    @property
    def words(self) -> str:
        """In English, such as "at 02:00 every day"."""
        from pseudocron.schedule.words import describe  # noqa: PLC0415  only for those who read them

        return describe(self._sim)


def _unalias(text: str) -> str:
    alias = ALIASES.get(text.strip().lower())
    if alias is None:
        near = did_you_mean(text[:40].lower(), ALIASES)
        raise ScheduleError(f"no shorthand {text[:40]!r}{near or ', there are ' + ' '.join(ALIASES)}")
    return alias


def _miscounted(fields: list[str]) -> str:
    names = ", ".join(name for name, _ in _FIELDS)
    seconds = "; for seconds use an interval such as '30s'" if len(fields) == len(_FIELDS) + 1 else ""
    return f"{len(fields)} fields instead of 5 ({names}){seconds}"


def _check_steps(fields: list[str]) -> None:
    """Refuse a step that leaves its field at once: of `*/120` minutes only minute 0 would remain."""
    for place, (field, size) in enumerate(zip(fields, _SIZES, strict=True)):
        for step in map(int, _STEP.findall(field)):
            if step > size:
                name = _FIELDS[place][0]
                raise ScheduleError(f"bad {name} {field[:40]!r}, a step is at most {size}{_interval(place, step)}")


def _interval(place: int, step: int) -> str:
    """Return the fix for a step that is too large: the interval that it means, if there is one."""
    if step > 1000 or place > 2:
        return ""
    hours, minutes = divmod(step, 60)
    spelled = (f"{hours}h{f'{minutes}m' * (minutes > 0)}", f"{step}h", f"{step}d")
    return f"; for an interval write {spelled[place]!r}"


def _simulate(fields: list[str]) -> CronSim:
    return _parsed(fields) or _blame(fields)


def _parsed(fields: list[str]) -> CronSim | None:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415  an application may know intervals only

    try:
        return CronSim(" ".join(_for_cronsim(fields)), _EPOCH)
    except CronSimError:
        return None


def _for_cronsim(fields: list[str]) -> list[str]:
    """Return the fields as cronsim understands them."""
    # It would take 5-5/2 for 5/2, which is 5-59/2.
    fields = [_ONE_STEP.sub(r"\1", field.upper()) for field in fields]
    # It takes no names before L, and no range that ends on day 0.
    weekday = _DAY.sub(lambda name: str(_DAYS.index(name[0])), fields[-1])
    return [*fields[:-1], re.sub(r"(?<=[1-6]-)0(?![0-9])", "7", weekday)]


def _blame(fields: list[str]) -> NoReturn:
    """Name the field that is wrong on its own; if none is, they have no day in common."""
    for place, field in enumerate(fields):
        alone = ["*"] * len(fields)
        alone[place] = field
        if not _parsed(alone):
            name, takes = _FIELDS[place]
            raise ScheduleError(f"bad {name} {field[:40]!r}, it takes {takes}")
    _never(fields)


def _never(fields: list[str]) -> NoReturn:
    day, month, weekday = (field[:40] for field in fields[2:])
    raise ScheduleError(f"never comes: no day is day of month {day!r}, month {month!r}, day of week {weekday!r}")
