"""Defers and drains jobs with huey, in its store for SQLite with its default journal and its `fsync` on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huey import SqliteHuey

from benchmarks.contestants.taking_part import (
    PATIENCE,
    SYNCHRONOUS,
    THREADS,
    Taken,
    by_threads,
    note,
    ready,
    serve,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

huey = SqliteHuey(filename="huey.db", fsync=True, timeout=PATIENCE)  # on a busy machine its 5 s are too short for four
job = huey.task()(note)


def _about() -> Mapping[str, object]:
    db = huey.storage.conn
    journal, synchronous = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))
    return {"store": f"{journal}, {SYNCHRONOUS[synchronous]}"}


def _defer(threads: int) -> Callable[[int], Mapping[str, object]]:
    """One by one, each thread its part of them."""

    def defer(number: int) -> Mapping[str, object]:
        about, told = _about(), by_threads(job, number, threads)
        assert huey.storage.queue_size() == number
        return {**told, **about}

    return defer


def _drain(workers: int, worker_type: str) -> Callable[[int], Mapping[str, object]]:
    """Return a drain by a consumer with all its defaults but these two."""

    def drain(number: int) -> Mapping[str, object]:
        about = _about()
        consumer = huey.create_consumer(workers=workers, worker_type=worker_type)
        ready()
        taken = Taken()
        consumer.start()
        wait_for(number)
        told = dict(taken.told())
        if worker_type == "process":
            del told["cpu"]  # that of the workers is not in it
        consumer.stop(graceful=True)
        return {**told, **about}

    return drain


if __name__ == "__main__":
    serve(
        {
            "defer": _defer(1),
            "defer_by_eight": _defer(THREADS),
            "drain": _drain(1, "thread"),
            "drain_by_four": _drain(4, "process"),
        }
    )
