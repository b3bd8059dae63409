"""What goes wrong with a Redis server, in words that a user can act on."""

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

PATIENCE = 5.0
"""Seconds for which a server is waited for, all attempts together."""

MENDS: dict[type[Exception], str] = {
    AuthenticationError: "does not let us in: {}; mend the user or the password of its URL",
    NoPermissionError: "does not allow it: {}; give this user all commands on the keys of the application",
    OutOfMemoryError: "is full ({}): give it more memory; nothing is lost",
    BusyLoadingError: "is still reading its data in, and is tried again",
    ReadOnlyError: "is a replica, which can't be written: name the primary",
    NoAnswer: f"does not answer within {PATIENCE:g} s",
    TimeoutError: f"does not answer within {PATIENCE:g} s",
    NoConnection: "can't be reached: {}; is it running, and is the URL right?",
}
READ_ONLY = "READONLY"
"""In what a replica says; before Redis 7 an error inside of a script is of no type of its own."""

UNKNOWN = "does not let us in without a password: put it into the URL, redis://:PASSWORD@HOST"
MISTAKEN = "does not let us in: mend the user or the password of its URL"

SAYINGS = {
    **dict.fromkeys(("NOAUTH", "HELLO must be called", "Authentication required"), UNKNOWN),
    **dict.fromkeys(("WRONGPASS", "invalid username-password"), MISTAKEN),
    "WRONGTYPE": "holds keys of another type where ours would be: give the application another name with app=",
    "DB index": "has no database of that number: mend the end of its URL",
    READ_ONLY: MENDS[ReadOnlyError],
    "OOM command": MENDS[OutOfMemoryError],
    "unknown command": "does not know a command we need: it must be Redis 6.2 or newer, or Valkey",
}


def may_pass(error: Exception) -> bool:
    """Whether the same call may go well in a moment."""
    if isinstance(error, AuthenticationError):
        return False
    return isinstance(error, NoConnection | NoAnswer | OSError) or READ_ONLY in str(error)


def complaint(error: Exception) -> str:
    """What is wrong, and the mend; to follow the server's name."""
    said = " ".join(str(error).split())
    for saying, mend in SAYINGS.items():
        if saying in said:
            return mend.format(said)
    mends = (mend for kind, mend in MENDS.items() if isinstance(error, kind))
    return next(mends, "can't be used: {}").format(said or type(error).__name__)
