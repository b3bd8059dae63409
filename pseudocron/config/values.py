"""What a value that people write must be: checks, and the words for messages.

A check raises `ValueError("must be ...")`; who calls it says where the value stands.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from math import inf
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pseudocron.errors import did_you_mean

Check = Callable[[object], Any]
"""Takes what was written, gives what is meant."""

Duration = float | timedelta | str
"""What people write for a time span: seconds, a `timedelta`, or words such as "5 min" and "1h30m"."""

MOST_SECONDS = 1_000_000_000
"""Some thirty years: an instant of today plus this never leaves the calendar."""

MOST = 1_000_000
"""The highest count; every store keeps it exactly."""

LONGEST_NAME = 200
"""Characters in the name of a cron or a task, and in the key of a job."""

OR_WORDS = ", or words such as '5 min' or '1h30m'"

_WITH_UNITS = re.compile(r"\s*\d+(\.\d+)?\s*[a-z]", re.IGNORECASE)
"""How words for a time span begin. A number alone is none: seconds are written as a number, and not as text."""

_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that would tear a line of log, or can't be encoded."""

_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Bidirectional classes that would turn around what follows on the line."""


def above_zero(value: object) -> float:
    """Return a number of seconds above 0, from a number, a `timedelta` or words such as "5 min"."""
    return _seconds(value, "above 0", lambda seconds: seconds > 0)


def from_zero(value: object) -> float:
    """Return a number of seconds of 0 or more, from a number, a `timedelta` or words such as "5 min"."""
    return _seconds(value, "of 0 or more", lambda seconds: seconds >= 0)


def span(value: object) -> timedelta:
    """Return a time span of 0 or more, from seconds, a `timedelta` or words such as "5 min"."""
    try:
        return timedelta(seconds=from_zero(value))
    except ValueError as error:
        raise ValueError(f"{error}, or a timedelta") from None


def _seconds(value: object, words: str, fits: Callable[[float], bool]) -> float:
    written, value = value, _counted(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
        in_words = isinstance(written, str) and _WITH_UNITS.match(written)
        raise ValueError(f"must be a number of seconds {words}{OR_WORDS if in_words else ''}")
    if value > MOST_SECONDS:
        raise ValueError(f"must be at most {MOST_SECONDS} seconds")
    return float(value)


def _counted(value: object) -> object:
    """Return the seconds of a `timedelta` and of text with units, such as "1h30m"; other values as they are."""
    if isinstance(value, timedelta):
        return value / timedelta(seconds=1)
    if not isinstance(value, str) or not _WITH_UNITS.match(value) or len(value) > LONGEST_NAME:
        return value
    from pseudocron.schedule.phrases import duration  # noqa: PLC0415  only for those who write words

    try:
        found = duration(value)
    except OverflowError:
        return inf
    return value if found is None else found / timedelta(seconds=1)


def whole(least: int) -> Check:
    """Return a check for a count of at least `least`."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
            raise ValueError(f"must be a whole number from {least} to {MOST}")
        return value

    return check


def flag(value: object) -> bool:
    """Check that a value is True or False, and not just equal to one of them."""
    if not isinstance(value, bool):
        raise ValueError("must be True or False")  # noqa: TRY004 - all checks raise ValueError
    return value


def optional(check: Check) -> Check:
    """Return a check that allows None besides what `check` allows."""

    def checked(value: object) -> Any:
        try:
            return None if value is None else check(value)
        except ValueError as error:
            alternative = ", or None" if str(error).startswith("must") else ""
            raise ValueError(f"{error}{alternative}") from None

    return checked


def text(value: object) -> str:
    """Check that a value is text that is not empty and stays on its line."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text that is not empty")
    if _is_unsafe(value):
        raise ValueError("must hold no control characters")
    return value


def folder_path(value: object) -> Path:
    """Return the path of a folder, from text or a path."""
    if not isinstance(value, str | PathLike) or not str(value).strip():
        raise ValueError("must be the path of a folder")
    return Path(text(os.fspath(value)))


def application(value: object) -> str:
    """Check the name under which everything in a store is kept. It is part of paths and keys."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise ValueError("must be 1 to 64 of the characters A-Z a-z 0-9 _ -")
    return value


