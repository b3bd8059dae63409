"""The error messages of a Redis server, in words that a user can act on."""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

ANSWER_WITHIN = 5.0
"""Seconds for which an answer is waited for, all attempts together."""

BY_TYPE: dict[type[Exception], str] = {
    AuthenticationError: "does not let us in: {}; fix the user or the password of its URL",
    NoPermissionError: "does not allow it: {}; give this user all commands on the keys of the application",
    OutOfMemoryError: "is full ({}): give it more memory; nothing is lost",
    BusyLoadingError: "is still loading its data: retry later",
    ReadOnlyError: "is a replica, which can't be written: name the primary",
    NoAnswer: f"does not answer within {ANSWER_WITHIN:g} s",
    TimeoutError: f"does not answer within {ANSWER_WITHIN:g} s",
    NoConnection: "can't be reached: {}; is it running, and is the URL right?",
}
READ_ONLY = "READONLY"
"""In the error of a replica; before Redis 7 an error inside of a script is of no type of its own."""

NO_PASSWORD = "does not let us in without a password: put it into the URL, redis://:PASSWORD@HOST"  # noqa: S105 - none
WRONG_PASSWORD = "does not let us in: fix the user or the password of its URL"  # noqa: S105 - none

BY_TEXT = {
    **dict.fromkeys(("NOAUTH", "HELLO must be called", "Authentication required"), NO_PASSWORD),
    **dict.fromkeys(("WRONGPASS", "invalid username-password"), WRONG_PASSWORD),
    "WRONGTYPE": "holds keys of another type where ours would be: give the application another name with app=",
    "DB index": "has no database of that number: fix the end of its URL",
    READ_ONLY: BY_TYPE[ReadOnlyError],
    "OOM command": BY_TYPE[OutOfMemoryError],
    "unknown command": "does not know a command we need: it must be Redis 6.2 or newer, or Valkey",
}

AWAY = (NoConnection, NoAnswer, OSError, TimeoutError, OutOfMemoryError, ReadOnlyError)
PASSING = (READ_ONLY, "OOM command", "CLUSTERDOWN", "Cluster cannot be connected", "not covered")
LASTING = ("NOAUTH", "HELLO must be called", "Authentication required", "WRONGPASS", "invalid username-password")


def is_passing(error: Exception) -> bool:
    """Return whether the same call may succeed in a moment."""
    if isinstance(error, AuthenticationError):
        return False
    return isinstance(error, NoConnection | NoAnswer | OSError) or READ_ONLY in str(error)


def is_away(error: Exception) -> bool:
    """Return whether the server can't be used at the moment, but may be soon, without a change of the configuration."""
    found = str(error)
    if isinstance(error, AuthenticationError) or any(part in found for part in LASTING):
        return False
    return isinstance(error, AWAY) or any(part in found for part in PASSING)


def explain(error: Exception) -> str:
    """Return what is wrong, and the fix; to follow the name of the server."""
    found = " ".join(str(error).split())
    for part, message in BY_TEXT.items():
        if part in found:
            return message.format(found)
    messages = (message for kind, message in BY_TYPE.items() if isinstance(error, kind))
    return next(messages, "can't be used: {}").format(found or type(error).__name__)
