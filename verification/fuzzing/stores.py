"""Whoever writes into a store can make it unreadable, and no more: no other error, no other call, no other file."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.file.backend import File
from pseudocron.backends.redis.codec import CLAIM, CRON, RUN, SKIP, claim_of, run_of, skip_of, state_of
from pseudocron.errors import BackendError
from pseudocron.host import Host
from verification.fuzzing.inputs import Bytes
from verification.fuzzing.parsers import assert_is_a_line
from verification.fuzzing.verbs import ALL, examine, fill, plans_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pseudocron.backends.contract import Backend

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WORDS = (
    *("a", "b", "mail", "paint", "os:system", "../a", "pending", "running", "succeeded", "failed", "lost", "slot"),
    *("job", "manual", "overlap", "no_traffic", "replaced", "{}", "[]", '{"to": 1}', '[["r", "w"]]', "null", "["),
    *("[1, 2, 3, 4]", '[["w", 1, 2, "failed", null]]', '{"request": "x"}'),
)


TABLES = ("meta", "machines", "paces", "names", "crons", "runs", "pending", "living", "skips")


class Hostile(NamedTuple):
    """A store, and the connection of an adversary.

    Args:
        backend: The store, open.
        db: The connection.
        rows: What is in each table of a store in order.
        columns: The columns of each table.
        runner: Where the verbs run.
    """

    backend: File
    db: sqlite3.Connection
    rows: Mapping[str, Sequence[tuple[object, ...]]]
    columns: Mapping[str, Sequence[str]]
    runner: asyncio.Runner

    def restore(self) -> None:
        """Put the store in order, as part of a transaction."""
        for table, rows in self.rows.items():
            self.db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
            marks = ", ".join("?" * len(self.columns[table]))
            self.db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608

    def harm(self, table: str, column: str, value: object, *, every: int = 1) -> None:
        """Write a value into a column of every row, or every other one, if SQLite allows it."""
        key = self.columns[table][0]
        names = [row[0] for row in self.rows[table]][::every]
        for name in names:
            with suppress(sqlite3.IntegrityError):
                self.db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, name))  # noqa: S608

    def use(self) -> list[BackendError]:
        """Call each verb, one after another; return the errors."""
        return self.runner.run(used(self.backend, NOW))


@cache
def store() -> Hostile:
    """Make a store that has something in each of its tables."""
    folder = Path(mkdtemp(prefix="hostile"))
    host = Host(now=lambda: NOW, random=lambda: 0.5)
    backend, runner = File(folder, durability="process", host=host), asyncio.Runner()
    runner.run(backend.open())
    runner.run(fill(backend, NOW))
    db = sqlite3.connect(folder / "crons.db", isolation_level=None, timeout=20)
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in tables}  # noqa: S608 - our own names
    columns = {table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")] for table in tables}
    assert set(tables) == set(TABLES)
    assert all(rows.values()), [table for table in tables if not rows[table]]
    return Hostile(backend, db, rows, columns, runner)


async def used(backend: Backend, now: datetime) -> list[BackendError]:
    errors = []
    for verb in ALL:
        try:
            async with asyncio.timeout(20):
                examine(await verb(backend, now))
        except BackendError as error:
            assert_is_a_line(error)
            errors.append(error)
    return errors


def rows(data: bytes) -> None:
    """Whatever stands in some columns, each verb answers, or raises a `BackendError`."""
    bytes_, hostile = Bytes(data), store()
    hostile.db.execute("BEGIN IMMEDIATE")
    hostile.restore()
    for _ in range(1 + bytes_.one() % 3):
        table = bytes_.pick((*hostile.columns, "runs", "runs", "crons", "pending", "living"))
        column, value = bytes_.pick(hostile.columns[table]), bytes_.column(WORDS)
        hostile.harm(table, column, value, every=1 + bytes_.one() % 2)
    hostile.db.execute("COMMIT")
    hostile.use()


def hashes(data: bytes) -> None:
    """Check that the answer of a Redis server can be read, or is a `BackendError`."""
    bytes_ = Bytes(data)
    named: dict[Callable[[Any], object], Mapping[str, Any]] = {run_of: RUN, claim_of: CLAIM}
    for read, kinds in named.items():
        tried(read, answer(bytes_, kinds))
        tried(read, bytes_.value(WORDS))
    tried(lambda stored: skip_of("a", stored), answer(bytes_, SKIP))
    state = answer(bytes_, CRON)
    tried(lambda stored: plans_of({"a": state_of("a", stored)}, NOW), state)


def answer(bytes_: Bytes, kinds: Mapping[str, object]) -> dict[str, Any]:
    """Return fields, of which most are right."""
    wrong = {name: bytes_.value(WORDS, 1) for name in kinds if bytes_.one() % 3 == 0}
    return {name: value for name, value in GOOD.items() if name in kinds and bytes_.one() % 8} | wrong


def tried(read: Callable[[Any], object], stored: object) -> None:
    try:
        examine(read(stored))
    except BackendError as error:
        assert_is_a_line(error)


GOOD = {
    "run_id": "r",
    "kind": "slot",
    "name": "a",
    "state": "failed",
    "due": "1",
    "created": "1",
    "slot": "1",
    "fence": "1",
    "attempt": "1",
    "attempts": "1",
    "failures": "1",
    "worker": "w",
    "started": "1",
    "ended": "2",
    "waited": '{"request": 1}',
    "earlier": '[["w", "1", "2", "failed"]]',
    "reason": "overlap",
    "slots": "2",
    "recorded": "1",
    "updated": "1",
    "blockers": [["r", "w"]],
    "mark": "1",
    "next": "1",
    "running": "0",
}
