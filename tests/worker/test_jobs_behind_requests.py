"""When a deferred job starts in a serving process: at once, behind the next request, or as soon as there is room."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from support import Lifespan, hello, until, visit

from pseudocron.crons import Crons
from pseudocron.middleware import PseudoCronMiddleware
from pseudocron.process import process_of

if TYPE_CHECKING:
    from pathlib import Path

    from pseudocron.jobs.tasks import Task


def of(folder: Path, seen: list[int]) -> tuple[Crons, Task[[int], None]]:
    """The crons and the task of one process; several may share a folder."""
    crons = Crons(backend=f"file:{folder / 'store'}")

    @crons.task
    def note(number: int) -> None:
        seen.append(number)

    return crons, note


@pytest.mark.parametrize("sync", [False, True])
def test_a_job_that_is_due_starts_at_once_where_it_is_deferred(tmp_path: Path, *, sync: bool) -> None:
    seen: list[int] = []
    crons, note = of(tmp_path, seen)

    async def main() -> None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=crons)) as lifespan:
            await visit(lifespan.app)
            await process_of(crons).runtime().settle(20)  # now nothing is due, and no request comes any more
            await (asyncio.to_thread(note.defer_sync, 1) if sync else note.defer(1))
            await until(lambda: seen == [1])

    asyncio.run(main())


def test_a_job_of_another_process_starts_behind_a_request_within_a_second(tmp_path: Path) -> None:
    seen: list[int] = []
    crons, _ = of(tmp_path, seen)
    other, note = of(tmp_path, [])

    async def main() -> float:
        async with Lifespan(PseudoCronMiddleware(hello, crons=crons)) as lifespan:
            await visit(lifespan.app)
            await process_of(crons).runtime().settle(20)  # now the gate is fresh for a minute
            await note.defer(1)
            began = time.monotonic()
            async with asyncio.timeout(20):
                while not seen:
                    await visit(lifespan.app)
                    await asyncio.sleep(0)
            took = time.monotonic() - began
        await other._connect().close()
        return took

    assert asyncio.run(main()) < 5


def test_one_request_is_enough_for_a_backlog_and_never_more_run_than_may(tmp_path: Path) -> None:
    crons = Crons(backend=f"file:{tmp_path / 'store'}", concurrency=3)
    running, most, ended = set[int](), 0, list[int]()

    @crons.task
    async def note(number: int) -> None:
        nonlocal most
        running.add(number)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.discard(number)
        ended.append(number)

    note.defer_many_sync([{"number": number} for number in range(50)])

    async def main() -> None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=crons)) as lifespan:
            await visit(lifespan.app)
            await until(lambda: len(ended) == 50)

    asyncio.run(main())
    assert sorted(ended) == list(range(50))
    assert most <= 3
