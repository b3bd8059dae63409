"""Defers and drains jobs with huey, in its store for SQLite with its default journal and its `fsync` on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from huey import SqliteHuey

from benchmarks.contestants.taking_part import PATIENCE, SYNCHRONOUS, note, ready, serve, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

huey = SqliteHuey(filename="huey.db", fsync=True, timeout=PATIENCE)  # on a busy machine its 5 s are too short for four
job = huey.task()(note)


def _about() -> Mapping[str, object]:
    db = huey.storage.conn
    journal, synchronous = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))
    return {"store": f"{journal}, {SYNCHRONOUS[synchronous]}"}


def _defer(number: int) -> Mapping[str, object]:
    about = _about()
    began = time.monotonic()
    for one in range(number):
        job(one)
    taken = time.monotonic() - began
    assert huey.storage.queue_size() == number
    return {"seconds": taken, **about}


def _drain(workers: int, worker_type: str) -> Callable[[int], Mapping[str, object]]:
    """A consumer with all its defaults but these two."""

    def drain(number: int) -> Mapping[str, object]:
        about = _about()
        consumer = huey.create_consumer(workers=workers, worker_type=worker_type)
        ready()
        consumer.start()
        wait_for(number)
        ended = time.monotonic()
        consumer.stop(graceful=True)
        return {"ended": ended, **about}

    return drain


if __name__ == "__main__":
    serve({"defer": _defer, "drain": _drain(1, "thread"), "drain_by_four": _drain(4, "process")})
