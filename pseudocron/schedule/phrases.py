"""Plain language: phrases such as "every monday at 09:30", read as a duration or as a cron expression."""

from __future__ import annotations

import re
from datetime import timedelta

from pseudocron.errors import ScheduleError, closest

_UNITS = {
    "weeks": ("w", "week"),
    "days": ("d", "day"),
    "hours": ("h", "hr", "hrs", "hour"),
    "minutes": ("m", "min", "mins", "minute"),
    "seconds": ("s", "sec", "secs", "second"),
    "milliseconds": ("ms", "millisecond"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in (unit, *words)}

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_DAY_OF = {word: str(n) for n, day in enumerate(_DAYS) for word in (day, f"{day}s", day[:3])}
_WEEKDAY_OF = _DAY_OF | {"weekday": "1-5", "weekdays": "1-5", "weekend": "6,0", "weekends": "6,0"}

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH_OF = {word: str(n) for n, month in enumerate(_MONTHS, 1) for word in (month, month[:3])}

_PERIODS = {"day": "* * *", "week": "* * 0", "month": "1 * *", "year": "1 1 *"}
_MONTH_DAYS = {"first day": "1", "last day": "L", "last weekday": "LW"}
_NTH = {"first": "#1", "second": "#2", "third": "#3", "fourth": "#4", "fifth": "#5", "last": "L"}
_NAMED_TIMES = {"midnight": (0, 0), "noon": (12, 0)}

_FILLERS = {"the", "of"}
_KNOWN = {"every", "at", "on", "and", *_UNIT_OF, *_WEEKDAY_OF, *_MONTH_OF, *_PERIODS, *_NTH, *_NAMED_TIMES}
_ENDINGS = {"am", "pm", "st", "nd", "rd", "th"}
_MEND = "write it like 'every 5 minutes', 'every monday at 09:30' or '30 9 * * mon'"

_ADVERBS = {"hourly", "daily", "weekly", "monthly", "yearly", "annually"}
_EVERY_OTHER = re.compile(r"every other (second|minute|hour|day|week)s?")
_EVERY_MONTHS = re.compile(r"every (quarter|other month|(\d\d?) months?)", re.ASCII)
_LONGEST_FIX = 100

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[a-z]+|\S", re.ASCII)
_COMMA = re.compile(r",(?:\s*and\b)?", re.ASCII)
_TIME = re.compile(r"(\d\d?)(?:[:.](\d\d))? ?(am|pm)?", re.ASCII)
_PAST_HOUR = re.compile(r":(\d\d)", re.ASCII)
_DATE = re.compile(r"(?:day )?(\d\d?)(?:st|nd|rd|th)?", re.ASCII)


def duration(text: str) -> timedelta | None:
    """Return the duration in a text such as "60" (seconds), "90s", "1h30m" or "every 5 minutes", or None without one.

    `OverflowError` if it is longer than a `timedelta` can be.
    """
    if _NUMBER.fullmatch(text.strip()):
        return timedelta(seconds=float(text))
    words = [word for word in _TOKEN.findall(text.lower()) if word not in {",", "and"}]
    if words[:1] == ["every"]:
        words = words[1:] if len(words) > 2 or words[1:] in (["day"], ["week"]) else ["1", *words[1:]]
    amounts, units = words[::2], words[1::2]
    if not words or len(amounts) != len(units) or not all(_NUMBER.match(amount) for amount in amounts):
        return None
    if any(unit not in _UNIT_OF for unit in units):
        return None
    pairs = zip(amounts, units, strict=True)
    return sum((timedelta(**{_UNIT_OF[unit]: float(amount)}) for amount, unit in pairs), timedelta())


def spell(every: timedelta) -> str:
    """Return a duration in words: "5 minutes", "1 hour 30 minutes", "hour" for one hour."""
    parts = []
    for unit in ("day", "hour", "minute"):
        amount, every = divmod(every, timedelta(**{f"{unit}s": 1}))
        if amount:
            parts.append((str(amount), unit))
    if every:
        parts.append((f"{every.total_seconds():.6f}".rstrip("0").rstrip("."), "second"))
    if len(parts) == 1 and parts[0][0] == "1":
        return parts[0][1]
    return " ".join(f"{amount} {unit}" if amount == "1" else f"{amount} {unit}s" for amount, unit in parts)


def expression(text: str, *, suggests: bool = True) -> str:
    """Return the cron expression for a phrase; what looks like one already, or like "@daily", is left as it is.

    Without a time of day a phrase means midnight. `ScheduleError` names the word that is not understood, and with
    `suggests` one that may have been meant.
    """
    first, *others = text.split() or [""]
    if first.startswith("@") or (not first.isalpha() and ("*" in text or len(others) > 3)):
        return text
    words = [word for word in _COMMA.sub(" and ", text.lower()).split() if word not in _FILLERS]
    if meant := _meant(" ".join(words)):
        raise ScheduleError(f"not understood, did you mean {meant!r}?")
    _check(words, suggests=suggests)
    days, _, times = " ".join(words[1:]).partition(" at ")
    if days == "hour":
        return f"{_minutes(times)} * * * *"
    return f"{_times(times or 'midnight')} {_days(days)}"


def _check(words: list[str], *, suggests: bool) -> None:
    for word in _TOKEN.findall(" ".join(words)):
        if word.isalpha() and word not in _KNOWN and word not in _ENDINGS:
            near = closest(word, {known for known in _KNOWN if len(known) > 2}, cutoff=0.7) if suggests else None
            is_fix = near is not None and _is_schedule(re.sub(rf"\b{word}\b|(?<=\d){word}\b", near, " ".join(words)))
            fix = f"did you mean {near!r}?" if is_fix else _MEND
            raise ScheduleError(f"{word[:40]!r} is not understood, {fix}")
    if words[:1] != ["every"]:
        raise ScheduleError(f"not understood, {_MEND}")


def _meant(phrase: str) -> str | None:
    """Return how a phrase that is common elsewhere is written here, or None."""
    if phrase in _ADVERBS:
        return f"@{phrase}"
    if match := _EVERY_OTHER.fullmatch(phrase):
        return f"every 2 {match[1]}s"
    if match := _EVERY_MONTHS.fullmatch(phrase):
        months = {"quarter": 3, "other month": 2}.get(match[1]) or int(match[2])
        return f"0 0 1 */{months} *" if 0 < months <= 12 and 12 % months == 0 else None
    return None


def _is_schedule(text: str) -> bool:
    from pseudocron.schedule.expressions import Pattern  # noqa: PLC0415  only for those who make a mistake

    if len(text) > _LONGEST_FIX:
        return False
    try:
        return duration(text) is not None or bool(Pattern(expression(text, suggests=False)))
    except (OverflowError, ScheduleError):
        return False


def _minutes(times: str) -> str:
    found = [_PAST_HOUR.fullmatch(time) for time in times.split(" and ")]
    if not all(found):
        raise ScheduleError(f"{times[:40]!r} are no minutes of an hour, write them like ':15' or ':00 and :30'")
    return ",".join(str(int(match[1])) for match in found if match)


def _times(text: str) -> str:
    """Return the fields minute and hour."""
    hours, minutes = zip(*(_time(time) for time in text.split(" and ")), strict=True)
    if len(set(minutes)) > 1:
        raise ScheduleError(f"the times {text[:40]!r} differ in their minutes, make them separate entries")
    return f"{minutes[0]} {','.join(str(hour) for hour in sorted(set(hours)))}"


def _time(text: str) -> tuple[int, int]:
    """Return the hour and minute of a time of day."""
    if text in _NAMED_TIMES:
        return _NAMED_TIMES[text]
    match = _TIME.fullmatch(text)
    hour, minute = (int(match[1]), int(match[2] or 0)) if match else (-1, 0)
    half = match[3] if match else None
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "pm" else 0)
    elif half or not 0 <= hour <= 23:
        minute = 60
    if minute > 59:
        raise ScheduleError(f"{text[:40]!r} is no time of day, write it like '09:30' or '2:30pm'")
    return hour, minute


