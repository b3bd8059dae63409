"""The files of a store become smaller again when jobs are purged."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from backends.file.helpers import job
from pseudocron.backends.file.backend import File
from pseudocron.backends.file.schema import FULL_LOG, create
from pseudocron.backends.model import State

if TYPE_CHECKING:
    from pathlib import Path

    from pseudocron.backends.questions import NewJob

JOBS, MEBIBYTE = 10_000, 1024 * 1024
KEEP = {State.CANCELLED: timedelta()}


def jobs(start: int, count: int) -> list[NewJob]:
    """Jobs of more than a kilobyte each."""
    arguments = json.dumps({"text": "x" * 1100})
    return [job(f"{start + number:06}")._replace(arguments=arguments) for number in range(count)]


def size(folder: Path, name: str = "crons.db") -> float:
    return (folder / name).stat().st_size / MEBIBYTE


async def fill(backend: File, folder: Path) -> None:
    """Jobs that have all been cancelled."""
    await backend.open()
    for start in range(0, JOBS, 1000):
        await backend.defer(jobs(start, 1000))
    with closing(sqlite3.connect(folder / "crons.db", isolation_level=None)) as db:
        db.execute("DELETE FROM pending")
        db.execute("UPDATE runs SET state = 'cancelled', ended = 1")


async def purge(backend: File) -> int:
    """As often as a process or the command does."""
    total = 0
    while purged := await backend.purge(KEEP):
        total += purged
    return total


def test_purged_jobs_give_their_space_back(tmp_path: Path) -> None:
    folder = tmp_path / "store"

    async def main() -> None:
        backend = File(folder, durability="process")
        await fill(backend, folder)
        full = size(folder)
        assert await purge(backend) == JOBS
        await backend.close()  # which moves the WAL into the file
        assert full > 13
        assert size(folder) < 1.5

    asyncio.run(main())


def test_a_purge_gives_a_bounded_number_of_pages_back(tmp_path: Path) -> None:
    folder = tmp_path / "store"

    async def main() -> None:
        backend = File(folder, durability="process")
        await fill(backend, folder)
        with closing(sqlite3.connect(folder / "crons.db", isolation_level=None)) as db:
            pages = [db.execute("PRAGMA page_count").fetchone()[0]]
            for _ in range(10):
                await backend.purge(KEEP, JOBS)
                pages.append(db.execute("PRAGMA page_count").fetchone()[0])
        given_back = [before - after for before, after in pairwise(pages)]
        assert max(given_back) <= 500 + 5  # and some that say which others are free
        assert min(given_back[:6]) >= 500
        assert given_back[-1] == 0, "a megabyte stays free"
        await backend.close()

    asyncio.run(main())


def test_the_log_shrinks_to_its_full_size_after_a_large_transaction(tmp_path: Path) -> None:
    folder = tmp_path / "store"

    async def main() -> None:
        backend = File(folder)
        await backend.open()
        await backend.defer(jobs(0, JOBS))
        grown = size(folder, "crons.db-wal")
        await backend.defer([job("one")])
        await backend.defer([job("two")])
        assert grown > 2 * FULL_LOG / MEBIBYTE
        assert size(folder, "crons.db-wal") <= FULL_LOG / MEBIBYTE + 0.1
        await backend.close()

    asyncio.run(main())


def test_a_store_that_was_made_without_gives_nothing_back_and_works_on(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    with closing(sqlite3.connect(folder / "crons.db")) as db:
        create(db, "store")
    (folder / "crons.db").chmod(0o600)

    async def main() -> None:
        backend = File(folder, durability="process")
        await fill(backend, folder)
        assert await purge(backend) == JOBS
        assert await backend.defer([job("one")])
        await backend.close()

    asyncio.run(main())
