"""The verbs of the queue of jobs in SQL, inside a transaction that somebody else begins and ends."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from itertools import chain, groupby
from typing import TYPE_CHECKING

from pseudocron.backends.file.holders import this_process
from pseudocron.backends.file.listing import Listing
from pseudocron.backends.file.rows import INSERT, UPDATE, Kept, claim_of, inserted, updated
from pseudocron.backends.file.upcoming import READY, SCHEDULED, first_due, next_due, see
from pseudocron.backends.file.verbs import micros
from pseudocron.backends.job_rules import (
    BATCH,
    Candidate,
    Claims,
    dropped,
    finished,
    is_expired,
    lost,
    pick,
    revived,
    rooms,
    taken,
)
from pseudocron.backends.jobs import Conflict, JobState
from pseudocron.backends.legible import legible

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.jobs import Job, JobClaim, JobEnd, NewJob

WAIT = """
    INSERT INTO waiting (task, ready, rank, due, id, priority, key, expires)
    SELECT task, due <= ?1, -priority * (due <= ?1), due, id, priority, key, expires FROM jobs WHERE """
WAIT_NO_MORE = """
    DELETE FROM waiting WHERE task = ? AND (ready, rank) IN (VALUES (0, 0), (1, ?)) AND due = ? AND id = ?"""
MAKE_READY = f"""
    UPDATE waiting SET ready = 1, rank = -priority WHERE (task, ready, rank, due, id) IN (
        SELECT task, ready, rank, due, id FROM waiting WHERE {SCHEDULED} AND due <= ? ORDER BY due, id LIMIT {BATCH}
    )"""  # noqa: S608
IN_LINE = f"""
    SELECT rank, waiting.due, waiting.id, waiting.task, waiting.key, waiting.expires,
        job_id, arguments, fence, attempts, unfit_since
    FROM waiting CROSS JOIN jobs ON jobs.id = waiting.id
    WHERE waiting.{READY} ORDER BY rank, waiting.due, waiting.id"""  # noqa: S608
LEAVE_LINE = "DELETE FROM waiting WHERE rank = ? AND due = ? AND id = ? AND task = ? AND ready = 1"
START = """
    INSERT INTO running (job_id, id, task, key, fence, worker, started, lease, process)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
MARK = "UPDATE running SET mark = 'cancelled' WHERE "
RENEW = "UPDATE running SET lease = ? WHERE job_id = ? AND fence = ?"
RUNNING = """
    SELECT fence, worker, started, id, job_id FROM running
    WHERE job_id IN (SELECT value FROM json_each(?)) AND NOT over"""
SUCCEED = """
    UPDATE jobs SET state = 'succeeded', reason = ?1, ended = ?2, attempts = attempts + ?3,
        fence = ?4, worker = ?5, started = ?6, unfit_since = NULL
    WHERE id = ?7"""
STOP = "DELETE FROM running WHERE job_id = ?"
KEEP_LEASE = "UPDATE running SET over = 1 WHERE job_id = ?"
RELEASE = "DELETE FROM running WHERE job_id = ? AND fence = ? AND over"
PURGE = """
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs WHERE state = ? AND state <> 'pending' AND ended < ?
            AND job_id NOT IN (SELECT job_id FROM running)
        ORDER BY ended LIMIT ?
    )"""


