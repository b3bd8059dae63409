"""The backend in a folder: `cron.lock` is the gate, `crons.db` the memory. For all processes of one machine."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Concatenate, ParamSpec, TypeVar

from pseudocron.backends.base import Backend
from pseudocron.backends.file.folder import GATE
from pseudocron.backends.file.holders import is_any_gone
from pseudocron.backends.file.ledger import Ledger
from pseudocron.backends.file.machines import sign, this_machine
from pseudocron.backends.file.queue import Jobs
from pseudocron.backends.file.store import Store
from pseudocron.backends.file.verbs import Verbs, micros
from pseudocron.backends.job_rules import Claims
from pseudocron.errors import BackendError, show
from pseudocron.host import Host
from pseudocron.lockfile import LockFile
from pseudocron.log import logger

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pseudocron.backends import Durability
    from pseudocron.backends.jobs import Job, JobClaim, JobEnd, JobState, NewJob
    from pseudocron.backends.records import Claim, Lingering, Proposal, Reaped, Refusal, Result, Run, Skip, State

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V", bound=Verbs)

NANOS = 1000
"""Nanoseconds in a microsecond."""


class File(Backend):
    """A backend that survives its processes. Every verb is one hop to a thread, with one transaction.

    Args:
        folder: Where the files are; made when opened, for this user alone. It must be on a local disk.
        keep: How many runs, and how many skips, are kept of each cron.
        durability: What a change outlives.
        cron_max_time: The configured `CRON_MAX_TIME` in seconds.
        host: Where the clock, the chance and the threads come from.
    """

    durable: ClassVar[bool] = True

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 20,
        durability: Durability = "power",
        cron_max_time: float = 60.0,
        host: Host = Host(),  # noqa: B008  frozen
    ) -> None:
        self._keep = keep
        self.cron_max_time = cron_max_time
        self._host = host
        self._store = Store(folder / "crons.db", durability=durability, random=host.random)
        # The clock's microseconds, so that the gate and the memory tell the same time.
        self._gate = LockFile(folder / GATE, now_ns=lambda: micros(host.now()) * NANOS)

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

    async def advice(self) -> Sequence[str]:
        """See `Backend.advice`; asking leaves the name of this machine for others to find."""
        return await self._host.hop(self._advice)

    def _advice(self) -> Sequence[str]:
        now = micros(self._host.now())
        others = self._store.transact(lambda db: sign(db, now, this_machine()))
        return [
            f"{self._store.name} was written to lately by another machine too ({show(other)}): its locks hold for one "
            "machine only, give each a folder of its own, or all of them a Redis server, redis://HOST"
            for other in others
        ]

    async def fresh_for(self, max_age: float) -> float:
        """See `Backend.fresh_for`; a gate that is fresh turns stale when a process that holds a lease is gone."""
        return await self._host.hop(self._fresh_for, max_age)

    def _fresh_for(self, max_age: float) -> float:
        fresh = self._gate.fresh_for(max_age)
        if not fresh or not self._is_any_gone():
            return fresh
        self._lower(self._host.now(), max_age)
        return 0.0

    def _is_any_gone(self) -> bool:
        now = micros(self._host.now())
        try:
            return self._store.read(lambda db: is_any_gone(db, now))
        except BackendError:  # the gate can be used all the same, and the next poll says what is wrong with the store
            return False

    async def enter(self, max_age: float) -> bool:
        """See `Backend.enter`."""
        return await self._host.hop(self._gate.enter, max_age)

    async def lower(self, due: datetime, max_age: float) -> float:
        """See `Backend.lower`."""
        return await self._host.hop(self._lower, due, max_age)

    def _lower(self, due: datetime, max_age: float) -> float:
        self._gate.lower(micros(due) * NANOS, max_age)
        return self._gate.fresh_for(max_age)

    async def states(self, marks: Mapping[str, datetime]) -> Mapping[str, State]:
        """See `Backend.states`."""
        return await self._host.hop(self._states, marks)

    def _states(self, marks: Mapping[str, datetime]) -> Mapping[str, State]:
        known = self._store.read(lambda db: self._ledger(db).known(marks))
        return known if len(known) == len(marks) else self._transact(Ledger.states, marks)

    async def claim(self, proposal: Proposal) -> Claim | Refusal:
        """See `Backend.claim`."""
        return await self._hop(Ledger.claim, proposal)

    async def skip(self, skips: Sequence[Skip]) -> None:
        """See `Backend.skip`."""
        await self._hop(Ledger.skip, skips)

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        """See `Backend.renew`."""
        return self._transact(Ledger.renew, claims, lease)

    async def finish(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
        """See `Backend.finish`."""
        return await self._hop(Ledger.finish, claim, result, keep_lease=keep_lease)

    async def release(self, claim: Claim) -> None:
        """See `Backend.release`."""
        await self._hop(Ledger.release, claim)

    async def reap(self) -> Reaped:
        """See `Backend.reap`."""
        return await self._hop(Ledger.reap, self._host.now() - timedelta(seconds=2 * self.cron_max_time))

    async def pause(self, name: str) -> None:
        """See `Backend.pause`."""
        await self._hop(Ledger.pause, name)

    async def resume(self, name: str) -> None:
        """See `Backend.resume`."""
        await self._hop(Ledger.resume, name)

    async def history(self, name: str | None = None, *, limit: int = 20) -> Sequence[Run]:
        """See `Backend.history`."""
        return await self._host.hop(self._store.read, lambda db: self._ledger(db).history(name, limit))

    async def timelines(self, names: Collection[str], *, limit: int = 20) -> Mapping[str, Sequence[Run]]:
        """See `Backend.timelines`."""
        return await self._host.hop(self._store.read, lambda db: self._ledger(db).timelines(names, limit))

    async def reset(self, name: str, mark: datetime) -> None:
        """See `Backend.reset`."""
        await self._hop(Ledger.reset, name, mark)

    async def defer(self, jobs: Sequence[NewJob], *, max_age: float) -> Sequence[str]:
        """See `Queue.defer`."""
        return await self._host.hop(self._commit, self._queue, lambda queue: queue.defer(jobs), max_age)

    async def cancel(self, *, job_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """See `Queue.cancel`."""
        return await self._on_queue(lambda queue: queue.cancel(job_id=job_id, task=task, key=key))

    async def claim_jobs(self, tasks: Mapping[str, int | None], *, limit: int, worker: str, lease: float) -> Claims:
        """See `Queue.claim_jobs`."""
        if limit < 1:
            return Claims()
        return await self._on_queue(lambda queue: queue.claim_jobs(tasks, limit=limit, worker=worker, lease=lease))

    async def lingering(self) -> Sequence[Lingering]:
        """See `Backend.lingering`."""
        return await self._host.hop(self._store.read, lambda db: self._ledger(db).lingering())

    async def release_jobs(self, claims: Sequence[JobClaim]) -> None:
        """See `Queue.release_jobs`."""
        await self._on_queue(lambda queue: queue.release_jobs(claims))

    async def next_due(self, tasks: Mapping[str, int | None]) -> datetime | None:
        """See `Queue.next_due`."""
        return await self._from_queue(lambda queue: queue.next_due(tasks))

    def renew_jobs(self, claims: Sequence[JobClaim], lease: float) -> Collection[str]:
        """See `Queue.renew_jobs`."""
        return self._transact_jobs(lambda queue: queue.renew_jobs(claims, lease))

    async def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
        """See `Queue.finish_jobs`."""
        return await self._on_queue(lambda queue: queue.finish_jobs(ends))

    async def reap_jobs(self) -> Sequence[Job]:
        """See `Queue.reap_jobs`."""
        return await self._on_queue(Jobs.reap_jobs)

    async def waiting_tasks(self) -> Collection[str]:
        """See `Queue.waiting_tasks`."""
        return await self._from_queue(Jobs.waiting_tasks)

    async def count_jobs(self, *, at_most: int = 10_000) -> Mapping[JobState, int]:
        """See `Queue.count_jobs`."""
        return await self._from_queue(lambda queue: queue.count_jobs(at_most))

    async def job(self, job_id: str) -> Job | None:
        """See `Queue.job`."""
        return await self._from_queue(lambda queue: queue.job(job_id))

    async def jobs(
        self,
        *,
        states: Collection[JobState] = (),
        task: str | None = None,
        key: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Job]:
        """See `Queue.jobs`."""
        return await self._from_queue(
            lambda queue: queue.jobs(states=states, task=task, key=key, limit=limit, before=before)
        )

    async def retry(self, job_id: str) -> bool:
        """See `Queue.retry`."""
        return await self._on_queue(lambda queue: queue.retry(job_id))

    async def purge(self, keep: Mapping[JobState, timedelta], *, limit: int = 1000) -> int:
        """See `Queue.purge`."""
        return await self._on_queue(lambda queue: queue.purge(keep, limit=limit))

    async def _on_queue(self, verb: Callable[[Jobs], T]) -> T:
        return await self._host.hop(self._transact_jobs, verb)

    def _transact_jobs(self, verb: Callable[[Jobs], T]) -> T:
        return self._commit(self._queue, verb, self.cron_max_time)

    async def _from_queue(self, verb: Callable[[Jobs], T]) -> T:
        """What a verb tells that changes nothing."""
        return await self._host.hop(self._store.read, lambda db: verb(self._queue(db)))

    async def _hop(self, verb: Callable[Concatenate[Ledger, P], T], *args: P.args, **options: P.kwargs) -> T:
        return await self._host.hop(partial(self._transact, verb, *args, **options))

    def _transact(self, verb: Callable[Concatenate[Ledger, P], T], *args: P.args, **options: P.kwargs) -> T:
        return self._commit(self._ledger, lambda ledger: verb(ledger, *args, **options), self.cron_max_time)

    def _commit(self, make: Callable[[sqlite3.Connection], V], verb: Callable[[V], T], max_age: float) -> T:
        """Do what a verb does in one transaction, and then bring the gate forward if something follows for it."""

        def work(db: sqlite3.Connection) -> tuple[T, datetime | None]:
            verbs = make(db)
            return verb(verbs), verbs.due

        result, due = self._store.transact(work)
        try:
            if due is not None:
                self._lower(due, max_age)
        except BackendError as error:
            logger.warning("gate: not brought forward, so that due runs may start late: %s", error)
        return result

    # The clock is read in the transaction, so that the times of the verbs are in the order of the verbs.

    def _ledger(self, db: sqlite3.Connection) -> Ledger:
        return Ledger(db, now=self._host.now(), keep=self._keep)

    def _queue(self, db: sqlite3.Connection) -> Jobs:
        return Jobs(db, now=self._host.now(), cron_max_time=self.cron_max_time)
