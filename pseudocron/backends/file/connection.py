"""A connection to the SQLite file: opened when needed, its troubles named, never used across a fork."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pseudocron.backends.file.folder import complaint, is_passing, named, prepare
from pseudocron.backends.file.schema import FULL_LOG, create, grow_log, is_ready, make_file
from pseudocron.backends.legible import ILLEGIBLE
from pseudocron.clock import monotonic
from pseudocron.errors import BackendAwayError, BackendError, PseudoCronError, cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pseudocron.backends import Durability

PATIENCE = 5.0
"""Seconds for which a busy store is tried."""
SHORTEST, LONGEST = 0.001, 0.010
"""Seconds between two tries. SQLite's own back-off grows to a second, and starves the unlucky."""

SYNCHRONOUS: Mapping[Durability, str] = {"power": "FULL", "process": "NORMAL"}
"""How far a commit gets before it returns: to the disk, or to the system, which writes it when it likes."""
STATEMENTS = 256
"""How many prepared statements a connection keeps: all that a verb may use."""

BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
PASSING = BUSY | {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
"""The primary result codes after which the same call may succeed in a moment."""
UNREADABLE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
FIXES = {
    sqlite3.SQLITE_FULL: "make room on its disk: nothing is lost",
    sqlite3.SQLITE_IOERR: "is its disk full, or broken?",
    sqlite3.SQLITE_READONLY: "let this user write to it and to its folder",
    sqlite3.SQLITE_CANTOPEN: "let this user read and write it, if it is a file",
}


class Connection:
    """One connection to the store at `path`. Its caller sees to it that one thread at a time uses it.

    Args:
        path: The file; it and its folder are made when they are missing.
        durability: What a change outlives.
        random: A number in [0, 1), so that those who wait do not wait in step.
    """

    def __init__(self, path: Path, *, durability: Durability, random: Callable[[], float]) -> None:
        self._path = path
        self._durability = durability
        self._random = random
        self._db: sqlite3.Connection | None = None
        self._file: os.stat_result | None = None

    @contextmanager
    def transaction(self, begin: str, deadline: float) -> Iterator[sqlite3.Connection]:
        """Yield the connection with a transaction begun, which is committed, or on any error rolled back.

        Args:
            begin: The statement that begins it.
            deadline: The moment of our monotonic clock until which a busy store is tried.
        """
        db = self._begun(begin, deadline)
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _begun(self, begin: str, deadline: float) -> sqlite3.Connection:
        while True:
            try:
                db = self._connected()
                db.execute(begin)
            except sqlite3.Error as error:
                if not is_busy(error) or monotonic() > deadline:
                    raise
            else:
                return db
            time.sleep(SHORTEST + (LONGEST - SHORTEST) * self._random())

    def _connected(self) -> sqlite3.Connection:
        if self._db is not None and not self._is_at_path():
            self.disconnect()
        if self._db is None:
            self._db = connect(self._path, self._durability)
            self._file = self._path.stat()
        return self._db

    def _is_at_path(self) -> bool:
        """Return whether the file is still the one that other processes find; somebody may have deleted it."""
        try:
            return self._file is not None and os.path.samestat(self._file, os.stat(self._path))  # noqa: PTH116 - for each transaction
        except FileNotFoundError:
            return False

    def disconnect(self) -> None:
        """Close the connection; the last one of all processes moves the WAL into the file."""
        db, self._db = self._db, None
        if db is not None:
            db.close()


def connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """Return a connection to the store at `path`, which is made where there is none.

    Raises:
        BackendError: It has another version, its file system can't hold it, or others may write to its folder.
        OSError: Its folder or file can't be made.
        sqlite3.Error: It can't be opened or read, or is busy.
    """
    prepare(path)
    make_file(path)
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS)
    try:
        _set_up(db, path, SYNCHRONOUS[durability])
    except BaseException:
        db.close()
        raise
    return db


def _set_up(db: sqlite3.Connection, path: Path, synchronous: str) -> None:
    if not db.execute("PRAGMA page_count").fetchone()[0]:  # for another file it would be a write
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute(f"PRAGMA journal_size_limit = {FULL_LOG}")
    db.execute("PRAGMA trusted_schema = OFF")  # its views and triggers may call no function that does more than compute
    db.execute("BEGIN")  # it is read as of one moment: another process may make the tables just now
    ready = is_ready(db, named(path))
    db.execute("COMMIT")
    db.execute(f"PRAGMA synchronous = {synchronous}")  # by default a power cut must not reopen a slot
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise BackendError(f"{named(path)} is on a file system without shared memory: name a local folder")
    if not ready:
        create(db, named(path))
    grow_log(db, path)


def is_busy(error: BaseException) -> bool:
    """Return whether an error means that another process holds the store."""
    return isinstance(error, sqlite3.Error) and _code(error) in BUSY


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def named_error(error: Exception, path: Path) -> Exception:
    """Return an error that names the store, and the fix; one that is not of the store's making as it is."""
    if isinstance(error, PseudoCronError):
        return error
    if isinstance(error, sqlite3.Error):
        return _from(error, f"{named(path)} {_complaint(error)}", is_passing=_code(error) in PASSING)
    if isinstance(error, OSError):
        return _from(error, f"{named(path)} {complaint(error, path)}", is_passing=is_passing(error))
    if isinstance(error, ILLEGIBLE):  # a column may hold anything, whatever its type is
        fix = "remove it, or name another store"
        return _from(error, f"{named(path)} holds what can't be read ({cause(error)}): {fix}")
    return error


def _from(error: Exception, message: str, *, is_passing: bool = False) -> BackendError:
    backend_error = BackendAwayError(message) if is_passing else BackendError(message)
    backend_error.__cause__ = error
    return backend_error


def _complaint(error: sqlite3.Error) -> str:
    if is_busy(error):
        return f"is busy: another process has held it for over {PATIENCE:g} s"
    if _code(error) in UNREADABLE:
        return f"can't be read ({error}): it is left alone, mend it or move it away"
    fix = FIXES.get(_code(error))
    return f"can't be used: {error}{f', {fix}' if fix else ''}"
