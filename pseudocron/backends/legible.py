"""What stores hold, taken for no more than it is: values of the wrong kind are told in one line, not stumbled over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pseudocron.errors import BackendError, cause

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

ILLEGIBLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What comes of reading what somebody else has written."""


class IllegibleError(BackendError):
    """What is stored can't be read."""


def legible(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that turns an error while a stored record is read into a `BackendError`.

    Args:
        what: The record, for messages.
    """

    def decorate(read: Callable[P, T]) -> Callable[P, T]:
        @wraps(read)
        def reading(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return read(*args, **kwargs)
            except ILLEGIBLE as error:
                mend = "remove it, or name another store"
                raise IllegibleError(f"the store holds {what} that can't be read ({cause(error)}): {mend}") from error

        return reading

    return decorate


def text(value: object) -> str:
    """Return a value if it is text, else raise `TypeError`: a column of a SQLite file may hold anything."""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text must be")
    return value


def text_or_none(value: object) -> str | None:
    """Return a value if it is text or None, else raise `TypeError`."""
    return None if value is None else text(value)


def whole(value: object) -> int:
    """Return a value if it is a whole number, else raise `TypeError`."""
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} where a whole number must be")
    return value


def instant(since_epoch: object) -> datetime:
    """Return the aware UTC instant of a number of microseconds since the Unix epoch."""
    if not isinstance(since_epoch, int):
        raise TypeError(f"{type(since_epoch).__name__} where a whole number must be")
    return EPOCH + timedelta(microseconds=since_epoch)
