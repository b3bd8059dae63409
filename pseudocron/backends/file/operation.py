"""What one caller asks of the store, and how the answer comes to its event loop."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pseudocron.backends.file.connection import PATIENCE
from pseudocron.clock import monotonic
from pseudocron.errors import JobConflictError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from pseudocron.backends.file.transaction import Transaction
    from pseudocron.backends.questions import NewJob

T = TypeVar("T")


class Operation(Generic[T]):
    """What one caller asks for, until it is committed or has failed.

    Args:
        work: What it does in a transaction.
        jobs: How many jobs it stores.
        size: About how many bytes.
        may_conflict: Whether it may raise `JobConflictError`, which then is its own trouble alone.
        is_alone: Whether it begins and ends its transactions itself, and is given the `Store`.
        otherwise: What it does, in another transaction, if `work` has failed.
        new: The jobs that it defers, if it does nothing else and they have no keys: those of many are stored at once.
    """

    __slots__ = (
        *("error", "future", "is_alone", "is_done", "jobs", "may_conflict", "new", "otherwise", "since", "size"),
        *("value", "work"),
    )

    def __init__(
        self,
        work: Callable[[Any], T],
        *,
        jobs: int = 1,
        size: int = 0,
        may_conflict: bool = False,
        is_alone: bool = False,
        otherwise: Callable[[Any], T] | None = None,
        new: Sequence[NewJob] | None = None,
    ) -> None:
        self.work = work
        self.otherwise = otherwise
        self.new = new
        self.jobs = jobs
        self.size = size
        self.may_conflict = may_conflict
        self.is_alone = is_alone
        self.since = monotonic()
        self.future: asyncio.Future[T] | None = None
        self.value: T | None = None
        self.error: Exception | None = None
        self.is_done = False

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future is not None and self.future.cancelled()

    @property
    def deadline(self) -> float:
        """Until when a busy store is tried."""
        return self.since + PATIENCE

    def do(self, txn: Transaction) -> None:
        """Do it in a transaction; a conflict undoes it alone."""
        if not self.may_conflict:
            self.value = self.work(txn)
            return
        txn.db.execute("SAVEPOINT one")
        try:
            self.value = self.work(txn)
        except JobConflictError as error:
            txn.db.execute("ROLLBACK TO one")
            self.error = error
        txn.db.execute("RELEASE one")

    def result(self) -> T:
        """Return what it has come to."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # it is done


def deliver(done: list[Operation[Any]]) -> None:
    """Hand results to the event loops that wait for them, all of a loop at once."""
    loops: dict[asyncio.AbstractEventLoop, list[Operation[Any]]] = {}
    for one in done:
        if one.future is not None:
            loops.setdefault(one.future.get_loop(), []).append(one)
    for loop, operations in loops.items():
        with suppress(RuntimeError):  # the loop is closed, nobody waits any more
            loop.call_soon_threadsafe(_settle, operations)


def _settle(operations: list[Operation[Any]]) -> None:
    for one in operations:
        if one.future is None or one.future.done():
            continue
        if one.error is None:
            one.future.set_result(one.value)
        else:
            one.future.set_exception(one.error)
