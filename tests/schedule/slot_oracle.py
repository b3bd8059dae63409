"""The truth about slots: each minute around a change of the clock, asked one by one. Nothing of pseudocron is in it.

Sets of minutes are whole numbers: bit n is the nth event of a window, so that thousands of expressions are quick.
"""

from __future__ import annotations

import calendar
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from random import Random

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DAY_NAMES = ("sun", "mon", "Tue", "WED", "thu", "fri", "sat")
MONTH_NAMES = ("jan", "FEB", "mar", "apr", "May", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def changes(tz: str, year: int) -> list[datetime]:
    """The instants of a year at which the offset changes, found hour by hour, then minute by minute."""
    zone = ZoneInfo(tz)
    found = []
    hours = (datetime(year + 1, 1, 1, tzinfo=UTC) - datetime(year, 1, 1, tzinfo=UTC)) // HOUR
    for n in range(hours):
        end = datetime(year, 1, 1, tzinfo=UTC) + n * HOUR
        if end.astimezone(zone).utcoffset() != (end - HOUR).astimezone(zone).utcoffset():
            minutes = [end - HOUR + k * MINUTE for k in range(61)]
            offsets = [minute.astimezone(zone).utcoffset() for minute in minutes]
            found += [minutes[k] for k in range(1, 61) if offsets[k] != offsets[k - 1]]
    return found


@dataclass(frozen=True)
class Expression:
    """An expression, and what its fields mean, as it was made."""

    text: str
    fields: tuple[frozenset[Hashable], ...]

    @property
    def fixed(self) -> bool:
        return not any(part.startswith("*") for part in self.text.split()[:2])

    @property
    def day_and(self) -> bool:
        _, _, day, _, weekday = self.text.split()
        return day.startswith("*") or weekday.startswith("*")


class Window:
    """The minutes from `begin` to `end` on the wall clock of a zone, those that it skips included."""

    def __init__(self, tz: str, begin: datetime, end: datetime) -> None:
        self.tz, self.begin, self.end = tz, begin, end
        self.times: list[datetime] = []
        self.masks: dict[tuple[int, Hashable], int] = defaultdict(int)
        self.skipped = self.repeated = 0
        self._step_through()

    def _step_through(self) -> None:
        zone, shown, before = ZoneInfo(self.tz), set(), None
        for n in range((self.end - self.begin) // MINUTE):
            instant = self.begin + n * MINUTE
            local = instant.astimezone(zone).replace(tzinfo=None)
            while before and before + MINUTE < local:
                before += MINUTE
                self.skipped |= self._add(instant, before)
            bit = self._add(instant, local)
            if local in shown:
                self.repeated |= bit
            shown.add(local)
            before = local

    def _add(self, instant: datetime, local: datetime) -> int:
        bit = 1 << len(self.times)
        self.times.append(instant)
        weekday, last = local.isoweekday() % 7, calendar.monthrange(local.year, local.month)[1]
        values: list[tuple[int, Hashable]] = [(0, local.minute), (1, local.hour), (2, local.day), (3, local.month)]
        values += [(4, weekday), (4, (weekday, (local.day - 1) // 7 + 1))]
        values += [(2, "L")] * (local.day == last) + [(4, (weekday, "L"))] * (local.day + 7 > last)
        for value in values:
            self.masks[value] |= bit
        return bit

    def slots(self, expression: Expression) -> Slots:
        masks = []
        for place, values in enumerate(expression.fields):
            mask = 0
            for value in values:
                mask |= self.masks.get((place, value), 0)
            masks.append(mask)
        minute, hour, day, month, weekday = masks
        days = day & weekday if expression.day_and else day | weekday
        matches = minute & hour & days & month
        return Slots(self.times, matches & ~(self.repeated if expression.fixed else self.skipped))


@dataclass(frozen=True)
class Slots:
    """The slots of an expression in a window: the times of its bits, that of a skipped minute being the gap's end."""

    times: list[datetime]
    bits: int

    def next(self, after: datetime) -> datetime | None:
        start = bisect_right(self.times, after)
        later = self.bits >> start
        return self.times[start + (later & -later).bit_length() - 1] if later else None

    def latest(self, until: datetime) -> datetime | None:
        earlier = self.bits & ((1 << bisect_right(self.times, until)) - 1)
        return self.times[earlier.bit_length() - 1] if earlier else None

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        span = range(bisect_right(self.times, after), bisect_right(self.times, until))
        return sorted({self.times[n] for n in span if self.bits >> n & 1})


def random_expression(random: Random) -> Expression:
    """An expression that likes the small hours, in which clocks are changed."""
    parts = [
        _field(random, 0, 59, random.choice(["*", "*/", "one", "one", "one", "list", "range"])),
        _field(random, 0, 23, random.choice(["*", "*/", "small", "small", "small", "list", "range"])),
        _field(random, 1, 31, random.choice(["*", "*", "*", "*", "*/", "one", "list", "range", "L"])),
        _field(random, 1, 12, random.choice(["*"] * 8 + ["list", "range", "name"])),
        _field(random, 0, 7, random.choice(["*"] * 6 + ["*/", "list", "range", "name", "sunday", "nth", "last"])),
    ]
    texts, values = zip(*parts, strict=True)
    weekdays = frozenset(value % 7 if isinstance(value, int) else value for value in values[4])
    return Expression(" ".join(texts), (*values[:4], weekdays))


def _field(  # noqa: C901, PLR0911  a case for each kind
    random: Random, low: int, high: int, kind: str
) -> tuple[str, frozenset[Hashable]]:
    everything = range(low, high + 1)
    one, step = (
        random.choice(everything),
        random.choice([step for step in (1, 2, 3, 5, 7, 10, 15, 20, 30) if step < len(everything)]),
    )
    a, b = sorted((random.choice(everything), random.choice(everything)))
    day = random.randrange(7)
    match kind:
        case "*":
            return "*", frozenset(everything)
        case "*/":
            return f"*/{step}", frozenset(everything[::step])
        case "one":
            return f"{one}", frozenset({one})
        case "small":
            hour = random.choice([0, 0, 1, 1, 2, 2, 3, 4, 23])
            return f"{hour}", frozenset({hour})
        case "range":
            return random.choice(
                [(f"{a}-{b}", frozenset(range(a, b + 1))), (f"{a}-{b}/{step}", frozenset(range(a, b + 1, step)))]
            )
        case "list":
            return f"{one},{a}-{b},{one}", frozenset({one, *range(a, b + 1)})
        case "L":
            return random.choice([("L", frozenset({"L"})), (f"L,{one}", frozenset({"L", one}))])
        case "sunday":
            return f"{DAY_NAMES[day]}-sun", frozenset(range(day, 8)) if day else frozenset({0})
        case "nth":
            nth = random.randint(1, 5)
            return f"{random.choice([DAY_NAMES[day], day])}#{nth}", frozenset({(day, nth)})
        case "last":
            return f"{random.choice([DAY_NAMES[day], day])}L", frozenset({(day, "L")})
    if high == 12:
        return f"{MONTH_NAMES[a - 1]}-{MONTH_NAMES[b - 1]}", frozenset(range(a, b + 1))
    a, b = min(a, 6), min(b, 6)
    return f"{DAY_NAMES[a]},{DAY_NAMES[b]}", frozenset({a, b})


def moments(random: Random, window: Window, around: datetime) -> Iterator[datetime]:
    """Instants within a window: by chance, close to the change of the clock, on and beside whole minutes."""
    margin = 26 * HOUR  # what is repeated is known only with a day of the past
    inner = (window.end - window.begin - margin - 5 * HOUR) // MINUTE
    yield window.begin + margin + random.randrange(inner) * MINUTE
    yield around + random.randint(-200, 200) * MINUTE + random.choice([-1, 0, 0, 1]) * timedelta(microseconds=1)
    yield around + timedelta(seconds=random.randint(-3 * 3600, 3 * 3600), microseconds=random.choice([0, 1, 999_999]))
