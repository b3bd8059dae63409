"""The queue of jobs in memory: the reference of its contract."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from pseudocron.backends.job_rules import claim_of, claimed, dropped, finished, lost, revived, stored, taken
from pseudocron.backends.jobs import Conflict, JobState, Queue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from threading import Lock

    from pseudocron.backends.jobs import Job, JobClaim, JobEnd, NewJob
    from pseudocron.backends.memory.shelf import Kept, Shelf


class Jobs(Queue):
    """The verbs of the queue.

    Args:
        lock: Held by one verb at a time.
        shelf: The jobs.
        now: The clock.
        lower: Lowers the gate.
    """

    def __init__(
        self,
        lock: Lock,
        shelf: Shelf,
        now: Callable[[], datetime],
        lower: Callable[[datetime, float], Awaitable[None]],
    ) -> None:
        self._lock = lock
        self._shelf = shelf
        self._clock = now
        self._lower = lower

    async def defer(self, jobs: Sequence[NewJob], *, max_age: float) -> Sequence[str]:
        """See `Queue.defer`."""
        with self._lock:
            self._refuse(jobs)
            ids = [self._defer(new) for new in jobs]
        if jobs:
            await self._lower(min(new.due for new in jobs), max_age)
        return ids

    def _refuse(self, jobs: Sequence[NewJob]) -> None:
        """Raise before anything is stored."""
        newer: dict[tuple[str, str], str] = {}
        for new in jobs:
            if new.key is None or new.job_id in self._shelf.jobs:
                continue
            other = self._shelf.keys.get((new.task, new.key))
            by = newer.setdefault((new.task, new.key), other.job.job_id if other else new.job_id)
            if new.on_conflict is Conflict.RAISE and by != new.job_id:
                raise taken(new, by)

    def _defer(self, new: NewJob) -> str:
        if new.job_id in self._shelf.jobs:
            return new.job_id
        now, name = self._clock(), (new.task, new.key)
        if other := self._shelf.keys.get(name):
            if new.on_conflict is Conflict.KEEP:
                return other.job.job_id
            self._shelf.put(other, dropped(other.job, JobState.REPLACED, now), now)
        self._shelf.mark(name, JobState.REPLACED)
        self._shelf.add(stored(new, now), now)
        return new.job_id

    async def cancel(self, *, job_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """See `Queue.cancel`."""
        with self._lock:
            now, shelf = self._clock(), self._shelf
            pending = shelf.jobs.get(job_id) if job_id is not None else shelf.keys.get((task or "", key))
            if job_id is None:
                shelf.mark((task or "", key), JobState.CANCELLED)
            elif pending and pending.job.state is JobState.RUNNING:
                pending.mark = pending.mark or JobState.CANCELLED
            if pending is None or pending.job.state is not JobState.PENDING:
                return False
            shelf.put(pending, dropped(pending.job, JobState.CANCELLED, now), now)
            return True

    async def claim_jobs(
        self, tasks: Mapping[str, int | None], *, limit: int, worker: str, lease: float
    ) -> Sequence[JobClaim]:
        """See `Queue.claim_jobs`."""
        if limit < 1:
            return []
        with self._lock:
            now, shelf = self._clock(), self._shelf
            picked = shelf.pick(tasks, limit=limit, now=now)
            for kept in (shelf.places[one.place] for one in picked.expired):
                shelf.put(kept, dropped(kept.job, JobState.EXPIRED, now), now)
            started = [shelf.places[one.place] for one in picked.due]
            for kept in started:
                kept.lease = now + timedelta(seconds=lease)
                shelf.put(kept, claimed(kept.job, worker, now), now)
            return [claim_of(kept.job, now) for kept in started]

    async def next_job(self, tasks: Collection[str]) -> datetime | None:
        """See `Queue.next_job`."""
        with self._lock:
            ready = (first.due for task in tasks if (first := self._shelf.ready[task].first))
            scheduled = (later.when for task in tasks if (later := self._shelf.scheduled[task].first))
            return min((*ready, *scheduled), default=None)

    def renew_jobs(self, claims: Sequence[JobClaim], lease: float) -> Collection[str]:
        """See `Queue.renew_jobs`."""
        with self._lock:
            until = self._clock() + timedelta(seconds=lease)
            living = [kept for claim in claims if (kept := self._own(claim))]
            for kept in living:
                kept.lease = until
            return {kept.job.job_id for kept in living}

    def _own(self, claim: JobClaim) -> Kept | None:
        """What runs by this claim, if it still does."""
        kept = self._shelf.jobs.get(claim.job_id)
        own = kept and kept.job.state is JobState.RUNNING and kept.job.fence == claim.fence
        return kept if own else None

    async def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
        """See `Queue.finish_jobs`."""
        with self._lock:
            now = self._clock()
            return [self._finish(claim, end, now) for claim, end in ends]

    def _finish(self, claim: JobClaim, end: JobEnd, now: datetime) -> JobState | None:
        kept = self._own(claim)
        if kept is None:
            return None
        self._shelf.put(kept, finished(kept.job, end, kept.mark, now), now)
        return kept.job.state

    async def reap_jobs(self) -> Sequence[Job]:
        """See `Queue.reap_jobs`."""
        with self._lock:
            now = self._clock()
            over = [kept for kept in self._shelf.running.values() if kept.lease and kept.lease <= now]
            for kept in over:
                self._shelf.put(kept, lost(kept.job, kept.mark, now), now)
            return [kept.job for kept in over]

    async def waiting_tasks(self) -> Collection[str]:
        """See `Queue.waiting_tasks`."""
        with self._lock:
            shelf = self._shelf
            lines = (line for of_tasks in (shelf.scheduled, shelf.ready) for line in of_tasks.items())
            return {task for task, line in lines if line.first}

    async def count_jobs(self, *, at_most: int = 10_000) -> Mapping[JobState, int]:
        """See `Queue.count_jobs`."""
        with self._lock:
            return {state: min(self._shelf.count(state), at_most) for state in JobState}

    async def job(self, job_id: str) -> Job | None:
        """See `Queue.job`."""
        with self._lock:
            kept = self._shelf.jobs.get(job_id)
            return kept.job if kept else None

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
        with self._lock:
            page_end = self._place(before)
            fits = (
                kept.job
                for kept in reversed(self._shelf.jobs.values())
                if kept.place < page_end
                and (not states or kept.job.state in states)
                and task in {None, kept.job.task}
                and key in {None, kept.job.key}
            )
            return list(islice(fits, limit))

    def _place(self, job_id: str | None) -> float:
        if job_id is None:
            return inf
        kept = self._shelf.jobs.get(job_id)
        return kept.place if kept else 0

    async def retry(self, job_id: str) -> bool:
        """See `Queue.retry`."""
        with self._lock:
            now, kept = self._clock(), self._shelf.jobs.get(job_id)
            if kept is None or kept.job.state is not JobState.FAILED or kept.name in self._shelf.keys:
                return False
            self._shelf.mark(kept.name, JobState.REPLACED)
            self._shelf.put(kept, revived(kept.job, now), now)
            return True

    async def purge(self, keep: Mapping[JobState, timedelta], *, limit: int = 1000) -> int:
        """See `Queue.purge`."""
        with self._lock:
            now, purged = self._clock(), 0
            for state, age in keep.items():
                line = self._shelf.ended[state]
                while purged < limit and line.first and line.first.when < now - age:
                    self._shelf.forget(self._shelf.places[line.first.place])
                    purged += 1
            return purged
