"""The backends on SQLite: `File` for all processes of one machine, `Memory` for one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

from pseudocron.backends.file import jobs
from pseudocron.backends.file.commits import Store
from pseudocron.backends.file.embedded import Database, EmbeddedStore
from pseudocron.backends.file.folder import GATE
from pseudocron.backends.file.gate import FileGate, MemoryGate
from pseudocron.backends.file.liveness import is_any_gone, this_process
from pseudocron.backends.file.machines import sign, this_machine
from pseudocron.backends.file.sqlite import Sqlite
from pseudocron.errors import BackendError, show
from pseudocron.host import Host

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pseudocron.backends import Durability
    from pseudocron.backends.file.transaction import Transaction

T = TypeVar("T")


class File(Sqlite):
    """A backend in a folder: `crons.db` is the store, `cron.lock` the gate.

    Args:
        folder: Where the files are; made when opened, for this user alone. It must be on a local disk.
        keep: How many ended runs, and how many skips, are kept of each cron.
        durability: What a change outlives.
        cron_max_time: The `CRON_MAX_TIME` of this process in seconds.
        host: Where the clock, the chance and the threads come from.
    """

    durable: ClassVar[bool] = True
    _store: Store

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 20,
        durability: Durability = "power",
        cron_max_time: float = 60.0,
        host: Host = Host(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(FileGate(folder / GATE), keep=keep, cron_max_time=cron_max_time, host=host)
        self._store = Store(
            folder / "crons.db",
            durability=durability,
            random=host.random,
            begun=self._begun,
            committing=self._committing,
            together=jobs.defer,
        )

    def _begun(self, db: sqlite3.Connection) -> Transaction:
        if (process := this_process()) != self._terms.process:  # a fork
            self._terms = self._terms._replace(process=process)
        return super()._begun(db)

    async def open(self) -> None:
        """See `Backend.open`."""
        if not self._store.is_open:  # each `defer` asks, and a hop costs as much as a transaction
            await self._host.hop(self._open)

    def _open(self) -> None:
        self._store.open()
        try:
            self._gate.check()
        except BackendError:
            self._store.close()
            raise

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._host.hop(self._store.close)

    async def _read(self, work: Callable[[Transaction], T]) -> T:
        return await self._host.hop(self._store.read, work)

    async def advice(self) -> Sequence[str]:
        """See `Backend.advice`; asking leaves the name of this machine for others to find."""
        others = await self._commit(lambda txn: sign(txn.db, txn.now, this_machine()))
        name = await self._host.hop(lambda: self._store.name)
        return [
            f"{name} was written to lately by another machine too ({show(other)}): its locks hold for one "
            "machine only, give each a folder of its own, or all of them a Redis server, redis://HOST"
            for other in others
        ]

    async def stale_in(self) -> float:
        """See `Backend.stale_in`."""
        return await self._host.hop(self._stale_in)

    def _is_stale_early(self) -> bool:
        """Return whether a process with a living lease is gone: its runs need not wait for the end of the lease."""
        try:
            return self._store.read(lambda txn: is_any_gone(txn.db, txn.now))
        except BackendError:  # the gate can be used all the same, and the next poll says what is wrong with the store
            return False


class Memory(Sqlite):
    """A backend in memory, for one process and for tests: the SQL of `File`, inline on the thread of the caller.

    Args:
        keep: How many ended runs, and how many skips, are kept of each cron.
        cron_max_time: The `CRON_MAX_TIME` of this process in seconds.
        host: Where the clock comes from.
        shared: Another one, whose store is used; None for a store of its own.
    """

    durable: ClassVar[bool] = False
    _store: EmbeddedStore

    def __init__(
        self,
        *,
        keep: int = 20,
        cron_max_time: float = 60.0,
        host: Host = Host(),  # noqa: B008 - frozen
        shared: Memory | None = None,
    ) -> None:
        gate = shared._gate if shared else MemoryGate()  # noqa: SLF001 - of its own class
        super().__init__(gate, keep=keep, cron_max_time=cron_max_time, host=host)
        database = shared._store.database if shared else Database()  # noqa: SLF001
        self._store = EmbeddedStore(database, begun=self._begun, committing=self._committing)

    def _put_off(self, store: Store | EmbeddedStore, due: int, version: int, *, outdated: bool) -> None:  # noqa: ARG002
        self._gate.date(due)  # nobody has written since, as a poll has the turn until its end

    async def open(self) -> None:
        """See `Backend.open`."""
        self._store.open()

    async def close(self) -> None:
        """See `Backend.close`."""
        self._store.close()
