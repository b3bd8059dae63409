"""The verbs for jobs: defer, retry, purge; and cancel, which is for any pending run."""

from __future__ import annotations

from itertools import chain, groupby
from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.file.earliest import IS_SEEN, SHORTEST, count
from pseudocron.backends.file.stored import WAIT, Stored, all_of, by_id, change, drop
from pseudocron.backends.legible import EPOCH, MICROSECOND, instant
from pseudocron.backends.model import Conflict, State
from pseudocron.errors import JobConflictError, show

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from pseudocron.backends.file.transaction import Transaction
    from pseudocron.backends.questions import NewJob

_NEWEST = "SELECT ifnull(max(id), 0) FROM runs"
_INSERT = """
    INSERT INTO runs (run_id, kind, name, due, created, key, priority, expires, at_least_once, arguments)
    VALUES (?, 'job', ?, max(?, ?), ?, ?, ?, ?, 1, ?) ON CONFLICT (run_id) DO NOTHING"""
_WAIT = f"{WAIT} id > :newest"
_WAIT_ONE = "INSERT INTO pending VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
_IS_STORED = "SELECT 1 FROM runs WHERE run_id = ?"
_HAS_KEY = "runs.id = (SELECT id FROM pending WHERE name = ? AND key = ?)"
_IS_SEEN = f"""
    SELECT 1 FROM names WHERE is_job = 1 AND name = :name AND {IS_SEEN.format(f"ifnull({SHORTEST}, :own)")}"""  # noqa: S608
_SEE = """
    INSERT INTO names (is_job, name, seen) VALUES (1, ?, ?)
    ON CONFLICT (is_job, name) DO UPDATE SET seen = excluded.seen"""
_STOP = "UPDATE living SET stop = 1 WHERE NOT over AND run_id = ?"
_STOP_KEY = "UPDATE living SET stop = 1 WHERE NOT over AND name = ? AND key = ?"
_PURGE = """
    DELETE FROM runs WHERE id IN (
        SELECT id FROM runs WHERE kind = 'job' AND state = ? AND state <> 'pending' AND ended < ?
            AND run_id NOT IN (SELECT run_id FROM living)
        ORDER BY ended LIMIT ?
    )"""

SPARE, GIVEN_BACK = 250, 500
"""Free pages that a file keeps, a megabyte, as commits that find one are faster; and how many a purge gives back."""


def defer(txn: Transaction, jobs: Sequence[NewJob]) -> list[str]:
    """See `Backend.defer`."""
    if len(jobs) == 1 and jobs[0].key is None:
        (job,) = jobs
        _insert_one(txn, job)
        names, ids = {(1, job.task)}, [job.run_id]
    else:
        pieces = groupby(jobs, key=lambda job: job.key is None)
        stored = chain.from_iterable(
            _insert(txn, list(piece)) if is_free else [_defer(txn, job) for job in piece] for is_free, piece in pieces
        )
        ids = list(stored)
        names = {(1, job.task) for job in jobs}
    own, now = txn.terms.cron_max_time, txn.now
    for _, task in names:
        if not txn.db.execute(_IS_SEEN, {"name": task, "now": now, "own": own}).fetchone():
            txn.db.execute(_SEE, (task, now))
    count(txn, names)
    return ids


def _insert(txn: Transaction, jobs: Sequence[NewJob]) -> list[str]:
    """Store jobs whose keys are free."""
    now = txn.now
    if len(jobs) == 1:
        _insert_one(txn, jobs[0])
        return [jobs[0].run_id]
    (newest,) = txn.db.execute(_NEWEST).fetchone()
    rows = [
        (
            run_id,
            task,
            (due - EPOCH) // MICROSECOND,
            now,
            now,
            key,
            priority,
            None if expires is None else (expires - EPOCH) // MICROSECOND,
            arguments,
        )
        for run_id, task, arguments, due, key, _, priority, expires in jobs
    ]
    txn.db.executemany(_INSERT, rows)
    txn.db.execute(_WAIT, {"now": now, "newest": newest})
    return [job.run_id for job in jobs]


