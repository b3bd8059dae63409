"""What a cron expression means, in English: made from the parsed values that decide its slots, never from its text."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from cronsim import CronSim

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_NTH = ("first", "second", "third", "fourth", "fifth")
_FEW = 4
"""Up to how many times of day are listed; as many values with equal steps are told by their step."""


def describe(sim: CronSim) -> str:
    """Return the meaning of an expression, such as "at 02:00 every day"."""
    times, dates = _times(sorted(sim.minutes), sorted(sim.hours)), _dates(sim)
    is_daily = not dates or dates.startswith("in ")
    return " ".join(filter(None, (times, "every day" if is_daily and _is_clock_time(times) else "", dates)))


def _is_clock_time(times: str) -> bool:
    return times.startswith("at ") and times[3].isdigit()


def _times(minutes: Sequence[int], hours: Sequence[int]) -> str:
    """Return the minutes and hours."""
    step, wide = _step(minutes), _step(hours)
    is_even = step is not None and minutes[0] == 0 and step * len(minutes) == 60
    if len(hours) == 24:
        if minutes == [0]:
            return "at the start of every hour"
        return _every(step, "minute") if step and is_even else f"{_of_hour(minutes)} of every hour"
    if len(minutes) * len(hours) <= _FEW:
        return f"at {_join([_clock(hour, minute) for hour, minute in product(hours, minutes)])}"
    span = f"from {_clock(hours[0], minutes[0])} through {_clock(hours[-1], minutes[-1])}"
    if step and (len(hours) == 1 or (is_even and wide == 1)):
        return f"{_every(step, 'minute')} {span}"
    if wide and len(minutes) == 1:
        return f"{_every(wide, 'hour')} {span}"
    return f"{_of_hour(minutes)} of the hour{'s' * (len(hours) > 1)} {_ranges(hours, str)}"


def _of_hour(minutes: Sequence[int]) -> str:
    step = _step(minutes)
    if step and step > 1 and len(minutes) >= _FEW:
        return f"{_every(step, 'minute')} from minute {minutes[0]} through {minutes[-1]}"
    return f"at minute{'s' * (len(minutes) > 1)} {_ranges(minutes, str)}"


def _dates(sim: CronSim) -> str:
    """Return the days and months, an empty string for every day."""
    months = "" if len(sim.months) == 12 else _ranges(sorted(sim.months), lambda month: _MONTHS[month - 1])
    days, weekdays = _month_days(sim), _weekdays(sim)
    inside = f" in {months}" if months else ""
    # Where either one is enough, and one is every day, the other one is of no consequence.
    if not (days or weekdays) or (not sim.day_and and not (days and weekdays)):
        return inside.strip()
    if not days:
        return f"on {weekdays}{inside}"
    if not weekdays:
        single = len(sim.days) == len(sim.months) == 1 and min(sim.days) > 0
        return f"on {months} {min(sim.days)}" if single else f"on {days} of {months or 'every month'}"
    joint = "if it is" if sim.day_and else "and on"
    return f"on {days} of the month {joint} {weekdays}{inside}"


def _month_days(sim: CronSim) -> str:
    """Return the days of the month, an empty string for all."""
    numbers = sorted(day for day in sim.days if day > 0)
    if len(numbers) == 31:
        return ""
    step = _step(numbers)
    parts = [f"{_ranges(numbers, lambda day: f'the {_ordinal(day)}')} day"] if numbers else []
    if step and step > 1 and len(numbers) >= _FEW:
        parts = [f"every {_ordinal(step)} day from the {_ordinal(numbers[0])} through the {_ordinal(numbers[-1])}"]
    parts += ["the last day"] * (sim.LAST in sim.days) + ["the last weekday"] * (sim.LAST_WEEKDAY in sim.days)
    return _join(parts)


def _weekdays(sim: CronSim) -> str:
    """Return the days of the week, an empty string for all."""
    # Monday is 0 here, and 1 there, where Sunday is both 0 and 7.
    plain = sorted({(day - 1) % 7 for day in sim.weekdays if isinstance(day, int)})
    if len(plain) == 7:
        return ""
    some = {((day[0] - 1) % 7, day[1]) for day in sim.weekdays if isinstance(day, tuple)}
    parts = [_ranges(plain, lambda day: _WEEKDAYS[day])] if plain else []
    for day, nth in sorted(some, key=lambda one: (one[1] == sim.LAST, one[1], one[0])):
        if day not in plain:
            parts.append(f"the {'last' if nth == sim.LAST else _NTH[nth - 1]} {_WEEKDAYS[day]} of the month")
    return _join(parts)


def _step(values: Sequence[int]) -> int | None:
    """Return the difference between neighbours, if it is always the same and there are any."""
    steps = {later - earlier for earlier, later in pairwise(values)}
    return steps.pop() if len(steps) == 1 else None


def _every(step: int, unit: str) -> str:
    return f"every {unit}" if step == 1 else f"every {step} {unit}s"


def _clock(hour: int, minute: int) -> str:
    return f"{hour:02}:{minute:02}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _ranges(values: Sequence[int], label: Callable[[int], str]) -> str:
    """Return values in words, three and more neighbours as a range."""
    runs: list[list[int]] = []
    for value in values:
        if runs and runs[-1][-1] + 1 == value:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts: list[str] = []
    for run in runs:
        parts += [f"{label(run[0])} through {label(run[-1])}"] if len(run) > 2 else map(label, run)
    return _join(parts)


def _join(parts: Collection[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
