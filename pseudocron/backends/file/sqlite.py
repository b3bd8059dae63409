"""The verbs of the contract on SQLite, whatever the store is: each is an operation in a transaction."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pseudocron.backends.contract import Backend
from pseudocron.backends.file import gate as gates
from pseudocron.backends.file import jobs, lists, pending, polls, runs, slots
from pseudocron.backends.file.connection import PATIENCE
from pseudocron.backends.file.earliest import count, earliest, longest
from pseudocron.backends.file.harmed import set_aside
from pseudocron.backends.file.operation import Operation
from pseudocron.backends.file.transaction import SECOND, Terms, Transaction
from pseudocron.backends.legible import EPOCH, MICROSECOND, IllegibleError, instant
from pseudocron.backends.model import Conflict, Kind
from pseudocron.backends.questions import Finished, States
from pseudocron.clock import monotonic
from pseudocron.errors import BackendError
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from pseudocron.backends.file.commits import Store
    from pseudocron.backends.file.embedded import EmbeddedStore
    from pseudocron.backends.file.gate import Gate
    from pseudocron.backends.model import Run, Skip, State
    from pseudocron.backends.questions import Claim, End, Manual, NewJob, Poll, Polled, Refusal, Take, Where
    from pseudocron.host import Host

T = TypeVar("T")

_POLLED = "SELECT polled FROM meta"
_VERSION = "PRAGMA data_version"
"""Another one after another connection has written."""


class Sqlite(Backend):
    """The verbs in SQL, whatever the store is.

    Args:
        gate: Where the date of the gate is.
        keep: How many ended runs, and how many skips, are kept of each cron.
        cron_max_time: The `CRON_MAX_TIME` of this process in seconds.
        host: Where the clock, the chance and the threads come from.
    """

    _store: Store | EmbeddedStore

    def __init__(self, gate: Gate, *, keep: int, cron_max_time: float, host: Host) -> None:
        self._gate = gate
        self.cron_max_time = cron_max_time
        self._host = host
        self._terms = Terms(keep, cron_max_time)
        self._committing = partial(gates.bring_forward, gate)

    # How a verb comes to its transaction

    def _begun(self, db: sqlite3.Connection) -> Transaction:
        # The clock is read in the transaction, so that the times of the verbs are in the order of the verbs.
        if self._terms.cron_max_time != self.cron_max_time:
            self._terms = self._terms._replace(cron_max_time=self.cron_max_time)
        return Transaction(db, (self._host.now() - EPOCH) // MICROSECOND, self._terms, self._gate)

    async def _read(self, work: Callable[[Transaction], T]) -> T:
        return self._store.read(work)

    async def _commit(self, work: Callable[[Transaction], T]) -> T:
        return await self._store.commit(Operation(work))

    def _is_stale_early(self) -> bool:
        """Return whether the gate is stale whatever its date says."""
        return False

    # The verbs

    async def stale_in(self) -> float:
        """See `Backend.stale_in`."""
        return self._stale_in()

    def _stale_in(self) -> float:
        now = (self._host.now() - EPOCH) // MICROSECOND
        fresh_for = gates.stale_in(self._gate.dated(), now, self.cron_max_time)
        return 0.0 if fresh_for and self._is_stale_early() else fresh_for

    async def states(self, names: Collection[str]) -> States:
        """See `Backend.states`."""

        def work(txn: Transaction) -> States:
            (polled,) = txn.db.execute(_POLLED).fetchone()
            crons = {name: slots.state(txn, name) for name in names}
            return States(instant(txn.now), crons, None if polled is None else instant(polled), longest(txn))

        return await self._read(work)

    async def poll(self, poll: Poll) -> Polled | None:
        """See `Backend.poll`."""
        operation: Operation[Polled | None] = Operation(partial(self._poll, poll=poll), is_alone=True)
        return await self._store.commit(operation)

    def _poll(self, store: Store | EmbeddedStore, poll: Poll) -> Polled | None:
        with self._gate.entering() as entered:
            if not entered:
                return None
            dated, now = self._gate.dated(), (self._host.now() - EPOCH) // MICROSECOND
            fresh_for = gates.stale_in(dated, now, self.cron_max_time)
            if fresh_for and not (poll.force or self._is_stale_early()):
                return None
            gates.enter(self._gate, dated, now, fresh_for)
            try:
                return self._entered(store, poll)
            except IllegibleError:
                with store.transaction(monotonic() + PATIENCE) as txn:
                    if not set_aside(txn):
                        raise
                return self._entered(store, poll)

    def _entered(self, store: Store | EmbeddedStore, poll: Poll) -> Polled:
        with store.transaction(monotonic() + PATIENCE) as txn:
            before = txn.db.total_changes
            polled, due = polls.poll(txn, poll)
            is_changed, version = txn.db.total_changes > before, txn.db.execute(_VERSION).fetchone()[0]
            if is_changed:
                txn.due = due if txn.due is None else min(due, txn.due)
            else:
                gates.put_off(self._gate, due)
        if is_changed:
            self._put_off(store, due, version, outdated=bool(polled.outdated))
        now = (self._host.now() - EPOCH) // MICROSECOND
        return polled._replace(fresh_for=gates.stale_in(self._gate.dated(), now, self.cron_max_time))

    def _put_off(self, store: Store | EmbeddedStore, due: int, version: int, *, outdated: bool) -> None:
        """Date the gate by what is stored now, while nobody can write; another process may have written since."""
        try:
            with store.transaction(monotonic() + PATIENCE) as txn:
                if txn.db.execute(_VERSION).fetchone()[0] != version:
                    due = txn.now if outdated else earliest(txn)
                gates.put_off(self._gate, due)
        except (BackendError, OSError, sqlite3.Error) as error:
            logger.warning("gate: not dated, so that the next poll comes too early: %s", error)

    async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
        """See `Backend.finish`."""
        return await self._store.commit(
            Operation(
                partial(self._finish, ends=ends, take=take),
                # The ends are kept even if nothing can be claimed.
                otherwise=None if take is None else lambda txn: self._finish(txn, ends, None)._replace(left=True),
                jobs=len(ends),
            )
        )

    def _finish(self, txn: Transaction, ends: Sequence[End], take: Take | None) -> Finished:
        states, dropped = runs.finish(txn, ends)
        taken = pending.Taken([], [], left=False) if take is None else pending.claim(txn, take)
        names = set()
        for end in ends:
            claim = end.claim
            names.add((int(claim.kind is Kind.JOB), claim.name))
        count(txn, names)
        return Finished(states, self._fresh_after(txn), taken.claims, dropped + taken.dropped, taken.left)

    def _fresh_after(self, txn: Transaction) -> float:
        """Return the seconds until the gate turns stale once this transaction is committed; 0 if it can't be read."""
        try:
            fresh_for = gates.stale_in(txn.dated, txn.now, self.cron_max_time)
        except BackendError:  # the ends are kept all the same, and the next poll tells what is wrong with the gate
            return 0.0
        return fresh_for if txn.due is None else min(fresh_for, max(0.0, (txn.due - txn.now) / SECOND))

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        """See `Backend.renew`."""
        return self._store.write(Operation(lambda txn: runs.renew(txn, claims, lease)))

    async def release(self, claims: Sequence[Claim]) -> None:
        """See `Backend.release`."""
        await self._commit(lambda txn: runs.release(txn, claims))

    async def defer(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """See `Backend.defer`."""
        return await self._store.commit(_deferring(jobs))

    def defer_blocking(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """See `Backend.defer_blocking`."""
        return self._store.write(_deferring(jobs))

    async def start(self, manual: Manual) -> Claim | Refusal:
        """See `Backend.start`."""
        return await self._commit(lambda txn: slots.start_manual(txn, manual))

    async def cancel(self, *, run_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """See `Backend.cancel`."""
        return await self._commit(lambda txn: jobs.cancel(txn, run_id, task, key))

    async def retry(self, run_id: str) -> bool:
        """See `Backend.retry`."""
        return await self._commit(lambda txn: jobs.retry(txn, run_id))

    async def pause(self, name: str, paused: bool) -> None:  # noqa: FBT001 - as in the contract
        """See `Backend.pause`."""
        await self._commit(lambda txn: slots.pause(txn, name, paused=paused))

    async def reset(self, name: str, mark: datetime) -> None:
        """See `Backend.reset`."""
        await self._commit(lambda txn: slots.reset(txn, name, mark))

    async def purge(self, keep: Mapping[State, timedelta], limit: int = 1000) -> int:
        """See `Backend.purge`."""
        return await self._commit(partial(jobs.purge, keep=keep, limit=limit))

    async def run(self, run_id: str) -> Run | None:
        """See `Backend.run`."""
        return await self._read(lambda txn: lists.run(txn, run_id))

    async def runs(
        self, where: Where, limit: int = 50, before: str | None = None, *, brief: bool = False
    ) -> Sequence[Run]:
        """See `Backend.runs`."""
        return await self._read(lambda txn: lists.runs(txn, where, limit, before, brief=brief))

    async def timelines(
        self, names: Collection[str] | None = None, limit: int = 20
    ) -> Mapping[str, Sequence[Run | Skip]]:
        """See `Backend.timelines`."""
        return await self._read(lambda txn: lists.timelines(txn, names, limit))

    async def counts(self, at_most: int = 10_000) -> Mapping[State, int]:
        """See `Backend.counts`."""
        return await self._read(lambda txn: lists.counts(txn, at_most))

    async def waiting(self) -> Mapping[str, datetime]:
        """See `Backend.waiting`."""
        return await self._read(lists.waiting)


def _deferring(new: Sequence[NewJob]) -> Operation[Sequence[str]]:
    size, may_conflict, is_free = 0, False, True
    for job in new:
        size += len(job.arguments)
        may_conflict = may_conflict or job.on_conflict is Conflict.RAISE
        is_free = is_free and job.key is None
    return Operation(
        partial(jobs.defer, jobs=new),
        jobs=len(new),
        size=size,
        may_conflict=may_conflict,
        new=new if is_free else None,
    )