def _days(text: str) -> str:
    """Return the fields day of month, month and day of week."""
    if text in _PERIODS:
        return _PERIODS[text]
    period, _, days = text.partition(" on ")
    if period == "month":
        return _month_days(days)
    if period == "year":
        return _date(days)
    names = (days if period == "week" else text).split(" and ")
    for name in names:
        if name not in _WEEKDAY_OF:
            raise ScheduleError(f"{name[:40]!r} is no day of the week, {_MEND}")
    return f"* * {','.join(_WEEKDAY_OF[name] for name in names)}"


def _month_days(text: str) -> str:
    days, weekdays = [], []
    for item in text.split(" and "):
        nth, _, weekday = item.partition(" ")
        if item in _MONTH_DAYS:
            days.append(_MONTH_DAYS[item])
        elif match := _DATE.fullmatch(item):
            days.append(match[1])
        elif nth in _NTH and weekday in _DAY_OF:
            weekdays.append(_DAY_OF[weekday] + _NTH[nth])
        else:
            raise ScheduleError(f"{item[:40]!r} is no day of a month, write '1st', 'last day' or 'first monday'")
    return f"{','.join(days) or '*'} * {','.join(weekdays) or '*'}"


def _date(text: str) -> str:
    words = text.split(" ")
    months = [_MONTH_OF[word] for word in words if word in _MONTH_OF]
    days = [match[1] for word in words if (match := _DATE.fullmatch(word))]
    if len(words) != 2 or len(months) != 1 or len(days) != 1:
        raise ScheduleError(f"{text[:40]!r} is no day of a year, write it like '24 december'")
    return f"{days[0]} {months[0]} *"
