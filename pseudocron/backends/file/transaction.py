"""One transaction of the SQLite store: the connection, the clock, and what it does to the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from pseudocron.backends.legible import EPOCH, MICROSECOND
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

SECOND = 1_000_000
"""Microseconds."""


YEAR_10000 = 253_402_300_800_000_000
"""The first instant that a `datetime` can't have, in microseconds since the Unix epoch."""

_UNKNOWN = -1


class Terms(NamedTuple):
    """What a process hands in with each of its verbs.

    Args:
        keep: How many ended runs, and how many skips, are kept of each cron.
        cron_max_time: Its `CRON_MAX_TIME` in seconds.
        process: What tells it from other processes, also on other machines; None if that can't be known.
    """

    keep: int
    cron_max_time: float
    process: str | None = None


class Dated(Protocol):
    """What has a date: the gate."""

    def dated(self) -> int | None:
        """Return when it turns stale, in microseconds since the Unix epoch; None if it has never been dated."""


class Transaction:
    """What the functions of all verbs work with, until the transaction ends.

    Args:
        db: A connection with a transaction begun.
        now: The clock, read after that: microseconds since the Unix epoch.
        terms: Of the process.
        gate: The gate.

    Attributes:
        due: The instant to which the gate is to be brought forward before the commit, if at all.
    """

    __slots__ = ("_dated", "_gate", "db", "due", "now", "terms")

    def __init__(self, db: sqlite3.Connection, now: int, terms: Terms, gate: Dated) -> None:
        self.db = db
        self.now = now
        self.terms = terms
        self.due: int | None = None
        self._gate = gate
        self._dated: int | None = _UNKNOWN

    @property
    def dated(self) -> int | None:
        """When the gate turns stale, as first asked; a poll that dates it later meanwhile has yet to read."""
        if self._dated == _UNKNOWN:
            self._dated = self._gate.dated()
        return self._dated

    @property
    def is_stale(self) -> bool:
        """Whether the gate is stale already, or will be, so that it need not be brought forward."""
        if self.due is not None and self.due <= self.now:
            return True
        if self._dated == _UNKNOWN:
            try:
                self._dated = self._gate.dated()
            except BackendError:  # that is logged where it is brought forward, and fails no verb
                return False
        return self._dated is None or self._dated <= self.now

    def bring_forward(self, due: int | None) -> None:
        """Let the gate be brought forward to an instant, if there is one, and no other one is earlier."""
        if due is not None and (self.due is None or due < self.due):
            self.due = due


def micros(moment: datetime) -> int:
    """Return the whole microseconds since the Unix epoch."""
    return (moment - EPOCH) // MICROSECOND


def micros_or_none(moment: datetime | None) -> int | None:
    """Return the same of an instant that there may not be."""
    return None if moment is None else (moment - EPOCH) // MICROSECOND


def moment_or_none(stored: object) -> int | None:
    """Return the microseconds of a stored instant; None if it is none that can be read."""
    return stored if isinstance(stored, int) and abs(stored) < YEAR_10000 else None


def after(now: int, seconds: float) -> int:
    """Return the instant so many seconds after another one, in microseconds."""
    return now + round(seconds * SECOND)
