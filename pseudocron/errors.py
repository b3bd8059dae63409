"""The errors: one root, and children that are also the builtin that fits.

Every message is one line that names the file, the entry, the value and the mend.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PARAMETER = re.compile(r"(?<=[?&])([^?&=]*)=([^&]*(?:&[^&=]*(?=&|$))*)")
"""A name and its value in a query. A value with a `&` in it is a part without a `=`, and belongs to it."""

_SECRET = re.compile(r"pass|pwd|secret|token|credential|api_?key|auth", re.IGNORECASE)
"""What the name of a parameter contains that must not be shown."""

_HOST = re.compile(r"\[[^\]]*\]|[^\[:/?#]*")
_PORT = re.compile(r"\d*(?:[/?#]|$)", re.ASCII)
_NO_PORT = re.compile(r"[^\s\d/?#'\"][^\s'\"]*", re.ASCII)

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
        return _line(repr(unspoken(value)[:most]) if isinstance(value, str) else _without_urls(repr(value)), most)
    except BaseException:  # noqa: BLE001 - a repr may raise anything; that of an int of 5000 digits does
        return f"<{type(value).__name__}>"


def unspoken(url: str) -> str:
    """Return a URL without the passwords in it, or other text without what looks like one.

    Masked are all from the first colon to the last `@`, whatever is between them; in its query the values of parameters
    such as `password`; and where no `@` follows, what is behind the host but is no port.
    """
    text = _PARAMETER.sub(_parameter, url) if "?" in url else url
    # By hand, and not by an expression that begins anew at each colon: whoever sends many would wait for ever.
    start, end = text.find(":") + 1, text.rfind("@")
    if 0 < start <= end:
        return f"{text[:start]}{'//' * text.startswith('//', start, end)}***{text[end:]}"
    host = _end_of_host(text)
    return text if host is None or _PORT.match(text, host + 1) else f"{text[:host]}:***"


def _without_urls(text: str) -> str:
    """Return a text without the passwords of the URLs in it; unlike `unspoken`, it keeps other text with an `@`."""
    start = text.find("://")
    if start < 0:
        return text
    head, url = text[: start + 3], _PARAMETER.sub(_parameter, text[start + 3 :])
    if "@" in url:
        return f"{head}***{url[url.rfind('@') :]}"
    host = _end_of_host(head + url)
    found = None if host is None else _NO_PORT.match(head + url, host + 1)
    return f"{text[: found.start()]}***{(head + url)[found.end() :]}" if found else head + url


def _parameter(found: re.Match[str]) -> str:
    from urllib.parse import unquote  # noqa: PLC0415  only for a URL with a query

    return f"{found[1]}=***" if _SECRET.search(unquote(found[1])) else found[0]


def _end_of_host(text: str) -> int | None:
    """Return where the colon behind the host of the first URL is, or None if there is none."""
    start = text.find("://")
    found = _HOST.match(text, start + 3) if start >= 0 else None
    return found.end() if found and text.startswith(":", found.end()) else None


def cause(error: BaseException) -> str:
    """Return an error for a one-line message: its type and its words, cut to 300 characters, without passwords."""
    try:
        words = _without_urls(str(error))
    except BaseException:  # noqa: BLE001 - it is the user's code, and may raise anything
        words = "<exception can't be formatted>"
    return _line(f"{type(error).__name__}: {words}", 300).removesuffix(": ")


def _line(text: str, most: int) -> str:
    text = text[: 4 * most]  # it may be very long, and each character is looked at
    # What can't be printed could steer the terminal that shows the line.
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.splitlines()))
    return line if len(line) <= most else f"{line[: most - 3]}..."
