"""The same store without a file: one connection to `:memory:`, used inline under a lock."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from pseudocron.backends.file.connection import STATEMENTS
from pseudocron.backends.file.forks import parkable
from pseudocron.backends.file.operation import Operation
from pseudocron.backends.file.schema import create
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pseudocron.backends.file.transaction import Transaction

T = TypeVar("T")


class Database:
    """A database in memory, and whose turn it is to use it; several backends may share it."""

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self.db: sqlite3.Connection | None = None
        parkable.add(self)

    def connected(self) -> sqlite3.Connection:
        """Return the connection, with the tables made."""
        if self.db is None:
            db = sqlite3.connect(
                ":memory:", isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
            )
            create(db, EmbeddedStore.name)
            self.db = db
        return self.db

    def park(self) -> None:
        """Wait for the transactions of other threads to end before a fork."""
        self.turn.acquire()

    def unpark(self, *, is_child: bool) -> None:  # noqa: ARG002 - each side has a database of its own
        """Allow transactions again after a fork, on both sides."""
        self.turn.release()

    def __del__(self) -> None:
        if self.db is not None:
            self.db.close()


class EmbeddedStore:
    """A store in memory, with the methods of `commits.Store`.

    Args:
        database: Where everything is.
        begun: Makes a transaction of a connection.
        committing: Is called before each commit that brings the gate forward.
    """

    name = "store in memory"

    def __init__(
        self,
        database: Database,
        *,
        begun: Callable[[sqlite3.Connection], Transaction],
        committing: Callable[[Transaction], None],
    ) -> None:
        self.database = database
        self._begun = begun
        self._committing = committing
        self._turn = database.turn
        self.is_open = False

    def open(self) -> None:
        """Make the tables, unless that has been done."""
        with self._turn:
            self.database.connected()
            self.is_open = True

    def close(self) -> None:
        """Refuse verbs; what is stored stays."""
        self.is_open = False

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` returns, which changes nothing."""
        with self._turn:
            db = self.database.db if self.is_open else None
            return work(self._begun(db or self._connected()))

    def write(self, operation: Operation[T]) -> T:
        """Commit an operation."""
        with self._turn:
            if operation.is_alone:
                return operation.work(self)
            # As in `transaction`, but for the calls of a context manager, which would be most of a small verb.
            db = self.database.db if self.is_open else None
            if db is None:
                db = self._connected()
            db.execute("BEGIN")
            try:
                txn = self._begun(db)
                value = operation.work(txn)
                if txn.due is not None:
                    self._committing(txn)
                db.execute("COMMIT")
            except BaseException as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if operation.otherwise is None or not isinstance(error, BackendError | sqlite3.Error):
                    raise
                return self.write(Operation(operation.otherwise))
            return value

    async def commit(self, operation: Operation[T]) -> T:
        """Commit an operation, inline."""
        return self.write(operation)

    @contextmanager
    def transaction(self, deadline: float) -> Iterator[Transaction]:  # noqa: ARG002 - nobody else holds it
        """Yield a transaction that writes."""
        with self._turn:
            db = self.database.db if self.is_open else None
            if db is None:
                db = self._connected()
            db.execute("BEGIN")
            try:
                txn = self._begun(db)
                yield txn
                if txn.due is not None:
                    self._committing(txn)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _connected(self) -> sqlite3.Connection:
        if not self.is_open:
            raise BackendError(f"{self.name} is closed: open the backend first")
        return self.database.connected()
