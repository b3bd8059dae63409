"""Defers and drains jobs with arq, with all its defaults but one. A job leaves the queue when it has run."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from arq import Worker, create_pool
from arq.connections import RedisSettings

from benchmarks.contestants.taking_part import AT_LEAST_ONCE, at_once, note, ran, ready, serve

if TYPE_CHECKING:
    from collections.abc import Mapping

POLL = 0.01
"""Seconds. By default it is 0.5, and two hundred jobs a second is all it does."""
settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def job(_context: Mapping[str, Any], number: int) -> None:
    """Do the deferred work."""
    note(number)


async def _defer(number: int) -> Mapping[str, object]:
    pool = await create_pool(settings)
    began = time.monotonic()
    for one in range(number):
        await pool.enqueue_job("job", one)
    taken = time.monotonic() - began
    assert await pool.zcard(pool.default_queue_name) == number
    return {"seconds": taken, "store": AT_LEAST_ONCE}


async def _defer_concurrently(number: int) -> Mapping[str, object]:
    pool = await create_pool(settings)
    began = time.monotonic()
    await at_once(lambda one: pool.enqueue_job("job", one), number)
    taken = time.monotonic() - began
    assert await pool.zcard(pool.default_queue_name) == number
    return {"seconds": taken, "store": AT_LEAST_ONCE}


async def _drain(number: int) -> Mapping[str, object]:
    await create_pool(settings)
    worker = Worker(functions=[job], redis_settings=settings, poll_delay=POLL, handle_signals=False)
    ready()
    working = asyncio.ensure_future(worker.async_run())
    await ran(number)
    ended = time.monotonic()
    working.cancel()
    # A job that has run may not be recorded yet; `close` would cancel that, and raise.
    await asyncio.gather(working, *worker.tasks.values(), return_exceptions=True)
    await worker.close()
    return {"ended": ended, "store": AT_LEAST_ONCE}


if __name__ == "__main__":
    serve(
        {
            "defer": lambda number: asyncio.run(_defer(number)),
            "defer_concurrently": lambda number: asyncio.run(_defer_concurrently(number)),
            "drain": lambda number: asyncio.run(_drain(number)),
        }
    )
