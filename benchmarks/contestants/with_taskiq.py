"""Defers and drains jobs with taskiq, on a stream, with all its defaults. A message is acknowledged when it has run."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from benchmarks.contestants.taking_part import AT_LEAST_ONCE, at_once, note, ran, ready, serve

if TYPE_CHECKING:
    from collections.abc import Mapping

broker = RedisStreamBroker(os.environ["REDIS_URL"], consumer_id="0")  # its lists lose what a worker has taken


async def run(number: int) -> None:
    """Do the deferred work."""
    note(number)


job = broker.task(run)


async def _defer(number: int) -> Mapping[str, object]:
    await broker.startup()
    began = time.monotonic()
    for one in range(number):
        await job.kiq(one)
    taken = time.monotonic() - began
    await broker.shutdown()
    return {"seconds": taken, "store": AT_LEAST_ONCE}


async def _defer_concurrently(number: int) -> Mapping[str, object]:
    await broker.startup()
    began = time.monotonic()
    await at_once(job.kiq, number)
    taken = time.monotonic() - began
    await broker.shutdown()
    return {"seconds": taken, "store": AT_LEAST_ONCE}


async def _drain(number: int) -> Mapping[str, object]:
    broker.is_worker_process = True
    await broker.startup()
    ready()
    working = asyncio.ensure_future(run_receiver_task(broker))
    await ran(number)
    ended = time.monotonic()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return {"ended": ended, "store": AT_LEAST_ONCE}


if __name__ == "__main__":
    serve(
        {
            "defer": lambda number: asyncio.run(_defer(number)),
            "defer_concurrently": lambda number: asyncio.run(_defer_concurrently(number)),
            "drain": lambda number: asyncio.run(_drain(number)),
        }
    )
