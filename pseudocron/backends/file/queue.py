"""The verbs of the queue of jobs in SQL, inside a transaction that somebody else begins and ends."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from heapq import merge
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING

from pseudocron.backends.file.holders import this_process
from pseudocron.backends.file.ledger import micros
from pseudocron.backends.file.rows import INSERT, SELECT, UPDATE, Kept, claim_of, inserted, kept, stands, updated
from pseudocron.backends.job_rules import BATCH, Candidate, dropped, finished, lost, pick, revived, rooms, taken
from pseudocron.backends.jobs import Conflict, JobState
from pseudocron.backends.legible import instant, legible, text

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
SCHEDULED = "task = ? AND ready = 0 AND rank = 0"
READY = "task = ? AND ready = 1"
MAKE_READY = f"""
    UPDATE waiting SET ready = 1, rank = -priority WHERE (task, ready, rank, due, id) IN (
        SELECT task, ready, rank, due, id FROM waiting WHERE {SCHEDULED} AND due <= ? ORDER BY due, id LIMIT {BATCH}
    )"""  # noqa: S608
IN_LINE = f"""
    SELECT rank, waiting.due, waiting.id, waiting.task, waiting.key, waiting.expires, job_id, arguments, fence, attempts
    FROM waiting CROSS JOIN jobs ON jobs.id = waiting.id
    WHERE waiting.{READY} ORDER BY rank, waiting.due, waiting.id"""  # noqa: S608
LEAVE_LINE = "DELETE FROM waiting WHERE rank = ? AND due = ? AND id = ? AND task = ? AND ready = 1"
START = """
    INSERT INTO running (job_id, id, task, key, fence, worker, started, lease, process)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
FIRST_READY = f"SELECT due FROM waiting WHERE {READY} ORDER BY rank, due LIMIT 1"  # noqa: S608
FIRST_SCHEDULED = f"SELECT due FROM waiting WHERE {SCHEDULED} ORDER BY due LIMIT 1"  # noqa: S608
# From one task to the next, past all of its jobs.
WAITING_TASKS = """
    WITH RECURSIVE tasks (task) AS (
        SELECT min(task) FROM waiting
        UNION ALL
        SELECT (SELECT min(waiting.task) FROM waiting WHERE waiting.task > tasks.task) FROM tasks WHERE task IS NOT NULL
    )
    SELECT task FROM tasks WHERE task IS NOT NULL"""
ROWS = {state: f"jobs WHERE state = '{state}'" for state in JobState}
ROWS |= {JobState.PENDING: "waiting", JobState.RUNNING: "running"}
COUNT = {state: f"SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT ?)" for state, rows in ROWS.items()}  # noqa: S608
MARK = "UPDATE running SET mark = ifnull(mark, ?) WHERE "
RENEW = "UPDATE running SET lease = ? WHERE job_id = ? AND fence = ?"
RUNNING = """
    SELECT fence, worker, started, id, job_id FROM running WHERE job_id IN (SELECT value FROM json_each(?))"""
SUCCEED = """
    UPDATE jobs SET state = 'succeeded', reason = ?1, ended = ?2, attempts = attempts + ?3,
        fence = ?4, worker = ?5, started = ?6
    WHERE id = ?7"""
STOP = "DELETE FROM running WHERE job_id = ?"
PURGE = """
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs WHERE state = ? AND state <> 'pending' AND ended < ? ORDER BY ended LIMIT ?
    )"""


