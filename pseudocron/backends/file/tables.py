"""How the SQLite file comes to be: its mode, its tables, and their migrations."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from pseudocron.backends.file.folder import named, prepare
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pseudocron.backends import Durability

# Instants are microseconds since the Unix epoch. A line of `runs` without `outcome` is running; one with
# a `lease` (when it ends) is living; one that `waits` is an orphan. `claims` counts them, and is the fence.
# A job that is not over has the state `pending` in `jobs`; whether it waits or runs is where it has another row. To
# start it so changes two small tables in which neighbours stand side by side, and not the big one, page after page.
# In `waiting` a job is `ready` once a claim has seen that it is due, and then has its `rank`, its priority negated;
# those that are not have none, and stand in the order in which they come due. `told_jobs` tells jobs as they are.
# The long texts come last, so that a search passes them over.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE crons (
            name TEXT PRIMARY KEY,
            mark INTEGER,
            paused INTEGER NOT NULL DEFAULT 0,
            claims INTEGER NOT NULL DEFAULT 0,
            failures INTEGER NOT NULL DEFAULT 0,
            missed INTEGER NOT NULL DEFAULT 0
        )""",
        """CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            run_id TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            slot INTEGER NOT NULL,
            fence INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            worker TEXT NOT NULL,
            started INTEGER NOT NULL,
            ended INTEGER,
            outcome TEXT,
            reason TEXT,
            slots INTEGER NOT NULL,
            first INTEGER,
            since INTEGER,
            blockers TEXT,
            waited TEXT,
            error TEXT,
            output TEXT,
            lease INTEGER,
            recover INTEGER NOT NULL DEFAULT 0,
            waits INTEGER NOT NULL DEFAULT 0
        )""",
        "CREATE INDEX runs_of_cron ON runs (name, id)",
        "CREATE INDEX living_runs ON runs (lease) WHERE lease IS NOT NULL",
        "CREATE INDEX waiting_runs ON runs (id) WHERE waits",
    ),
    ("ALTER TABLE crons ADD COLUMN back INTEGER",),
    (
        "CREATE TABLE machines (machine TEXT PRIMARY KEY, host TEXT NOT NULL, wrote INTEGER NOT NULL)",
        """CREATE TABLE jobs (
            id INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL UNIQUE,
            task TEXT NOT NULL,
            key TEXT,
            state TEXT NOT NULL,
            priority INTEGER NOT NULL,
            due INTEGER NOT NULL,
            created INTEGER NOT NULL,
            expires INTEGER,
            attempts INTEGER NOT NULL DEFAULT 0,
            lost INTEGER NOT NULL DEFAULT 0,
            fence INTEGER NOT NULL DEFAULT 0,
            worker TEXT,
            started INTEGER,
            ended INTEGER,
            reason TEXT,
            error TEXT,
            arguments TEXT NOT NULL
        )""",
        "CREATE INDEX jobs_of_state ON jobs (state)",
        "CREATE INDEX jobs_of_key ON jobs (key) WHERE key IS NOT NULL",
        "CREATE INDEX ended_jobs ON jobs (state, ended) WHERE state <> 'pending'",
        """CREATE TABLE waiting (
            task TEXT NOT NULL,
            ready INTEGER NOT NULL,
            rank INTEGER NOT NULL,
            due INTEGER NOT NULL,
            id INTEGER NOT NULL,
            priority INTEGER NOT NULL,
            key TEXT,
            expires INTEGER,
            PRIMARY KEY (task, ready, rank, due, id)
        ) WITHOUT ROWID""",
        "CREATE UNIQUE INDEX waiting_keys ON waiting (task, key) WHERE key IS NOT NULL",
        """CREATE TABLE running (
            job_id TEXT PRIMARY KEY,
            id INTEGER NOT NULL,
            task TEXT NOT NULL,
            key TEXT,
            fence INTEGER NOT NULL,
            worker TEXT NOT NULL,
            started INTEGER NOT NULL,
            lease INTEGER NOT NULL,
            mark TEXT
        ) WITHOUT ROWID""",
        """CREATE VIEW told_jobs AS SELECT
            jobs.id, jobs.job_id, jobs.task, jobs.key, priority, due, created, expires, lost, reason, error, arguments,
            jobs.state AS kept_as,
            CASE WHEN lease IS NULL THEN state ELSE 'running' END AS state,
            attempts + (lease IS NOT NULL) AS attempts,
            ifnull(running.fence, jobs.fence) AS fence,
            ifnull(running.worker, jobs.worker) AS worker,
            ifnull(running.started, jobs.started) AS started,
            CASE WHEN lease IS NULL THEN ended END AS ended,
            lease, mark
        FROM jobs LEFT JOIN running ON running.job_id = jobs.job_id""",
    ),
    # Who holds the lease; see `holders.py`.
    ("ALTER TABLE runs ADD COLUMN process TEXT", "ALTER TABLE running ADD COLUMN process TEXT"),
    # A line of `running` that is `over` is a kept lease: the attempt has ended, and the job is as `jobs` has it.
    (
        "CREATE TABLE tasks (name TEXT PRIMARY KEY, seen INTEGER NOT NULL) WITHOUT ROWID",
        "ALTER TABLE running ADD COLUMN over INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN unfit_since INTEGER",
        "ALTER TABLE crons ADD COLUMN reset INTEGER",  # when that was
        "CREATE INDEX reset_crons ON crons (reset) WHERE reset IS NOT NULL",
        "UPDATE running SET mark = NULL WHERE mark <> 'cancelled'",
        "DROP VIEW told_jobs",
        """CREATE VIEW told_jobs AS SELECT
            jobs.id, jobs.job_id, jobs.task, jobs.key, priority, due, created, expires, lost, reason, error, arguments,
            jobs.state AS kept_as,
            unfit_since,
            CASE WHEN lease IS NULL THEN state ELSE 'running' END AS state,
            attempts + (lease IS NOT NULL) AS attempts,
            ifnull(running.fence, jobs.fence) AS fence,
            ifnull(running.worker, jobs.worker) AS worker,
            ifnull(running.started, jobs.started) AS started,
            CASE WHEN lease IS NULL THEN ended END AS ended,
            lease, mark
        FROM jobs LEFT JOIN running ON running.job_id = jobs.job_id AND NOT over""",
    ),
)

