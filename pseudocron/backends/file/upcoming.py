"""When something comes due: jobs that may start, and the ends of leases; by indexes, however many jobs wait."""

from __future__ import annotations

import json
from collections import Counter
from math import inf
from typing import TYPE_CHECKING

from pseudocron.backends.job_rules import is_in_use, is_seen, rooms
from pseudocron.backends.legible import instant, legible, text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping
    from datetime import datetime

SECOND = 1_000_000
"""Microseconds."""

SCHEDULED = "task = ? AND ready = 0 AND rank = 0"
READY = "task = ? AND ready = 1"
READY_IN_TURN = f"SELECT due, id, key FROM waiting WHERE {READY} ORDER BY rank, due, id"  # noqa: S608  our own names
SCHEDULED_IN_TURN = f"SELECT due, id, key FROM waiting WHERE {SCHEDULED} ORDER BY due, id"  # noqa: S608
HELD = "SELECT id, task, key FROM running"
# From one task to the next, past all of its jobs.
WAITING_TASKS = """
    WITH RECURSIVE waiting_tasks (task) AS (
        SELECT min(task) FROM waiting
        UNION ALL
        SELECT (SELECT min(waiting.task) FROM waiting WHERE waiting.task > waiting_tasks.task)
        FROM waiting_tasks WHERE task IS NOT NULL
    )
    SELECT task FROM waiting_tasks WHERE task IS NOT NULL"""
FIRST_ENDS = (
    "SELECT min(lease) FROM runs WHERE lease IS NOT NULL",
    "SELECT min(lease) FROM running",
)
SEEN = "SELECT name, seen FROM tasks"
KNOWN = f"{SEEN} WHERE name IN (SELECT value FROM json_each(?))"  # noqa: S608
SEE = "INSERT INTO tasks VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seen = excluded.seen"


@legible("a job")
def waiting_tasks(db: sqlite3.Connection) -> set[str]:
    """Return the tasks of which jobs are pending."""
    return {text(row["task"]) for row in db.execute(WAITING_TASKS)}


@legible("a job")
def first_due(db: sqlite3.Connection, tasks: Collection[str], *, now: int) -> datetime | None:
    """Return when the first pending job of these tasks that may start is due, whatever their limits."""
    if not tasks:
        return None
    held = db.execute(HELD).fetchall()
    ids = {row["id"] for row in held}
    busy = {(row["task"], row["key"]) for row in held if row["key"] is not None}

    def first(line: str, task: str) -> int | None:
        # As each lease holds back its own job and one of its key at most, few are passed over.
        rows = db.execute(line, (task,))
        return next((row["due"] for row in rows if row["id"] not in ids and (task, row["key"]) not in busy), None)

    # What is ready stays so, though the clock has been set back since.
    ready = (min(due, now) for task in tasks if (due := first(READY_IN_TURN, task)) is not None)
    scheduled = (due for task in tasks if (due := first(SCHEDULED_IN_TURN, task)) is not None)
    return min(map(instant, (*ready, *scheduled)), default=None)


@legible("a job")
def next_due(
    db: sqlite3.Connection, tasks: Mapping[str, int | None], *, now: int, cron_max_time: float
) -> datetime | None:
    """Return when the first job is due that may start, or the first lease ends; see `Queue.next_due`."""
    room = rooms(tasks, Counter(row["task"] for row in db.execute(HELD)))
    ages = {name: (now - seen) / SECOND for name, seen in db.execute(SEEN)}
    others = {name for name, age in ages.items() if is_in_use(age, cron_max_time)} - tasks.keys()
    first = first_due(db, waiting_tasks(db) & (room.keys() | others), now=now)
    ends = (db.execute(end).fetchone()[0] for end in FIRST_ENDS)
    return min((*(instant(end) for end in ends if end is not None), *([first] if first else ())), default=None)


@legible("a task")
def see(db: sqlite3.Connection, tasks: Collection[str], *, now: int, cron_max_time: float) -> set[str]:
    """Store that these tasks are in use, where that is due; return those that were not in use."""
    seen = dict(db.execute(KNOWN, (json.dumps(list(tasks)),)).fetchall())
    ages = {task: (now - seen[task]) / SECOND if task in seen else inf for task in tasks}
    db.executemany(SEE, [(task, now) for task, age in ages.items() if not is_seen(age, cron_max_time)])
    return {task for task, age in ages.items() if not is_in_use(age, cron_max_time)}
