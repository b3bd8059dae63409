"""Group commit: all that is asked for while a transaction is being stored shares the next one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from pseudocron.backends.file.connection import PATIENCE, Connection, is_busy, named_error
from pseudocron.backends.file.folder import named
from pseudocron.backends.file.forks import parkable
from pseudocron.backends.file.operation import Operation, deliver
from pseudocron.clock import monotonic
from pseudocron.errors import BackendAwayError, BackendError
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pseudocron.backends import Durability
    from pseudocron.backends.file.transaction import Transaction
    from pseudocron.backends.questions import NewJob

T = TypeVar("T")

JOBS_AT_MOST, BYTES_AT_MOST = 1000, 1_000_000
"""How much is stored by one transaction, so that nobody waits for long."""
IDLE = 10.0
"""Seconds after which a writer thread ends that has had nothing to do."""


class Store:
    """A SQLite file, and the transactions of this process.

    Who has the turn commits, for all who wait. Callers on event loops are served by one thread; any other caller
    waits for its turn, and then finds its operation done, or commits what waits.

    Args:
        path: The file.
        durability: What a change outlives.
        random: A number in [0, 1).
        begun: Makes a transaction of a connection.
        committing: Is called before each commit that brings the gate forward.
        together: Stores jobs without keys.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability,
        random: Callable[[], float],
        begun: Callable[[sqlite3.Connection], Transaction],
        committing: Callable[[Transaction], None],
        together: Callable[[Transaction, Sequence[NewJob]], object],
    ) -> None:
        self.is_open = False
        self._path = path
        self._together = together
        self._begun = begun
        self._committing = committing
        self._turn, self._read_turn = threading.Lock(), threading.Lock()
        self._writer = Connection(path, durability=durability, random=random)
        self._reader = Connection(path, durability=durability, random=random)
        self._start_over()
        parkable.add(self)

    def _start_over(self) -> None:
        self._waiting: deque[Operation[Any]] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def name(self) -> str:
        """What to call it in messages; blocks."""
        return named(self._path)

    def open(self) -> None:
        """Connect, making what is missing."""
        self.is_open = True
        try:
            with self._turn, self._naming(), self._writer.transaction("BEGIN IMMEDIATE", monotonic() + PATIENCE):
                pass
        except BackendError:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect."""
        self.is_open = False
        with self._turn, self._read_turn, self._naming():
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connections; the next transaction opens another one."""
        self._reader.disconnect()
        self._writer.disconnect()

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` returns, which changes nothing: it reads one moment of the store."""
        self._demand_open()
        with (
            self._read_turn,
            self._naming(),
            self._reader.transaction("BEGIN", monotonic() + PATIENCE) as db,
        ):
            return work(self._begun(db))

    def write(self, operation: Operation[T]) -> T:
        """Commit an operation, and all that waits besides; blocks."""
        self._demand_open()
        self._waiting.append(operation)
        with self._turn:
            self._serve(operation)
        return operation.result()

    async def commit(self, operation: Operation[T]) -> T:
        """Have an operation committed by the writer thread."""
        self._demand_open()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        operation.future = future
        self._waiting.append(operation)
        try:
            self._rouse()
        except RuntimeError as error:
            future.cancel()  # so that it is not committed
            raise BackendAwayError(
                f"{self.name} can't be written: {error}: let this process have a thread more"
            ) from error
        return await future

    def _demand_open(self) -> None:
        if not self.is_open:
            raise BackendError(f"store '{self._path}' is closed: open the backend first")

    # The writer thread

    def _rouse(self) -> None:
        """Let the writer thread serve what waits; start it if there is none. Does not block."""
        self._wake.put(None)
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                thread = self._thread = threading.Thread(target=self._serve_loops, name="pseudocron-store", daemon=True)
                thread.start()
            except BaseException:
                self._thread = None
                raise
            finally:
                self._starting.release()

    def _serve_loops(self) -> None:
        wake = self._wake
        while True:
            with suppress(Empty):
                wake.get(timeout=IDLE)
                with self._turn:
                    self._serve()
                continue
            # An operation comes first, and then the look for a thread: either is seen by the other side.
            self._thread = None
            if not self._waiting:
                return
            self._thread = threading.current_thread()

    # With the turn

    def _serve(self, operation: Operation[Any] | None = None) -> None:
        """Commit what waits, until one operation is done; None for all."""
        while self._waiting and not (operation and operation.is_done):
            group = self._next_group()
            try:
                self._commit(group)
            except BaseException:
                # This caller is interrupted; the others are not.
                self._waiting.extendleft(reversed([one for one in group if not one.is_done and one is not operation]))
                self._rouse()
                raise
            finally:
                deliver([one for one in group if one.is_done])

    def _next_group(self) -> list[Operation[Any]]:
        group: list[Operation[Any]] = []
        jobs = size = 0
        while self._waiting:
            one = self._waiting[0]
            jobs, size = jobs + one.jobs, size + one.size
            if group and (one.is_alone or group[0].is_alone or jobs > JOBS_AT_MOST or size > BYTES_AT_MOST):
                break
            self._waiting.popleft()
            if not one.is_cancelled:
                group.append(one)
        return group

    def _commit(self, group: list[Operation[Any]]) -> None:
        if not group:
            return
        try:
            self._commit_together(group)
        except Exception as error:  # noqa: BLE001 - raised where the operation is awaited
            if is_busy(error):
                self._give_up(group, error)
            elif len(group) == 1:
                self._fall_back(group[0], error)
            else:
                for one in group:
                    self._commit([one])
        else:
            for one in group:
                one.is_done = True

    def _commit_together(self, group: list[Operation[Any]]) -> None:
        if group[0].is_alone:
            group[0].value = group[0].work(self)
            return
        for one in group:
            one.error = None
        with self.transaction(group[0].deadline) as txn:
            deferred = [one for one in group if one.new is not None] if len(group) > 1 else []
            if deferred:
                self._together(txn, [job for one in deferred for job in one.new or ()])
            for one in group:
                if deferred and one.new is not None:
                    one.value = [job.run_id for job in one.new]
                else:
                    one.do(txn)

    def _fall_back(self, one: Operation[Any], error: Exception) -> None:
        """Let an operation that has failed do less, if it can."""
        if one.otherwise is None:
            self._end(one, error)
            return
        logger.warning("store: done in part: %s", named_error(error, self._path))
        one.work, one.otherwise = one.otherwise, None
        self._commit([one])

    @contextmanager
    def transaction(self, deadline: float) -> Iterator[Transaction]:
        """Yield a transaction that writes, with the turn."""
        self._demand_open()
        with self._writer.transaction("BEGIN IMMEDIATE", deadline) as db:
            txn = self._begun(db)
            yield txn
            if txn.due is not None:
                self._committing(txn)

    def _give_up(self, group: list[Operation[Any]], error: Exception) -> None:
        """Let those fail that have waited long enough for a busy store."""
        now = monotonic()
        for one in group:
            if one.deadline <= now:
                self._end(one, error)
        self._waiting.extendleft(reversed([one for one in group if not one.is_done]))

    def _end(self, one: Operation[Any], error: Exception) -> None:
        one.error, one.is_done = named_error(error, self._path), True

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Name the store in whatever goes wrong with it."""
        try:
            yield
        except Exception as error:
            if (other := named_error(error, self._path)) is error:
                raise
            raise other from error

    # Of forks. SQLite in a child would believe that it holds the parent's file locks, and take none of its own. When
    # the parent then closes, as the last one for all it can see, it deletes the WAL into which the child writes.

    def park(self) -> None:
        """Wait for the transactions of this process to end before a fork, and disconnect."""
        self._turn.acquire()
        self._read_turn.acquire()
        with suppress(sqlite3.Error):
            self.disconnect()

    def unpark(self, *, is_child: bool) -> None:
        """Allow transactions again after a fork, on both sides: the next one connects. What waits is the parent's."""
        if is_child:
            self._start_over()
        self._read_turn.release()
        self._turn.release()