class Jobs:
    """The queue, for the length of one transaction.

    Args:
        db: A connection with a transaction begun, so that nobody else's comes between.
        now: The clock, read after that.
    """

    def __init__(self, db: sqlite3.Connection, *, now: datetime) -> None:
        self._db = db
        self._now = now

    def defer(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """See `Queue.defer`."""
        runs = groupby(jobs, key=lambda new: new.key is None)
        return list(
            chain.from_iterable(self._insert(list(run)) if free else map(self._defer, run) for free, run in runs)
        )

    def _insert(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        (newest,) = self._db.execute("SELECT ifnull(max(id), 0) FROM jobs").fetchone()
        self._db.executemany(INSERT, [inserted(new, self._now) for new in jobs])
        self._db.execute(f"{WAIT} id > ?2", (micros(self._now), newest))
        return [new.job_id for new in jobs]

    def _defer(self, new: NewJob) -> str:
        """Store one that has a key."""
        if self._one("job_id = ?", new.job_id):
            return new.job_id
        if other := self._waiting(new.task, new.key):
            if new.on_conflict is Conflict.KEEP:
                return other.job.job_id
            if new.on_conflict is Conflict.RAISE:
                raise taken(new, other.job.job_id)
            self._stand(other, dropped(other.job, JobState.REPLACED, self._now))
        self._mark_running(new.task, new.key, JobState.REPLACED)
        self._insert([new])
        return new.job_id

    def _waiting(self, task: str | None, key: str | None) -> Kept | None:
        return self._one("id = (SELECT id FROM waiting WHERE task = ? AND key = ?)", task, key)

    def _mark_running(self, task: str | None, key: str | None, state: JobState) -> None:
        self._db.execute(f"{MARK} task = ? AND key = ?", (state, task, key))

    def cancel(self, *, job_id: str | None, task: str | None, key: str | None) -> bool:
        """See `Queue.cancel`."""
        if job_id is None:
            self._mark_running(task, key, JobState.CANCELLED)
            pending = self._waiting(task, key)
        else:
            self._db.execute(f"{MARK} job_id = ?", (JobState.CANCELLED, job_id))
            pending = self._one("job_id = ? AND state = 'pending'", job_id)
        if pending is None:
            return False
        self._stand(pending, dropped(pending.job, JobState.CANCELLED, self._now))
        return True

    @legible("a job")
    def claim_jobs(
        self, tasks: Mapping[str, int | None], *, limit: int, worker: str, lease: float
    ) -> Sequence[JobClaim]:
        """See `Queue.claim_jobs`."""
        now, until = micros(self._now), micros(self._now + timedelta(seconds=lease))
        running = self._db.execute("SELECT task, key FROM running").fetchall()
        room = rooms(tasks, Counter(task for task, _ in running))
        self._db.executemany(MAKE_READY, [(task, now) for task in room])
        read: dict[int, sqlite3.Row] = {}
        lines = {task: self._line(task, read) for task in room}
        busy = {(task, key) for task, key in running if key is not None}
        picked = pick(lines, room, busy, limit=limit, now=now)
        for one in picked.expired:
            self._expire(one.place)
        claims = [claim_of(read[one.place], self._now) for one in picked.due]
        self._db.executemany(LEAVE_LINE, [one[:4] for one in picked.due])
        self._db.executemany(
            START,
            [
                (claim.job_id, one.place, one.task, one.key, claim.fence, worker, now, until, this_process())
                for one, claim in zip(picked.due, claims, strict=True)
            ],
        )
        return claims

    def _line(self, task: str, read: dict[int, sqlite3.Row]) -> Iterator[Candidate[int]]:
        for row in self._db.execute(IN_LINE, (task,)):
            candidate = Candidate(*row[:6])
            read[candidate.place] = row
            yield candidate

    def _expire(self, place: int) -> None:
        found = self._one("id = ?", place)
        if found:
            self._stand(found, dropped(found.job, JobState.EXPIRED, self._now))

    @legible("a job")
    def next_job(self, tasks: Collection[str]) -> datetime | None:
        """See `Queue.next_job`."""
        firsts = (
            self._db.execute(first, (task,)).fetchone() for task in tasks for first in (FIRST_READY, FIRST_SCHEDULED)
        )
        soonest = min((first["due"] for first in firsts if first), default=None)
        return None if soonest is None else instant(soonest)

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
        return [None if run is None else self._finish(run, end) for run, end in ended]

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
        job = finished(found.job, end, found.mark, self._now)
        self._stand(found, job)
        return job.state

    def reap_jobs(self) -> Sequence[Job]:
        """See `Queue.reap_jobs`."""
        over = list(self._all("id IN (SELECT id FROM running WHERE lease <= ?) ORDER BY lease", micros(self._now)))
        reaped = [lost(found.job, found.mark, self._now) for found in over]
        for found, job in zip(over, reaped, strict=True):
            self._stand(found, job)
        return reaped

    @legible("a job")
    def waiting_tasks(self) -> Collection[str]:
        """See `Queue.waiting_tasks`."""
        return {text(row["task"]) for row in self._db.execute(WAITING_TASKS)}

    def count_jobs(self, at_most: int) -> Mapping[JobState, int]:
        """See `Queue.count_jobs`."""
        return {state: self._db.execute(count, (at_most,)).fetchone()[0] for state, count in COUNT.items()}

    def job(self, job_id: str) -> Job | None:
        """See `Queue.job`."""
        found = self._one("job_id = ?", job_id)
        return found.job if found else None

    def jobs(
        self, *, states: Collection[JobState], task: str | None, key: str | None, limit: int, before: str | None
    ) -> Sequence[Job]:
        """See `Queue.jobs`."""
        asked = {
            "task = ?": (task,) * (task is not None),
            "key = ?": (key,) * (key is not None),
            "id < (SELECT id FROM jobs WHERE job_id = ?)": (before,) * (before is not None),
        }
        filters = {where: values for where, values in asked.items() if values}
        values = (*chain.from_iterable(filters.values()), limit)
        wheres = (" AND ".join((stands, *filters)) for stands in map(stands, set(states) or (None,)))
        pages = (self._all(f"{where} ORDER BY id DESC LIMIT ?", *values) for where in wheres)
        return [found.job for found in islice(merge(*pages, key=attrgetter("place"), reverse=True), limit)]

    def retry(self, job_id: str) -> bool:
        """See `Queue.retry`."""
        found = self._one("job_id = ? AND state = 'failed'", job_id)
        if found is None or self._waiting(found.job.task, found.job.key):
            return False
        self._mark_running(found.job.task, found.job.key, JobState.REPLACED)
        self._stand(found, revived(found.job, self._now))
        return True

    def purge(self, keep: Mapping[JobState, timedelta], *, limit: int) -> int:
        """See `Queue.purge`."""
        left = limit
        for state, age in keep.items():
            left -= self._db.execute(PURGE, (state, micros(self._now - age), left)).rowcount
        return limit - left

    def _stand(self, was: Kept, job: Job) -> None:
        """Let a job that does not run be as it is now, and stand where it belongs."""
        if was.job.state is JobState.RUNNING:
            self._db.execute(STOP, (job.job_id,))
        elif was.job.state is JobState.PENDING:
            self._db.execute(WAIT_NO_MORE, (job.task, -job.priority, micros(was.job.due), was.place))
        self._db.execute(UPDATE, updated(was.place, job))
        if job.state is JobState.PENDING:
            self._db.execute(f"{WAIT} id = ?2", (micros(self._now), was.place))

    def _all(self, where: str, *values: object) -> Iterator[Kept]:
        return map(kept, self._db.execute(SELECT + where, values))

    def _one(self, where: str, *values: object) -> Kept | None:
        row = self._db.execute(SELECT + where, values).fetchone()
        return kept(row) if row else None


def _is_plain(end: JobEnd) -> bool:
    return end.state is JobState.SUCCEEDED and end.error is None
