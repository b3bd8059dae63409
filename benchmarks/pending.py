"""Stores that are full of pending jobs, filled through the backend's own verb by a clock that stands still."""

from __future__ import annotations

import asyncio
import atexit
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pseudocron.backends.file.backend import File
from pseudocron.backends.questions import NewJob
from pseudocron.host import Host

if TYPE_CHECKING:
    from pseudocron.backends.contract import Backend

FOLDER, TASK = ".pseudocron", "job"
"""As the contestant with pseudocron has them."""
MILLION = 1_000_000
PRIORITIES = 10
AT_ONCE = 100_000
"""How many are stored in one transaction of SQLite, so that a million soon are."""
APART = timedelta(milliseconds=1)
NOW = datetime(2024, 1, 2, tzinfo=UTC)
YESTERDAY = NOW - timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What is pending in a store.

    Args:
        what: In words, for the table.
        number: How many jobs.
        stored: When they were stored.
        due: When the first of them is due; each of the others a millisecond later.
        mixed: Whether their priorities differ.
    """

    what: str
    number: int
    stored: datetime
    due: datetime
    mixed: bool = False

    def job(self, number: int) -> NewJob:
        """One of them."""
        priority = number % PRIORITIES if self.mixed else 0
        return job(number, self.due + number * APART, priority=priority)

    async def fill(self, backend: Backend, *, at_once: int) -> None:
        """Store them, so many at once."""
        await backend.open()
        for first in range(0, self.number, at_once):
            numbers = range(first, min(first + at_once, self.number))
            await backend.defer([self.job(number) for number in numbers])
        await backend.close()


HAVE_COME_DUE = Pending(
    what="1,000,000 that have come due since the last poll, at mixed priorities",
    number=MILLION,
    stored=YESTERDAY,
    due=YESTERDAY,
    mixed=True,
)


def job(number: int, due: datetime, *, priority: int = 0) -> NewJob:
    """Return a job of the contestant with pseudocron; its id is higher than earlier ones, as `defer` makes them."""
    run_id = f"{number:012x}{secrets.token_hex(10)}"
    return NewJob(run_id=run_id, task=TASK, arguments=f'{{"number":{number}}}', due=due, priority=priority)


@cache
def full(pending: Pending) -> Path:
    """Return the folder of such a store, which is filled once and removed when this process ends."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    store = Path(folder) / FOLDER
    backend = File(store, host=Host(now=lambda: pending.stored))
    asyncio.run(pending.fill(backend, at_once=AT_ONCE))
    return store
