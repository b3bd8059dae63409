"""A store on SQLite, its jobs, and how often it commits."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec
from uuid import uuid4

from pseudocron.backends.questions import Capacity, NewJob, Take

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from pseudocron.backends.file.backend import File

P = ParamSpec("P")

TAKE = Take({"mail": None}, {"tick": 1}, Capacity(10, 10, 10), "host:1", 30.0)


def job(task: str = "mail", **options: object) -> NewJob:
    return NewJob(uuid4().hex, task, "[]", datetime.now(UTC), **options)  # type: ignore[arg-type]


def on_a_loop(test: Callable[P, Coroutine[object, object, None]]) -> Callable[P, None]:
    """Run a test on an event loop."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@contextmanager
def commits_of(backend: File) -> Iterator[list[int]]:
    """List how many rows each commit has changed, of those that have changed any."""
    db = backend._store._writer._db
    assert db is not None
    changes, sizes = [db.total_changes], list[int]()

    def note(statement: str) -> None:
        if statement == "COMMIT" and db.total_changes > changes[-1]:
            changes.append(db.total_changes)
            sizes.append(changes[-1] - changes[-2])

    db.set_trace_callback(note)
    yield sizes
    db.set_trace_callback(None)
