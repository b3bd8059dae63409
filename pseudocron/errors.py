"""The errors: one root, and children that are also the builtin that fits.

Every message is one line that names the file, the entry, the value and the mend.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCHEME = re.compile(r"\w+://")
_IN_QUERY = r"(?:(?<=[?&]password=)|(?<=[?&]ssl_password=))[^&\s]*"

_COMPARED, _LONGEST = 1000, 60
"""With how many words one is compared that is not known, and how long it may be: the cost grows with all of that."""


class PseudoCronError(Exception):
    """The root of all errors that pseudocron raises on purpose."""


class ScheduleError(PseudoCronError, ValueError):
    """A schedule, or its time zone, can't be understood."""


class ConfigError(PseudoCronError, ValueError):
    """A setting, an entry or a config file is wrong."""


class TargetError(PseudoCronError, ImportError):
    """What an entry should run can't be found or imported."""


class UnknownCronError(PseudoCronError, LookupError):
    """No cron goes by this name."""


class ArgumentError(PseudoCronError, TypeError):
    """The arguments of a job do not fit its task, or can't be stored."""


class UnknownTaskError(PseudoCronError, LookupError):
    """No task is registered by this name."""


class JobConflictError(PseudoCronError, KeyError):
    """A pending job of the task has this key already."""

    def __str__(self) -> str:
        return str(self.args[0])


class EventLoopError(PseudoCronError, RuntimeError):
    """What blocks was called on a running event loop."""


class BackendError(PseudoCronError, OSError):
    """The store can't be reached, read or written; nothing was changed."""


class BackendAwayError(BackendError):
    """The store can't be used at the moment, but may be soon: its server is down, or another process holds it.

    An application starts all the same, and its polls try again.
    """


class NoRunError(PseudoCronError, LookupError):
    """`current_run()` was called outside of a run."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests a fix, `", did you mean 'timeout'?"`, or an empty string."""
    near = closest(word, known)
    return f", did you mean {near!r}?" if near is not None else ""


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known word that resembles a word the most, or None if none does.

    Args:
        word: What was written.
        known: The words that there are.
        cutoff: How much a word must resemble, from 0 to 1.
    """
    from difflib import get_close_matches  # noqa: PLC0415  only for those who make a mistake

    if len(word) > _LONGEST:  # nobody has mistyped that
        return None
    return next(iter(get_close_matches(word, list(islice(known, _COMPARED)), n=1, cutoff=cutoff)), None)


def show(value: object, most: int = 80) -> str:
    """Return a value for a one-line message: its `repr` without passwords, cut to `most` characters."""
    try:
        return _line(repr(unspoken(value)[:most] if isinstance(value, str) else value), most)
    except BaseException:  # noqa: BLE001 - a repr may raise anything; that of an int of 5000 digits does
        return f"<{type(value).__name__}>"


def unspoken(url: str) -> str:
    """Return a URL without the password in it, or other text without what looks like one."""
    if "@" not in url and "password=" not in url:
        return url
    if _SCHEME.match(url):  # a URL is one word, though its password may have spaces
        return re.sub(_IN_QUERY.replace(r"\s", "#"), "***", _without_user(url))
    return re.sub(r"\S+", lambda word: re.sub(_IN_QUERY, "***", _without_user(word[0])), url)


def _without_user(word: str) -> str:
    """Return a word without what may be a user and a password: all from its first colon to its last `@`."""
    # By hand, and not by an expression that begins anew at each colon: whoever sends many would wait for ever.
    start, end = word.find(":") + 1, word.rfind("@")
    if not 0 < start <= end:
        return word
    return f"{word[:start]}{'//' * word.startswith('//', start, end)}***{word[end:]}"


def cause(error: BaseException) -> str:
    """Return an error for a one-line message: its type and its words, cut to 300 characters."""
    try:
        words = str(error)
    except BaseException:  # noqa: BLE001 - it is the user's code, and may raise anything
        words = "<exception can't be formatted>"
    return _line(f"{type(error).__name__}: {words}", 300).removesuffix(": ")


def _line(text: str, most: int) -> str:
    text = text[: 4 * most]  # it may be very long, and each character is looked at
    # What can't be printed could steer the terminal that shows the line.
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.splitlines()))
    return line if len(line) <= most else f"{line[: most - 3]}..."
