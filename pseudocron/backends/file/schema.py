"""The tables of the SQLite store, its version, and how a new file comes to be."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 11
"""The version of the tables. Those below 10 are of the stores before runs were one thing; they have no `meta`."""

APPLICATION = 0x7073_6372
"""`PRAGMA application_id`: the file belongs to pseudocron."""

FULL_LOG = 1000 * 4096
"""Bytes to which the WAL grows before SQLite begins it again from its start."""

# Instants are microseconds since the Unix epoch.
#
# A run that has not ended is `pending` in `runs`, also while it is running. Whether it waits or runs is where it has
# another row: in `pending`, in `living`, or in both if the lease of its last attempt was kept (`over`). A claim so
# changes two narrow tables, whose rows lie side by side, and not the wide one. A job is `ready` once a claim has seen
# that it is due, and then has its `rank`, its priority negated. Rows that are not ready have the rank 0, and are in
# the order in which they come due. Retries of crons have no priority, and never become ready. `is_job` is in the
# keys, as a cron and a task may have the same name. A row of `pending` `counts` if it counts for `max_instances`.
# `names` has the tasks and crons with pending runs, and those in use, with their limits as the last poll has named
# them; `paces` has the `CRON_MAX_TIME` in use. A cron is `held` if `max_instances` has held back slots above its mark
# when it was planned; `replaced` is JSON. `meta` counts the `takeovers` of schedules.
# The long texts are the last columns, so that a search does not read them. A skip comes after the run `place`.
TABLES = (
    """CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 0), version INTEGER NOT NULL, polled INTEGER,
        takeovers INTEGER NOT NULL DEFAULT 0)""",
    f"INSERT INTO meta (id, version) VALUES (0, {VERSION})",  # noqa: S608 - our own
    "CREATE TABLE machines (machine TEXT PRIMARY KEY, host TEXT NOT NULL, wrote INTEGER NOT NULL)",
    "CREATE TABLE paces (cron_max_time REAL PRIMARY KEY, seen INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE names (
        is_job INTEGER NOT NULL,
        name TEXT NOT NULL,
        seen INTEGER NOT NULL,
        max_instances INTEGER,
        PRIMARY KEY (is_job, name)
    ) WITHOUT ROWID""",
    """CREATE TABLE crons (
        name TEXT PRIMARY KEY,
        mark INTEGER,
        since INTEGER,
        back INTEGER,
        next INTEGER,
        held INTEGER NOT NULL,
        paused INTEGER NOT NULL DEFAULT 0,
        claims INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        missed INTEGER NOT NULL DEFAULT 0,
        schedule TEXT,
        replaced TEXT
    )""",
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending',
        due INTEGER NOT NULL,
        created INTEGER NOT NULL,
        slot INTEGER,
        key TEXT,
        priority INTEGER NOT NULL DEFAULT 0,
        expires INTEGER,
        at_least_once INTEGER NOT NULL,
        coalesce INTEGER NOT NULL DEFAULT 1,
        attempts INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        lost INTEGER NOT NULL DEFAULT 0,
        fence INTEGER NOT NULL DEFAULT 0,
        worker TEXT,
        started INTEGER,
        ended INTEGER,
        reason TEXT,
        unfit_since INTEGER,
        waited TEXT,
        earlier TEXT,
        arguments TEXT,
        error TEXT,
        output TEXT
    )""",
    "CREATE INDEX runs_of_name ON runs (name, kind, state)",
    "CREATE INDEX runs_of_key ON runs (key, kind, state) WHERE key IS NOT NULL",
    "CREATE INDEX ended_jobs ON runs (state, ended) WHERE kind = 'job' AND state <> 'pending'",
    """CREATE TABLE pending (
        is_job INTEGER NOT NULL,
        name TEXT NOT NULL,
        ready INTEGER NOT NULL,
        rank INTEGER NOT NULL,
        due INTEGER NOT NULL,
        id INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        key TEXT,
        expires INTEGER,
        counts INTEGER NOT NULL,
        PRIMARY KEY (is_job, name, ready, rank, due, id)
    ) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX pending_keys ON pending (name, key) WHERE key IS NOT NULL",
    "CREATE INDEX pending_expires ON pending (is_job, name, expires) WHERE expires IS NOT NULL",
    """CREATE TABLE living (
        run_id TEXT PRIMARY KEY,
        id INTEGER NOT NULL,
        is_job INTEGER NOT NULL,
        name TEXT NOT NULL,
        key TEXT,
        fence INTEGER NOT NULL,
        worker TEXT NOT NULL,
        started INTEGER NOT NULL,
        lease INTEGER NOT NULL,
        process TEXT,
        stop INTEGER NOT NULL DEFAULT 0,
        over INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    "CREATE INDEX living_keys ON living (name, key) WHERE key IS NOT NULL",
    """CREATE TABLE skips (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        place INTEGER NOT NULL,
        slot INTEGER NOT NULL,
        reason TEXT NOT NULL,
        slots INTEGER NOT NULL,
        first INTEGER,
        since INTEGER,
        blockers TEXT,
        recorded INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        worker TEXT NOT NULL
    )""",
    "CREATE INDEX skips_of_cron ON skips (name, id)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


def make_file(path: Path) -> None:
    """Make the empty file, which SQLite takes for an empty store; its `-wal` and `-shm` inherit the mode."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.fchmod(fd, 0o600)  # whatever the umask took away
    os.close(fd)


def is_ready(db: sqlite3.Connection, name: str) -> bool:
    """Return whether a file has our tables; False if it has none.

    Raises:
        BackendError: It has others. It is left alone.
    """
    application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    if application == APPLICATION:
        # An older pseudocron that has created its store at the same moment may have overwritten `user_version`.
        (stored,) = db.execute("SELECT version FROM meta").fetchone()
        if stored == VERSION:
            return bool(version == VERSION)
        fix = "upgrade pseudocron" if stored > VERSION else "move it away, and pseudocron makes a new one"
        raise BackendError(f"{name} has version {stored}, this pseudocron reads {VERSION}: {fix}")
    if version:
        raise BackendError(
            f"{name} has version {version}, of an older pseudocron, this one reads {VERSION}: move it away, and "
            "pseudocron makes a new one"
        )
    if application or db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise BackendError(f"{name} is a database of another program: move it away, or name another folder")
    return False


def create(db: sqlite3.Connection, name: str) -> None:
    """Make the tables where there are none. Another process may do the same at this moment, or has done it.

    Raises:
        BackendError: Another process was faster, and has made others.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        if not is_ready(db, name):
            is_ours = _pragma(db, "application_id") == APPLICATION
            for statement in TABLES[-1:] if is_ours else TABLES:
                db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def grow_log(db: sqlite3.Connection, path: Path) -> None:
    """Extend the WAL to its full size, as a commit that overwrites is faster than one that appends; changes nothing.

    A transaction larger than SQLite's cache is written to the WAL before its end, and is then rolled back.
    """
    log, cache = path.with_name(f"{path.name}-wal"), 0
    try:
        if log.stat().st_size >= FULL_LOG:
            return
        (cache,) = db.execute("PRAGMA cache_size").fetchone()
        db.execute("PRAGMA cache_size = 20")
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO machines VALUES ('', zeroblob(?), 0)", (FULL_LOG + 50 * 4096,))
    except (OSError, sqlite3.Error):
        pass  # the disk is full, or the store busy: the WAL grows with the commits
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if cache:
            db.execute(f"PRAGMA cache_size = {cache}")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
