"""The error messages of a Redis server, in words that a user can act on."""

from __future__ import annotations

import re

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

from pseudocron.errors import cause, unspoken

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

NO_TLS = "does not speak TLS: write redis:// for rediss://, or name its port for TLS"
NO_CERTIFICATE = "asks for a certificate: add ssl_certfile=FILE&ssl_keyfile=FILE to the query of its URL"
NOT_TRUSTED = (
    "shows a certificate that is not trusted ({}): add ssl_ca_certs=FILE to the query of its URL, and name the host as "
    "the certificate does"
)

BY_TEXT = {
    **dict.fromkeys(("NOAUTH", "HELLO must be called", "Authentication required"), NO_PASSWORD),
    **dict.fromkeys(("WRONGPASS", "invalid username-password"), WRONG_PASSWORD),
    "WRONGTYPE": "holds keys of another type where ours would be: give the application another name with app=",
    "DB index": "has no database of that number: fix the end of its URL",
    **dict.fromkeys(("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE"), NO_CERTIFICATE),
    "certificate has expired": "shows a certificate that has expired: renew that",
    "CERTIFICATE_VERIFY_FAILED": NOT_TRUSTED,
    **dict.fromkeys(("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE"), NO_TLS),
    READ_ONLY: BY_TYPE[ReadOnlyError],
    "OOM command": BY_TYPE[OutOfMemoryError],
    "unknown command": "does not know a command we need: it must be Redis 6.2 or newer, or Valkey",
}

AWAY = (NoConnection, NoAnswer, OSError, TimeoutError, OutOfMemoryError, ReadOnlyError)
PASSING = (READ_ONLY, "OOM command", "CLUSTERDOWN", "Cluster cannot be connected", "not covered")
LASTING = ("NOAUTH", "HELLO must be called", "Authentication required", "WRONGPASS", "invalid username-password")
MISCONFIGURED = tuple(part for part, message in BY_TEXT.items() if message in {NO_TLS, NO_CERTIFICATE, NOT_TRUSTED})
NO_OPTION = re.compile(r"unexpected keyword argument '(\w+)'")


def is_passing(error: Exception) -> bool:
    """Return whether the same call may succeed in a moment."""
    found = str(error)
    if isinstance(error, AuthenticationError) or any(part in found for part in MISCONFIGURED):
        return False
    return isinstance(error, NoConnection | NoAnswer | OSError) or is_read_only(error)


def is_read_only(error: Exception) -> bool:
    """Return whether a server is a replica, so that another connection may find the primary."""
    return isinstance(error, ReadOnlyError) or READ_ONLY in str(error)


def is_away(error: Exception) -> bool:
    """Return whether the server can't be used at the moment, but may be soon, without a change of the configuration."""
    found = str(error)
    if isinstance(error, AuthenticationError) or any(part in found for part in LASTING + MISCONFIGURED):
        return "certificate has expired" in found
    return isinstance(error, AWAY) or any(part in found for part in PASSING)


def explain(error: Exception) -> str:
    """Return what is wrong, and the fix; to follow the name of the server."""
    found = " ".join(str(error).split())
    for part, message in BY_TEXT.items():
        if part in found:
            return message.format(found)
    if isinstance(error, TypeError) and (option := NO_OPTION.search(found)):
        return f"has no option {option[1]!r}: fix the query of its URL, which takes the options of redis-py"
    messages = (message for kind, message in BY_TYPE.items() if isinstance(error, kind))
    words = found if found and isinstance(error, RedisError | OSError) else cause(error)
    return next(messages, "can't be used: {}").format(unspoken(words))
