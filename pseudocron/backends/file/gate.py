"""The gate: the instant at which it turns stale is the mtime of `cron.lock`, or for a store in memory a variable."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pseudocron.backends import rules
from pseudocron.backends.file.earliest import longest
from pseudocron.backends.file.transaction import SECOND, after
from pseudocron.errors import BackendError
from pseudocron.lockfile import LockFile
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pseudocron.backends.file.transaction import Transaction

NANOS = 1000
"""Nanoseconds in a microsecond."""

_ENTERED_FOR = round(rules.ENTERED_FOR * SECOND)


class Gate(Protocol):
    """Where the date of the gate is. Instants are microseconds since the Unix epoch."""

    def check(self) -> None:
        """See that it can be used."""

    def dated(self) -> int | None:
        """Return when it turns stale; None if it has never been dated."""

    def date(self, due: int) -> None:
        """Let it turn stale at an instant."""

    def entering(self) -> AbstractContextManager[bool]:
        """Return a context manager that keeps other polls out; it yields False if one is running already."""


class FileGate:
    """The gate of a folder.

    Only who has the lock of the file polls; anybody may date it. It is brought forward by a writer of the store
    before its commit, and put off by a poll while no other one can write.
    """

    def __init__(self, path: Path) -> None:
        self._file = LockFile(path)

    def check(self) -> None:
        """See that the file can be used, making it where there is none."""
        self._file.check()

    def dated(self) -> int | None:
        """Return its mtime, rounded down."""
        mtime = self._file.dated()
        return None if mtime is None else mtime // NANOS

    def date(self, due: int) -> None:
        """Set its mtime."""
        self._file.date(max(0, due) * NANOS)

    def entering(self) -> AbstractContextManager[bool]:
        """Try its lock."""
        return self._file.tried()


class MemoryGate:
    """The gate of a store in memory."""

    def __init__(self) -> None:
        self._dated: int | None = None
        self._turn = threading.Lock()

    def check(self) -> None:
        """Do nothing."""

    def dated(self) -> int | None:
        """Return when it turns stale."""
        return self._dated

    def date(self, due: int) -> None:
        """Let it turn stale then."""
        self._dated = due

    @contextmanager
    def entering(self) -> Iterator[bool]:
        """Try the lock."""
        locked = self._turn.acquire(blocking=False)
        try:
            yield locked
        finally:
            if locked:
                self._turn.release()


def stale_in(dated: int | None, now: int, cron_max_time: float) -> float:
    """Return the seconds until a gate with this date turns stale; 0 if it is.

    One that is dated later than `CRON_MAX_TIME` from now was dated before a step of the clock, and is stale.
    """
    seconds = 0.0 if dated is None else (dated - now) / SECOND
    return 0.0 if seconds > cron_max_time else max(0.0, seconds)


def enter(gate: Gate, dated: int | None, now: int, fresh_for: float) -> None:
    """Let a gate turn stale again soon, in case the poll that begins does not come to its end.

    Args:
        gate: The gate.
        dated: Its date.
        now: The present.
        fresh_for: For how many seconds a poll that is forced has found it fresh, which may be less; else 0.
    """
    soon = now + _ENTERED_FOR
    gate.date(dated if dated is not None and fresh_for and dated < soon else soon)


def bring_forward(gate: Gate, txn: Transaction) -> None:
    """Let a gate turn stale when a transaction says, or earlier. A gate that can't be dated is logged, and stays."""
    due = txn.due
    if due is None:
        return
    try:
        dated = txn.dated
        if dated is not None and due < dated:
            # Of one dated before a step of the clock nobody knows what else was due: it is stale, and stays so.
            most = txn.now + txn.terms.cron_max_time * SECOND
            is_after_step = dated > most and dated > after(txn.now, longest(txn))
            gate.date(min(due, txn.now) if is_after_step else due)
    except BackendError as error:
        logger.warning("gate: not brought forward, so that due runs may start late: %s", error)


def put_off(gate: Gate, due: int) -> None:
    """Let a gate turn stale at an instant, as a poll has found. Where it can't be dated that is logged."""
    try:
        gate.date(due)
    except BackendError as error:
        logger.warning("gate: not dated, so that the next poll comes too early: %s", error)
