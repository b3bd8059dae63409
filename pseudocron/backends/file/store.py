"""The connection to a SQLite file: one a process, waited for when it is busy, never carried across a fork."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from pseudocron.backends.file.folder import complaint, named
from pseudocron.backends.file.tables import connect
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pseudocron.backends import Durability

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds for which a busy store is tried."""
SHORTEST, LONGEST = 0.001, 0.010
"""Seconds between two tries. SQLite's own back-off grows to a second, and starves the unlucky."""

BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
UNREADABLE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
MENDS = {
    sqlite3.SQLITE_FULL: "make room on its disk: nothing is lost",
    sqlite3.SQLITE_IOERR: "is its disk full, or broken?",
    sqlite3.SQLITE_READONLY: "let this user write to it and to its folder",
    sqlite3.SQLITE_CANTOPEN: "let this user read and write it, if it is a file",
}


class Store:
    """A SQLite file and this process's connection to it; every method blocks.

    Args:
        path: The file; it and its folder are made when the store is opened.
        durability: What a change outlives.
        random: A number in [0, 1), so that those who wait do not wait in step.
    """

    def __init__(self, path: Path, *, durability: Durability, random: Callable[[], float]) -> None:
        self._path = path
        self._durability = durability
        self._random = random
        self._turn = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file: os.stat_result | None = None

    @property
    def name(self) -> str:
        """What to call it in messages; blocks."""
        return named(self._path)

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed since; does not block."""
        return self in _open

    def open(self) -> None:
        """Connect, making what is missing."""
        _open.add(self)
        try:
            self.transact(lambda _: None)
        except BackendError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; the last one of all processes folds the WAL into the file."""
        _open.discard(self)
        with self._turn, self._named():
            self._disconnect()

    def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, after its changes are stored: all of them, or on any error none."""
        return self._patiently(work, "BEGIN IMMEDIATE")

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, which changes nothing: it reads one moment of the store, and waits for no writer."""
        return self._patiently(work, "BEGIN")

    def _patiently(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        deadline = time.monotonic() + PATIENCE
        with self._named():
            while True:
                try:
                    with self._turn:
                        return self._attempt(work, begin)
                except sqlite3.Error as error:
                    if _code(error) not in BUSY or time.monotonic() > deadline:
                        raise
                time.sleep(SHORTEST + (LONGEST - SHORTEST) * self._random())

    def _attempt(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        db = self._connected()
        db.execute(begin)
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return result

    def _connected(self) -> sqlite3.Connection:
        if self not in _open:
            raise BackendError(f"{named(self._path)} is closed: open the backend first")
        if self._db is not None and not self._is_at_path():
            self._disconnect()
        if self._db is None:
            self._db = connect(self._path, self._durability)
            self._file = self._path.stat()
        return self._db

    def _is_at_path(self) -> bool:
        """Whether the file is still the one that other processes find; somebody may have deleted it."""
        try:
            return self._file is not None and os.path.samestat(self._file, self._path.stat())
        except FileNotFoundError:
            return False

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def park(self) -> None:
        """Before a fork: wait for this process's transaction to end, and disconnect."""
        self._turn.acquire()
        with suppress(sqlite3.Error):
            self._disconnect()

    def unpark(self) -> None:
        """After a fork, on both sides: the next transaction connects anew."""
        self._turn.release()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the store in whatever goes wrong with it."""
        try:
            yield
        except BackendError:
            raise
        except sqlite3.Error as error:
            raise BackendError(f"{named(self._path)} {_complaint(error)}") from error
        except OSError as error:
            raise BackendError(f"{named(self._path)} {complaint(error, self._path)}") from error


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _complaint(error: sqlite3.Error) -> str:
    if _code(error) in BUSY:
        return f"is busy: another process has held it for over {PATIENCE:g} s"
    if _code(error) in UNREADABLE:
        return f"can't be read ({error}): it is left alone, mend it or move it away"
    mend = MENDS.get(_code(error))
    return f"can't be used: {error}{f', {mend}' if mend else ''}"


# A connection must not be open across a fork, not even untouched: SQLite in the child would believe that it
# holds the parent's file locks, and take none of its own. When the parent then closes, as the last one for
# all it can see, it deletes the WAL into which the child goes on writing, and what the child stores is lost.

_open: set[Store] = set()
_parked: list[Store] = []
_forking = threading.Lock()


def _park_all() -> None:
    _forking.acquire()
    _parked.extend(_open)
    for store in _parked:
        store.park()


def _unpark_all() -> None:
    while _parked:
        _parked.pop().unpark()
    _forking.release()


os.register_at_fork(before=_park_all, after_in_parent=_unpark_all, after_in_child=_unpark_all)
