"""What a million pending jobs cost on a Redis server: a claim of 100 beside them, and the memory of each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.claiming_jobs import STORES, WHAT, rows_of
from benchmarks.measuring import Row, show
from benchmarks.pending import NOW, Pending
from harness.redis_server import Server, serving
from pseudocron.backends.redis.backend import Redis
from pseudocron.backends.redis.client import from_url
from pseudocron.backends.redis.codec import micros

if TYPE_CHECKING:
    from datetime import datetime

AT_ONCE = 1000
"""How many are stored in one call, in which the server does nothing else."""


def _backend(server: Server, pending: Pending, now: datetime) -> Redis:
    """Each store is an application of its own."""
    return Redis(from_url(server.url), name="Redis", app=f"of-{STORES.index(pending)}", clock=lambda: micros(now))


def _filled(server: Server, pending: Pending, found: dict[str, float]) -> Redis:
    """Fill a store, and note by its name how much of the server's memory each of its jobs takes."""
    before = _used(server)
    asyncio.run(pending.fill(_backend(server, pending, pending.stored), at_once=AT_ONCE))
    found[pending.what] = (_used(server) - before) / pending.number
    return _backend(server, pending, NOW)


def _used(server: Server) -> int:
    return int(server.do("INFO", "memory")["used_memory"])


def _memory(what: str, found: float) -> Row:
    measured = f"{found:.0f} bytes a job, with an argument of one number and no key"
    return Row(what=f"memory of Redis; {what}", goal="none", measured=measured, met=None)


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    *stores, _ = STORES  # without the last, which the server would be filled with for another minute
    found: dict[str, float] = {}
    with serving() as server:
        rows = rows_of(f"{WHAT} on Redis", stores, lambda pending: _filled(server, pending, found))
    return [*rows, *(_memory(pending.what, found[pending.what]) for pending in stores[-2:])]


if __name__ == "__main__":
    show(measure())