SYNCHRONOUS: Mapping[Durability, str] = {"power": "FULL", "process": "NORMAL"}
"""How far a commit gets before it returns: to the disk, or to the system, which writes it when it likes."""


def connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """A connection to the store at `path`, which is made and migrated as needed.

    Raises:
        BackendError: It is of a newer version, its file system can't hold it, or others may write to its folder.
        OSError: Its folder or file can't be made.
        sqlite3.Error: It can't be opened or read, or is busy.
    """
    prepare(path)
    _make_file(path)
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path, SYNCHRONOUS[durability])
    except BaseException:
        db.close()
        raise
    return db


def _make_file(path: Path) -> None:
    """Make the empty file, which SQLite takes for an empty store; its `-wal` and `-shm` inherit the mode."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.fchmod(fd, 0o600)  # whatever the umask took away
    os.close(fd)


def _prepare(db: sqlite3.Connection, path: Path, synchronous: str) -> None:
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA trusted_schema = OFF")  # its views and triggers may call no function that does more than compute
    version = _version(db)
    if version > len(MIGRATIONS):
        raise BackendError(
            f"{named(path)} has version {version}, this pseudocron knows {len(MIGRATIONS)}: upgrade pseudocron"
        )
    db.execute(f"PRAGMA synchronous = {synchronous}")  # by default a power cut must not reopen a slot
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise BackendError(f"{named(path)} is on a file system without shared memory: name a local folder")
    if version < len(MIGRATIONS):
        _migrate(db)


def _migrate(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    # Read anew: another process may have migrated before this one had the lock.
    for statements in MIGRATIONS[_version(db) :]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