def _insert_one(txn: Transaction, job: NewJob) -> None:
    """Store one job, with half of the statements."""
    now, due = txn.now, (job.due - EPOCH) // MICROSECOND
    expires = None if job.expires is None else (job.expires - EPOCH) // MICROSECOND
    row = job.run_id, job.task, due, now, now, job.key, job.priority, expires, job.arguments
    inserted = txn.db.execute(_INSERT, row)
    if inserted.rowcount:
        is_ready, due = due <= now, max(due, now)
        rank = -job.priority if is_ready else 0
        waits = job.task, is_ready, rank, due, inserted.lastrowid, job.priority, job.key, expires
        txn.db.execute(_WAIT_ONE, waits)


def _defer(txn: Transaction, job: NewJob) -> str:
    """Store one that has a key."""
    if txn.db.execute(_IS_STORED, (job.run_id,)).fetchone():
        return job.run_id
    if holder := _holder(txn, job.task, job.key):
        if job.on_conflict is Conflict.KEEP:
            return holder.run.run_id
        if job.on_conflict is Conflict.RAISE:
            raise _taken(job, holder.run.run_id)
        drop(txn, holder, State.REPLACED)
    return _insert(txn, [job])[0]


def _taken(job: NewJob, by: str) -> JobConflictError:
    return JobConflictError(
        f"task {show(job.task)}: key {show(job.key)} is taken by pending job {show(by)}, "
        f"cancel that or defer with on_conflict='replace' or 'keep'"
    )


def _holder(txn: Transaction, task: str, key: str | None) -> Stored | None:
    """Return the pending job with a key; one that has expired is recorded as such, and leaves the key."""
    found = with_key(txn, task, key)
    if found and rules.is_expired(found.run, instant(txn.now)):
        drop(txn, found, State.EXPIRED)
        return None
    return found


def with_key(txn: Transaction, task: str | None, key: str | None) -> Stored | None:
    """Return the pending job with a key, also if it has expired."""
    return None if key is None else next(all_of(txn, _HAS_KEY, task, key), None)


def cancel(txn: Transaction, run_id: str | None, task: str | None, key: str | None) -> bool:
    """See `Backend.cancel`."""
    if run_id is not None:
        txn.db.execute(_STOP, (run_id,))
        found = by_id(txn, run_id)
    else:
        txn.db.execute(_STOP_KEY, (task, key))
        found = with_key(txn, task, key)
    if found is None or found.run.state is not State.PENDING:
        return False
    drop(txn, found, State.CANCELLED)
    if not found.is_job:
        count(txn, [(0, found.run.name)])
    return True


def retry(txn: Transaction, run_id: str) -> bool:
    """See `Backend.retry`."""
    found = by_id(txn, run_id)
    if found is None or not found.is_job or found.run.state not in {State.FAILED, State.TIMED_OUT}:
        return False
    if _holder(txn, found.run.name, found.run.key):
        return False
    change(txn, found, rules.revived(found.run, instant(txn.now)))
    count(txn, [(1, found.run.name)])
    return True


def purge(txn: Transaction, keep: Mapping[State, timedelta], limit: int) -> int:
    """See `Backend.purge`."""
    left = limit
    for state, age in keep.items():
        left -= txn.db.execute(_PURGE, (state.value, txn.now - age // MICROSECOND, left)).rowcount
    _give_back(txn.db)
    return limit - left


def _give_back(db: sqlite3.Connection) -> None:
    """Shrink the file by some of its free pages, beyond those that it will need soon; few, as others wait meanwhile."""
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free - SPARE, GIVEN_BACK)):
        # One by one: `sqlite3` takes the first step of this statement and no other, as its rows have no columns.
        db.execute("PRAGMA incremental_vacuum(1)")  # nothing, in a file that was made without `auto_vacuum`
