"""How a job stands in the rows of the store, and is read from them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.file.verbs import micros
from pseudocron.backends.jobs import Job, JobClaim, JobState
from pseudocron.backends.legible import instant, legible, text, whole

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from pseudocron.backends.jobs import NewJob

JOB = tuple(column.name for column in fields(Job))
INSTANTS = ("due", "created", "expires", "started", "ended", "unfit_since")
READ: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(JOB, text),
    **dict.fromkeys(("priority", "attempts", "lost", "fence"), whole),
    **dict.fromkeys(INSTANTS, instant),
    "state": JobState,
}
"""How a column of a job is read where it says something."""

SELECT = f"SELECT id, mark, {', '.join(JOB)} FROM told_jobs WHERE "  # noqa: S608  our own names
INSERT = """
    INSERT INTO jobs (job_id, task, arguments, state, due, created, key, priority, expires)
    VALUES (?, ?, ?, 'pending', ?, ?, ?, ?, ?) ON CONFLICT (job_id) DO NOTHING"""
UPDATE = """
    UPDATE jobs SET state = :state, due = :due, expires = :expires, attempts = :attempts, lost = :lost, fence = :fence,
        worker = :worker, started = :started, ended = :ended, error = :error, reason = :reason,
        unfit_since = :unfit_since
    WHERE id = :id"""


class Kept(NamedTuple):
    """A job, its place in the order in which jobs were stored, and whether it was cancelled while it ran."""

    place: int
    job: Job
    stop: bool


def stands(state: JobState | None) -> str:
    """The words of a `SELECT` for the jobs in a state (None: in any), such that an index finds them."""
    if state is None:
        return "TRUE"
    if state is JobState.RUNNING:
        return "id IN (SELECT id FROM running WHERE NOT over)"
    return f"kept_as = '{state}' AND lease IS NULL"


@legible("a job")
def kept(row: sqlite3.Row) -> Kept:
    """What a `SELECT` has read."""
    job = Job(**{name: READ[name](row[name]) for name in JOB if row[name] is not None})
    return Kept(row["id"], job, row["mark"] is not None)


def inserted(new: NewJob, now: datetime) -> tuple[object, ...]:
    """What an `INSERT` is given."""
    expires = None if new.expires is None else micros(new.expires)
    return (new.job_id, new.task, new.arguments, micros(new.due), micros(now), new.key, new.priority, expires)


def updated(place: int, job: Job) -> dict[str, object]:
    """What an `UPDATE` is given."""
    moments = ((name, getattr(job, name)) for name in INSTANTS)
    told = {name: getattr(job, name) for name in JOB}
    return told | {name: None if moment is None else micros(moment) for name, moment in moments} | {"id": place}


@legible("a job")
def claim_of(row: sqlite3.Row, started: datetime) -> JobClaim:
    """The claim of a job that waited, and is now started."""
    return JobClaim(
        job_id=text(row["job_id"]),
        task=text(row["task"]),
        arguments=text(row["arguments"]),
        key=None if row["key"] is None else text(row["key"]),
        due=instant(row["due"]),
        fence=whole(row["fence"]) + 1,
        attempt=whole(row["attempts"]) + 1,
        started=started,
        unfit_since=None if row["unfit_since"] is None else instant(row["unfit_since"]),
    )
