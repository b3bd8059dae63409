"""The queue of jobs in memory: the reference of its contract."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from pseudocron.backends.job_rules import (
    Claims,
    claim_of,
    claimed,
    dropped,
    finished,
    is_expired,
    lost,
    revived,
    stored,
    taken,
)
from pseudocron.backends.jobs import Conflict, JobState, Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.jobs import Job, JobClaim, JobEnd, NewJob
    from pseudocron.backends.memory.shelf import Kept
    from pseudocron.backends.memory.store import Store


class Jobs(Queue):
    """The verbs of the queue.

    Args:
        store: The jobs and the gate; its lock is held by one verb at a time.
        now: The clock.
    """

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._lock = store.lock
        self._shelf = store.shelf
        self._clock = now

    def _forward_to(self, due: datetime | None) -> None:
        """Bring the gate forward to an instant, if there is one."""
        if due:
            self._store.bring_forward(due, self.cron_max_time, self._clock())

    async def defer(self, jobs: Sequence[NewJob], *, max_age: float) -> Sequence[str]:
        """See `Queue.defer`."""
        with self._lock:
            self._refuse(jobs)
            now, shelf = self._clock(), self._shelf
            ids = [self._defer(new, now) for new in jobs]
            back = shelf.first_due(shelf.see({new.task for new in jobs}, now, self.cron_max_time), now)
            for due in (*(new.due for new in jobs), *([back] if back else ())):
                self._store.bring_forward(due, max_age, now)
            return ids

    def _refuse(self, jobs: Sequence[NewJob]) -> None:
        """Raise before anything is stored."""
        newer, now = dict[tuple[str, str], str](), self._clock()
        for new in jobs:
            if new.key is None or new.job_id in self._shelf.jobs:
                continue
            other = self._shelf.keys.get((new.task, new.key))
            taken_by = other.job.job_id if other and not is_expired(other.job, now) else new.job_id
            by = newer.setdefault((new.task, new.key), taken_by)
            if new.on_conflict is Conflict.RAISE and by != new.job_id:
                raise taken(new, by)

    def _defer(self, new: NewJob, now: datetime) -> str:
        if new.job_id in self._shelf.jobs:
            return new.job_id
        if other := self._shelf.holder((new.task, new.key), now):
            if new.on_conflict is Conflict.KEEP:
                return other.job.job_id
            self._shelf.put(other, dropped(other.job, JobState.REPLACED, now), now)
        self._shelf.add(stored(new, now), now)
        return new.job_id

    async def cancel(self, *, job_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """See `Queue.cancel`."""
        with self._lock:
            now, shelf = self._clock(), self._shelf
            name = (task or "", key)
            pending = shelf.jobs.get(job_id) if job_id is not None else shelf.keys.get(name)
            for kept in shelf.running.values():
                if kept is pending or (job_id is None and key is not None and kept.name == name):
                    kept.stop = not kept.over
            if pending is None or pending.job.state is not JobState.PENDING:
                return False
            shelf.put(pending, dropped(pending.job, JobState.CANCELLED, now), now)
            return True

    async def claim_jobs(self, tasks: Mapping[str, int | None], *, limit: int, worker: str, lease: float) -> Claims:
        """See `Queue.claim_jobs`."""
        if limit < 1:
            return Claims()
        with self._lock:
            now, shelf = self._clock(), self._shelf
            picked = shelf.pick(tasks, limit=limit, now=now)
            for kept in (shelf.places[one.place] for one in picked.expired):
                shelf.put(kept, dropped(kept.job, JobState.EXPIRED, now), now)
            started = [shelf.places[one.place] for one in picked.due]
            for kept in started:
                kept.lease = now + timedelta(seconds=lease)
                shelf.put(kept, claimed(kept.job, worker, now), now)
            shelf.see(tasks, now, self.cron_max_time)
            self._forward_to(started[0].lease if started else None)
            return Claims((claim_of(kept.job, now) for kept in started), is_cut_short=picked.is_cut_short)

    async def next_due(self, tasks: Mapping[str, int | None]) -> datetime | None:
        """See `Queue.next_due`."""
        with self._lock:
            leases = [line.lease for line in self._store.lines if line.lease]
            first = self._shelf.next_due(tasks, self._clock(), self.cron_max_time)
            return min((*leases, first) if first else leases, default=None)

    def renew_jobs(self, claims: Sequence[JobClaim], lease: float) -> Collection[str]:
        """See `Queue.renew_jobs`."""
        with self._lock:
            until = self._clock() + timedelta(seconds=lease)
            living = [kept for claim in claims if (kept := self._own(claim) or self._own(claim, over=True))]
            for kept in living:
                kept.lease = until
            return {kept.job.job_id for kept in living}

    def _own(self, claim: JobClaim, *, over: bool = False) -> Kept | None:
        """Return the job that runs by this claim, or with `over` the one whose lease it keeps."""
        kept = self._shelf.jobs.get(claim.job_id)
        own = kept and kept.place in self._shelf.running and kept.over is over and kept.job.fence == claim.fence
        return kept if own else None

    async def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
        """See `Queue.finish_jobs`."""
        with self._lock:
            now = self._clock()
            states = [self._finish(claim, end, now) for claim, end in ends]
            self._forward_to(self._shelf.first_due({claim.task for claim, _ in ends}, self._clock()))
            return states

    def _finish(self, claim: JobClaim, end: JobEnd, now: datetime) -> JobState | None:
        kept = self._own(claim)
        if kept is None:
            return None
        dropped_as = None if end.state is JobState.SUCCEEDED else self._shelf.dropped_as(kept, now)
        self._shelf.put(kept, finished(kept.job, end, dropped_as, now), now, goes_on=end.goes_on)
        return kept.job.state

    async def release_jobs(self, claims: Sequence[JobClaim]) -> None:
        """See `Queue.release_jobs`."""
        with self._lock:
            for kept in [kept for claim in claims if (kept := self._own(claim, over=True))]:
                self._shelf.end_lease(kept)
            self._forward_to(self._shelf.first_due({claim.task for claim in claims}, self._clock()))

    async def reap_jobs(self) -> Sequence[Job]:
        """See `Queue.reap_jobs`."""
        with self._lock:
            now = self._clock()
            ended = [kept for kept in self._shelf.running.values() if kept.lease and kept.lease <= now]
            gone = [kept for kept in ended if not kept.over]
            for kept in ended:
                self._shelf.end_lease(kept)
            for kept in gone:
                self._shelf.put(kept, lost(kept.job, self._shelf.dropped_as(kept, now), now), now)
            self._forward_to(self._shelf.first_due({kept.job.task for kept in ended}, now))
            return [kept.job for kept in gone]

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
            if kept is None or kept.job.state is not JobState.FAILED or self._shelf.holder(kept.name, now):
                return False
            self._shelf.put(kept, revived(kept.job, now), now)
            self._forward_to(now)
            return True

    async def purge(self, keep: Mapping[JobState, timedelta], *, limit: int = 1000) -> int:
        """See `Queue.purge`."""
        with self._lock:
            now, purged = self._clock(), 0
            for state, age in keep.items():
                purged += self._shelf.purge(state, now - age, limit - purged)
            return purged