def cron_name(value: object) -> str:
    """Check the name of a cron. It is in logs, in stores and in the environment of scripts."""
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME:
        raise ValueError(f"a name must be text of 1 to {LONGEST_NAME} characters")
    if _is_unsafe(value):
        raise ValueError("a name must hold no control characters")
    return value


def job_key(value: object) -> str:
    """Check the key of a job. It is unique among the pending jobs of its task."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME:
        raise ValueError(f"must be text of 1 to {LONGEST_NAME} characters")
    if _is_unsafe(value):
        raise ValueError("must hold no control characters")
    return value


def _is_unsafe(text: str) -> bool:
    return any(unicodedata.category(c) in _UNSEEN or unicodedata.bidirectional(c) in _TURNS for c in text)


def zone(value: object) -> str:
    """Check the IANA name of a time zone."""
    from pseudocron.schedule.zones import wrong_with  # noqa: PLC0415  a middleware alone has no time zone

    if why := wrong_with(value):
        raise ValueError(why)
    return str(value)


def instant(value: object) -> datetime:
    """Return an instant in UTC, from aware ISO text, an aware `datetime` or seconds since 1970 in UTC."""
    try:
        moment = _moment(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise ValueError(
            "must be ISO text such as '2024-05-01T08:00:00+08:00', an aware datetime or epoch seconds"
        ) from None
    raise ValueError("must say its offset from UTC, such as '2024-05-01T08:00:00+08:00'")


def past(value: object) -> datetime:
    """Return an instant as `instant` does, if it is not in the future."""
    moment = instant(value)
    if moment > datetime.now(UTC):
        raise ValueError("lies in the future, must be when it last ran; a first run to come is the option 'next_run'")
    return moment


def never_or(check: Check) -> Check:
    """Return a check of an instant that takes None, 0 and empty text for never, as ThinkPHP does."""
    check = optional(check)

    def checked(value: object) -> Any:
        is_zero = isinstance(value, int | float) and not isinstance(value, bool) and value == 0
        return None if is_zero or (isinstance(value, str) and not value.strip()) else check(value)

    return checked


def aware(value: object) -> datetime:
    """Return an aware `datetime` in UTC."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ValueError("must be an aware datetime, such as datetime(2024, 5, 1, 8, tzinfo=UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie in the years 1 to 9999 of UTC") from None


def web_address(value: object) -> str:
    """Check that a value is an HTTP or HTTPS URL."""
    words = "must be a URL such as 'https://hc-ping.com/your-uuid'"
    if not isinstance(value, str) or _is_unsafe(value) or not value.isascii() or " " in value:
        raise ValueError(words)
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(words)
    return value


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    raise TypeError


def variables(value: object) -> dict[str, str]:
    """Return environment variables, from a mapping of their names to their values."""
    if not isinstance(value, Mapping) or not all(_is_variable(*item) for item in value.items()):
        raise ValueError("must be a mapping of names to text, such as {'LANG': 'C.UTF-8'}")
    return dict(value)


def _is_variable(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    return bool(name) and "=" not in name and "\0" not in name + value


def folder(value: object) -> str:
    """Return the path of a folder as text."""
    if not isinstance(value, str | os.PathLike) or not (path := os.fsdecode(value)) or "\0" in path:
        raise ValueError("must be the path of a folder")
    return path


def several(value: object) -> tuple[Any, ...]:
    """Return arguments by position, from a list or a tuple."""
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list or a tuple")  # noqa: TRY004 - as above
    return tuple(value)


def keywords(value: object) -> dict[str, Any]:
    """Return arguments by name, from a mapping."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("must be a mapping whose keys are text")
    return dict(value)


def error_types(value: object) -> tuple[type[BaseException], ...]:
    """Return a tuple of types of exceptions, from one type or a tuple of them."""
    types = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(one, type) and issubclass(one, BaseException) for one in types):
        raise ValueError("must be a type of exceptions, or a tuple of them")
    return types


def one_of(*words: str) -> Check:
    """Return a check for one of some words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            mend = did_you_mean(value, words) if isinstance(value, str) else ""
            raise ValueError(f"must be {' or '.join(map(repr, words))}{mend}")
        return value

    return check
