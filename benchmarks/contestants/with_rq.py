"""Defers and drains jobs with RQ, by the worker of its two that does not fork for each job.

A job of a worker that dies is found and moved to the failed ones; it is run again only if it was deferred with `Retry`.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from redis import Redis
from rq import Queue, SimpleWorker

from benchmarks.contestants.taking_part import note, noted, ready, serve

if TYPE_CHECKING:
    from collections.abc import Mapping

redis = Redis.from_url(os.environ["REDIS_URL"])
queue = Queue(connection=redis)
PROMISE = "at most once"


def _defer(number: int) -> Mapping[str, object]:
    began = time.monotonic()
    for one in range(number):
        queue.enqueue(note, one)
    taken = time.monotonic() - began
    assert queue.count == number
    return {"seconds": taken, "store": PROMISE}


def _defer_many(number: int) -> Mapping[str, object]:
    began = time.monotonic()
    queue.enqueue_many([Queue.prepare_data(note, (one,)) for one in range(number)])
    taken = time.monotonic() - began
    assert queue.count == number
    return {"seconds": taken, "store": PROMISE}


def _drain(number: int) -> Mapping[str, object]:
    worker = SimpleWorker([queue], connection=redis)
    ready()
    worker.work(burst=True, logging_level="WARNING")
    assert noted() == number
    return {"ended": time.monotonic(), "store": PROMISE}


if __name__ == "__main__":
    serve({"defer": _defer, "defer_many": _defer_many, "drain": _drain})
