"""The verbs of the queue of jobs in SQL, inside a transaction that somebody else begins and ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, fields
from datetime import timedelta
from itertools import chain, groupby
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends.file.ledger import instant, micros
from pseudocron.backends.job_rules import BATCH, Candidate, dropped, finished, lost, pick, revived, rooms, taken
from pseudocron.backends.jobs import Conflict, Job, JobClaim, JobState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.jobs import JobEnd, NewJob

JOB = tuple(column.name for column in fields(Job))
INSTANTS = ("due", "created", "expires", "started", "ended")

# The indexes are partial: a query finds them by the very words of their WHERE.
SELECT = f"SELECT id, mark, {', '.join(JOB)} FROM jobs WHERE "  # noqa: S608  our own names
SCHEDULED = "state = 'pending' AND NOT ready"
READY = "state = 'pending' AND ready"
INSERT = """
    INSERT INTO jobs (job_id, task, arguments, state, due, created, key, priority, expires, ready)
    VALUES (?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id) DO NOTHING"""
MARK = "UPDATE jobs SET mark = ifnull(mark, ?) WHERE lease IS NOT NULL AND "
MAKE_READY = f"""
    UPDATE jobs SET ready = 1 WHERE id IN (
        SELECT id FROM jobs WHERE {SCHEDULED} AND task = ? AND due <= ? ORDER BY due LIMIT {BATCH}
    )"""  # noqa: S608
IN_LINE = f"""
    SELECT id, job_id, task, arguments, key, priority, due, expires, fence, attempts
    FROM jobs WHERE {READY} AND task = ? ORDER BY priority DESC, due, id"""  # noqa: S608
START = """
    UPDATE jobs SET state = 'running', attempts = attempts + 1, fence = fence + 1,
        worker = ?, started = ?, ended = NULL, lease = ?
    WHERE id = ?"""
FIRST_READY = f"SELECT due FROM jobs WHERE {READY} AND task = ? ORDER BY priority DESC, due LIMIT 1"  # noqa: S608
FIRST_SCHEDULED = f"SELECT due FROM jobs WHERE {SCHEDULED} AND task = ? ORDER BY due LIMIT 1"  # noqa: S608
# From one task to the next through the index, past all of its jobs.
WAITING_TASKS = """
    WITH RECURSIVE waiting (task) AS (
        SELECT min(task) FROM jobs WHERE state = 'pending' AND ready = ?1
        UNION ALL
        SELECT (SELECT min(jobs.task) FROM jobs
            WHERE state = 'pending' AND ready = ?1 AND jobs.task > waiting.task)
        FROM waiting WHERE waiting.task IS NOT NULL
    )
    SELECT task FROM waiting WHERE task IS NOT NULL"""
RENEW = "UPDATE jobs SET lease = ? WHERE job_id = ? AND fence = ? AND lease IS NOT NULL"
STAND = """
    UPDATE jobs SET state = :state, due = :due, ready = :due <= :now, expires = :expires, attempts = :attempts,
        lost = :lost, ended = :ended, error = :error, reason = :reason, lease = NULL, mark = NULL
    WHERE job_id = :job_id"""
PURGE = """
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs WHERE state = ? AND ended < ? ORDER BY ended LIMIT ?
    )"""


class Kept(NamedTuple):
    """A job, and what it is to end as unless it succeeds."""

    job: Job
    mark: JobState | None


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
        now = micros(self._now)
        self._db.executemany(INSERT, [_new(new, now) for new in jobs])
        return [new.job_id for new in jobs]

    def _defer(self, new: NewJob) -> str:
        """Store one that has a key."""
        if self._one("job_id = ?", new.job_id):
            return new.job_id
        if other := self._pending(new.task, new.key):
            if new.on_conflict is Conflict.KEEP:
                return other.job.job_id
            if new.on_conflict is Conflict.RAISE:
                raise taken(new, other.job.job_id)
            self._stand(dropped(other.job, JobState.REPLACED, self._now))
        self._mark_running(new.task, new.key, JobState.REPLACED)
        self._insert([new])
        return new.job_id

    def _pending(self, task: str | None, key: str | None) -> Kept | None:
        return self._one("state = 'pending' AND key IS NOT NULL AND task = ? AND key = ?", task, key)

    def _mark_running(self, task: str | None, key: str | None, state: JobState) -> None:
        self._db.execute(f"{MARK} task = ? AND key = ?", (state, task, key))

    def cancel(self, *, job_id: str | None, task: str | None, key: str | None) -> bool:
        """See `Queue.cancel`."""
        if job_id is None:
            self._mark_running(task, key, JobState.CANCELLED)
            pending = self._pending(task, key)
        else:
            self._db.execute(f"{MARK} job_id = ?", (JobState.CANCELLED, job_id))
            pending = self._one("job_id = ? AND state = 'pending'", job_id)
        if pending is None:
            return False
        self._stand(dropped(pending.job, JobState.CANCELLED, self._now))
        return True

    def claim_jobs(
        self, tasks: Mapping[str, int | None], *, limit: int, worker: str, lease: float
    ) -> Sequence[JobClaim]:
        """See `Queue.claim_jobs`."""
        now, until = micros(self._now), micros(self._now + timedelta(seconds=lease))
        running = self._db.execute("SELECT task, key FROM jobs WHERE lease IS NOT NULL").fetchall()
        room = rooms(tasks, Counter(task for task, _ in running))
        self._db.executemany(MAKE_READY, [(task, now) for task in room])
        read: dict[int, sqlite3.Row] = {}
        lines = {task: self._line(task, read) for task in room}
        busy = {(task, key) for task, key in running if key is not None}
        picked = pick(lines, room, busy, limit=limit, now=now)
        for one in picked.expired:
            self._expire(read[one.place]["job_id"])
        self._db.executemany(START, [(worker, now, until, one.place) for one in picked.due])
        return [_claim(read[one.place], self._now) for one in picked.due]

    def _line(self, task: str, read: dict[int, sqlite3.Row]) -> Iterator[Candidate[int]]:
        for row in self._db.execute(IN_LINE, (task,)):
            read[row["id"]] = row
            yield Candidate(-row["priority"], row["due"], row["id"], row["task"], row["key"], row["expires"])

    def _expire(self, job_id: str) -> None:
        kept = self._one("job_id = ?", job_id)
        if kept:
            self._stand(dropped(kept.job, JobState.EXPIRED, self._now))

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
        return [self._finish(claim, end) for claim, end in ends]

    def _finish(self, claim: JobClaim, end: JobEnd) -> JobState | None:
        own = self._one("job_id = ? AND fence = ? AND lease IS NOT NULL", claim.job_id, claim.fence)
        if own is None:
            return None
        job = finished(own.job, end, own.mark, self._now)
        self._stand(job)
        return job.state

    def reap_jobs(self) -> Sequence[Job]:
        """See `Queue.reap_jobs`."""
        over = self._all("lease <= ? ORDER BY lease", micros(self._now))
        reaped = [lost(kept.job, kept.mark, self._now) for kept in over]
        for job in reaped:
            self._stand(job)
        return reaped

    def waiting_tasks(self) -> Collection[str]:
        """See `Queue.waiting_tasks`."""
        return {row["task"] for ready in (0, 1) for row in self._db.execute(WAITING_TASKS, (ready,))}

    def job(self, job_id: str) -> Job | None:
        """See `Queue.job`."""
        kept = self._one("job_id = ?", job_id)
        return kept.job if kept else None

    def jobs(
        self, *, states: Collection[JobState], task: str | None, key: str | None, limit: int, before: str | None
    ) -> Sequence[Job]:
        """See `Queue.jobs`."""
        asked = {
            f"state IN ({', '.join('?' * len(states))})": tuple(states),
            "task = ?": (task,) * (task is not None),
            "key = ?": (key,) * (key is not None),
            "id < (SELECT id FROM jobs WHERE job_id = ?)": (before,) * (before is not None),
        }
        filters = {where: values for where, values in asked.items() if values}
        where = " AND ".join(filters) or "TRUE"
        found = self._all(f"{where} ORDER BY id DESC LIMIT ?", *chain.from_iterable(filters.values()), limit)
        return [kept.job for kept in found]

    def retry(self, job_id: str) -> bool:
        """See `Queue.retry`."""
        kept = self._one("job_id = ? AND state = 'failed'", job_id)
        if kept is None or self._pending(kept.job.task, kept.job.key):
            return False
        self._mark_running(kept.job.task, kept.job.key, JobState.REPLACED)
        self._stand(revived(kept.job, self._now))
        return True

    def purge(self, keep: Mapping[JobState, timedelta], *, limit: int) -> int:
        """See `Queue.purge`."""
        left = limit
        for state, age in keep.items():
            left -= self._db.execute(PURGE, (state, micros(self._now - age), left)).rowcount
        return limit - left

    def _stand(self, job: Job) -> None:
        """Let a job that does not run be as it is now, and stand where it belongs."""
        self._db.execute(STAND, asdict(job) | _instants(job) | {"now": micros(self._now)})

    def _all(self, where: str, *values: object) -> list[Kept]:
        return [_kept(row) for row in self._db.execute(SELECT + where, values)]

    def _one(self, where: str, *values: object) -> Kept | None:
        row = self._db.execute(SELECT + where, values).fetchone()
        return _kept(row) if row else None


def _new(new: NewJob, now: int) -> tuple[object, ...]:
    due, expires = micros(new.due), None if new.expires is None else micros(new.expires)
    return (new.job_id, new.task, new.arguments, due, now, new.key, new.priority, expires, due <= now)


def _claim(row: sqlite3.Row, started: datetime) -> JobClaim:
    return JobClaim(
        job_id=row["job_id"],
        task=row["task"],
        arguments=row["arguments"],
        key=row["key"],
        due=instant(row["due"]),
        fence=row["fence"] + 1,
        attempt=row["attempts"] + 1,
        started=started,
    )


def _instants(job: Job) -> dict[str, int | None]:
    moments = ((name, getattr(job, name)) for name in INSTANTS)
    return {name: None if moment is None else micros(moment) for name, moment in moments}


def _kept(row: sqlite3.Row) -> Kept:
    read = {name: row[name] for name in JOB}
    moments = {name: None if read[name] is None else instant(read[name]) for name in INSTANTS}
    mark = row["mark"]
    return Kept(Job(**read | moments | {"state": JobState(read["state"])}), None if mark is None else JobState(mark))