class Jobs(Listing):
    """The queue, for the length of one transaction.

    Args:
        db: A connection with a transaction begun, so that nobody else's comes between.
        now: The clock, read after that.
        cron_max_time: The configured `CRON_MAX_TIME` in seconds.
    """

    def __init__(self, db: sqlite3.Connection, *, now: datetime, cron_max_time: float) -> None:
        super().__init__(db, now=now)
        self._cron_max_time = cron_max_time

    def defer(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """See `Queue.defer`."""
        runs = groupby(jobs, key=lambda new: new.key is None)
        ids = list(
            chain.from_iterable(self._insert(list(run)) if free else map(self._defer, run) for free, run in runs)
        )
        self._bring_forward(min((new.due for new in jobs), default=None))
        self._bring_forward(self._first_due(self._see({new.task for new in jobs})))
        return ids

    def _see(self, tasks: Collection[str]) -> set[str]:
        return see(self._db, tasks, now=micros(self._now), cron_max_time=self._cron_max_time)

    def _insert(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        (newest,) = self._db.execute("SELECT ifnull(max(id), 0) FROM jobs").fetchone()
        self._db.executemany(INSERT, [inserted(new, self._now) for new in jobs])
        self._db.execute(f"{WAIT} id > ?2", (micros(self._now), newest))
        return [new.job_id for new in jobs]

    def _defer(self, new: NewJob) -> str:
        """Store one that has a key."""
        if self._one("job_id = ?", new.job_id):
            return new.job_id
        if other := self._holder(new.task, new.key):
            if new.on_conflict is Conflict.KEEP:
                return other.job.job_id
            if new.on_conflict is Conflict.RAISE:
                raise taken(new, other.job.job_id)
            self._stand(other, dropped(other.job, JobState.REPLACED, self._now))
        self._insert([new])
        return new.job_id

    def _holder(self, task: str, key: str | None) -> Kept | None:
        """Return the pending job with a key; one that has expired is recorded as such, and leaves the key."""
        found = self._waiting(task, key)
        if found and is_expired(found.job, self._now):
            self._stand(found, dropped(found.job, JobState.EXPIRED, self._now))
            return None
        return found

    def _waiting(self, task: str | None, key: str | None) -> Kept | None:
        return self._one("id = (SELECT id FROM waiting WHERE task = ? AND key = ?)", task, key)

    def cancel(self, *, job_id: str | None, task: str | None, key: str | None) -> bool:
        """See `Queue.cancel`."""
        if job_id is None:
            self._db.execute(f"{MARK} task = ? AND key = ?", (task, key))
            pending = self._waiting(task, key)
        else:
            self._db.execute(f"{MARK} job_id = ?", (job_id,))
            pending = self._one("job_id = ? AND state = 'pending'", job_id)
        if pending is None:
            return False
        self._stand(pending, dropped(pending.job, JobState.CANCELLED, self._now))
        return True

    @legible("a job")
    def claim_jobs(self, tasks: Mapping[str, int | None], *, limit: int, worker: str, lease: float) -> Claims:
        """See `Queue.claim_jobs`."""
        now, until = micros(self._now), self._now + timedelta(seconds=lease)
        running = self._db.execute("SELECT task, key, id FROM running").fetchall()
        room = rooms(tasks, Counter(task for task, _, _ in running))
        self._db.executemany(MAKE_READY, [(task, now) for task in room])
        read: dict[int, sqlite3.Row] = {}
        held = {place for _, _, place in running}
        lines = {task: self._line(task, read, held) for task in room}
        busy = {(task, key) for task, key, _ in running if key is not None}
        picked = pick(lines, room, busy, limit=limit, now=now)
        for one in picked.expired:
            self._expire(one.place)
        started = (claim_of(read[one.place], self._now) for one in picked.due)
        claims = Claims(started, is_cut_short=picked.is_cut_short)
        self._db.executemany(LEAVE_LINE, [one[:4] for one in picked.due])
        self._db.executemany(
            START,
            [
                (claim.job_id, one.place, one.task, one.key, claim.fence, worker, now, micros(until), this_process())
                for one, claim in zip(picked.due, claims, strict=True)
            ],
        )
        self._see(tasks)
        self._bring_forward(until if claims else None)
        return claims

    def _line(self, task: str, read: dict[int, sqlite3.Row], held: Collection[int]) -> Iterator[Candidate[int]]:
        """Yield the ready jobs of a task in their order, but for those that have a lease, which was kept."""
        for row in self._db.execute(IN_LINE, (task,)):
            candidate = Candidate(*row[:6])
            read[candidate.place] = row
            if candidate.place not in held:
                yield candidate

    def _expire(self, place: int) -> None:
        found = self._one("id = ?", place)
        if found:
            self._stand(found, dropped(found.job, JobState.EXPIRED, self._now))

    def next_due(self, tasks: Mapping[str, int | None]) -> datetime | None:
        """See `Queue.next_due`."""
        return next_due(self._db, tasks, now=micros(self._now), cron_max_time=self._cron_max_time)

    def _first_due(self, tasks: Collection[str]) -> datetime | None:
        return first_due(self._db, tasks, now=micros(self._now))

    def renew_jobs(self, claims: Sequence[JobClaim], lease: float) -> Collection[str]:
        """See `Queue.renew_jobs`."""
        until = micros(self._now + timedelta(seconds=lease))
        renewed = (self._db.execute(RENEW, (until, claim.job_id, claim.fence)).rowcount for claim in claims)
        return {claim.job_id for claim, living in zip(claims, renewed, strict=True) if living}

    def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
        """See `Queue.finish_jobs`."""
        own = self._own([claim.job_id for claim, _ in ends])
        # Of two ends of one claim the first counts.
        ended = [(own.pop((claim.job_id, claim.fence), None), end) for claim, end in ends]
        self._succeed([(run, end) for run, end in ended if run and _is_plain(end)])
        states = [None if run is None else self._finish(run, end) for run, end in ended]
        self._bring_forward(self._first_due({claim.task for claim, _ in ends}))
        return states

    def _own(self, job_ids: Sequence[str]) -> dict[tuple[str, int], sqlite3.Row]:
        """What runs of these jobs, by job and fence."""
        return {(run["job_id"], run["fence"]): run for run in self._db.execute(RUNNING, (json.dumps(job_ids),))}

    def _succeed(self, ends: Sequence[tuple[sqlite3.Row, JobEnd]]) -> None:
        """Nearly all jobs end so, and whatever their mark is."""
        now = micros(self._now)
        self._db.executemany(SUCCEED, [(end.reason, now, end.counts, *run[:4]) for run, end in ends])
        self._db.executemany(STOP, [(run["job_id"],) for run, _ in ends])

    def _finish(self, run: sqlite3.Row, end: JobEnd) -> JobState:
        if _is_plain(end):
            return end.state
        (found,) = self._all("id = ?", run["id"])
        dropped_as = None if end.state is JobState.SUCCEEDED else self._dropped_as(found)
        job = finished(found.job, end, dropped_as, self._now)
        self._stand(found, job, goes_on=end.goes_on)
        return job.state

    def _dropped_as(self, found: Kept) -> JobState | None:
        """Return what a running job ends as if it is not wanted back; see `backends.jobs`."""
        if found.stop:
            return JobState.CANCELLED
        return JobState.REPLACED if self._holder(found.job.task, found.job.key) else None

    def release_jobs(self, claims: Sequence[JobClaim]) -> None:
        """See `Queue.release_jobs`."""
        self._db.executemany(RELEASE, [(claim.job_id, claim.fence) for claim in claims])
        self._bring_forward(self._first_due({claim.task for claim in claims}))

    def reap_jobs(self) -> Sequence[Job]:
        """See `Queue.reap_jobs`."""
        now = micros(self._now)
        tasks = {row["task"] for row in self._db.execute("SELECT task FROM running WHERE lease <= ?", (now,))}
        self._db.execute("DELETE FROM running WHERE lease <= ? AND over", (now,))
        gone = list(self._all("id IN (SELECT id FROM running WHERE lease <= ?) ORDER BY lease", now))
        reaped = [self._lose(found) for found in gone]
        self._bring_forward(self._first_due(tasks))
        return reaped

    def _lose(self, found: Kept) -> Job:
        job = lost(found.job, self._dropped_as(found), self._now)
        self._stand(found, job)
        return job

    def retry(self, job_id: str) -> bool:
        """See `Queue.retry`."""
        found = self._one("job_id = ? AND state = 'failed'", job_id)
        if found is None or self._holder(found.job.task, found.job.key):
            return False
        self._stand(found, revived(found.job, self._now))
        self._bring_forward(self._now)
        return True

    def purge(self, keep: Mapping[JobState, timedelta], *, limit: int) -> int:
        """See `Queue.purge`."""
        left = limit
        for state, age in keep.items():
            left -= self._db.execute(PURGE, (state, micros(self._now - age), left)).rowcount
        return limit - left

    def _stand(self, was: Kept, job: Job, *, goes_on: bool = False) -> None:
        """Store a job that does not run as it is now; `goes_on` if it ran, and keeps its lease."""
        if was.job.state is JobState.RUNNING:
            self._db.execute(KEEP_LEASE if goes_on else STOP, (job.job_id,))
        elif was.job.state is JobState.PENDING:
            self._db.execute(WAIT_NO_MORE, (job.task, -job.priority, micros(was.job.due), was.place))
        self._db.execute(UPDATE, updated(was.place, job))
        if job.state is JobState.PENDING:
            self._db.execute(f"{WAIT} id = ?2", (micros(self._now), was.place))


def _is_plain(end: JobEnd) -> bool:
    return end.state is JobState.SUCCEEDED and end.error is None and not (end.goes_on or end.unfit)
