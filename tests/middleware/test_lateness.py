"""How late a process starts what is due, in seconds, while requests come or none does."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import timedelta
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from support import START, Clock, Lifespan, hello, until, visit

from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.file.backend import Memory
from pseudocron.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.alone


def with_task(backend: str, **settings: Any) -> tuple[Crons, Any, list[float]]:
    """Crons with one task, and when its jobs started."""
    crons, started = Crons(backend=backend, **settings), []

    @crons.task
    async def work() -> None:
        started.append(monotonic())

    return crons, work, started


async def requests(app: Any, condition: Callable[[], object], seconds: float) -> None:
    """Send a request every 20 ms until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await visit(app)
            await asyncio.sleep(0.02)


async def requests_for(app: Any, seconds: float) -> None:
    end = monotonic() + seconds
    await requests(app, lambda: monotonic() > end, seconds + 1)


@pytest.mark.parametrize("in_a_thread", [False, True])
@pytest.mark.parametrize("store", ["memory:", "file:{}/store"])
def test_a_job_starts_at_once_in_its_process_without_a_request(
    store: str,
    in_a_thread: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
) -> None:
    crons, starts = Crons(backend=store.format(tmp_path)), asyncio.Queue[float]()

    @crons.task
    async def work() -> None:
        starts.put_nowait(monotonic())

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons, wait=5)
        async with Lifespan(app):
            await visit(app)  # from now on the gate is fresh, and nothing wakes the event loop
            for _ in range(3):
                deferred = monotonic()
                if in_a_thread:
                    threading.Thread(target=work.defer_sync).start()
                else:
                    await work.defer()
                assert await asyncio.wait_for(starts.get(), 2) - deferred < 0.5

    asyncio.run(main())


def test_a_job_that_a_poll_has_just_missed_starts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    crons, work, started = with_task("memory:")
    crons._hooks.on_count(lambda *_: None)
    counting, go_on, counts = asyncio.Event(), asyncio.Event(), Memory.counts

    async def held(self: Memory, *args: Any) -> Any:
        """The last step of a poll, which has claimed what it could."""
        counting.set()
        await go_on.wait()
        return await counts(self, *args)

    monkeypatch.setattr(Memory, "counts", held)

    async def main() -> None:
        await visit(PseudoCronMiddleware(hello, crons=crons))
        await counting.wait()
        await work.defer()
        await asyncio.sleep(0.05)
        go_on.set()
        free = monotonic()
        await until(lambda: started, 2)
        assert started[0] - free < 0.5

    asyncio.run(main())


def test_a_job_of_another_process_starts_within_a_second_of_requests(tmp_path: Path) -> None:
    crons, _, started = with_task(f"file:{tmp_path}/store")
    _, work, _ = with_task(f"file:{tmp_path}/store")
    polls: list[str] = []
    crons._hooks.on_poll(polls.append)

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons)
        async with Lifespan(app):
            await requests_for(app, 0.5)
            assert polls.count("polled") == 1, "the gate is fresh now, for a minute"
            await work.defer()
            deferred = monotonic()
            await requests(app, lambda: started, 3)
            assert started[0] - deferred < 2
            assert len(polls) <= 4, "a fresh gate is read once a second, and not with each request"

    asyncio.run(main())


def test_a_job_of_another_process_starts_within_a_second_of_the_ticker(tmp_path: Path) -> None:
    crons, _, started = with_task(f"file:{tmp_path}/store")
    _, work, _ = with_task(f"file:{tmp_path}/store")

    async def main() -> None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=crons, ticker=True)):
            await asyncio.sleep(0.5)  # it has polled, and the gate is fresh
            await work.defer()
            deferred = monotonic()
            await until(lambda: started, 3)
            assert started[0] - deferred < 2

    asyncio.run(main())


def test_with_nothing_due_requests_lead_to_a_poll_each_cron_max_time(tmp_path: Path) -> None:
    crons, _, _ = with_task(f"file:{tmp_path}/store", cron_max_time=0.5)
    polls: list[float] = []
    crons._hooks.on_poll(lambda result: polls.append(monotonic()) if result == "polled" else None)

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons)
        async with Lifespan(app):
            await requests_for(app, 1.8)
        gaps = [after - before for before, after in pairwise(polls)]
        assert gaps
        assert all(0.45 < gap < 1.5 for gap in gaps)

    asyncio.run(main())


def test_slots_that_come_due_during_a_slow_poll_wait_for_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    crons, ran, poll = Crons(backend="memory:"), [], Memory.poll

    async def slow(self: Memory, question: Any) -> Any:
        await asyncio.sleep(0.1)
        return await poll(self, question)

    monkeypatch.setattr(Memory, "poll", slow)

    @crons.every(0.05)
    async def often() -> None:
        ran.append(monotonic())

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons)
        async with Lifespan(app):
            await requests_for(app, 1.2)
        assert max(after - before for before, after in pairwise(ran)) < 0.5

    asyncio.run(main())


def test_a_process_that_was_full_starts_what_came_then_within_a_second(tmp_path: Path) -> None:
    crons, _, started = with_task(f"file:{tmp_path}/store", concurrency=1)
    _, work, _ = with_task(f"file:{tmp_path}/store")
    held, go_on = asyncio.Event(), asyncio.Event()

    @crons.every(hours=5)
    async def hold() -> None:
        held.set()
        await go_on.wait()

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons)
        async with Lifespan(app):
            await requests(app, held.is_set, 2)
            await requests_for(app, 1.2)  # it has been found to be full
            await work.defer()
            go_on.set()
            free = monotonic()
            await requests(app, lambda: started, 3)
            assert started[0] - free < 2

    asyncio.run(main())


EDITED = """
from pathlib import Path

def edited():
    Path(__file__).with_name("ran").touch()

crons = {"edited": (edited, "5h")}
"""


def test_an_edit_of_the_config_is_read_by_the_next_poll(tmp_path: Path) -> None:
    path = tmp_path / "crons.py"
    path.write_text("crons = {'often': ('builtins:int', 0.2)}")

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=path)
        async with Lifespan(app):
            await requests_for(app, 0.3)
            path.write_text(EDITED)
            edited = monotonic()
            await requests(app, (tmp_path / "ran").exists, 3)
            assert monotonic() - edited < 2, "a slot every 0.2 s, a poll with each, or a second after a slow one"

    asyncio.run(main())


def test_a_store_that_is_away_is_logged_once_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "no folder").touch()
    clock = Clock()
    app = PseudoCronMiddleware(hello, crons=Crons(), wait=5)
    app._process = Process(Crons(backend=f"file:{tmp_path}/no folder"), clock.host)

    async def logged(second: float) -> int:
        """How many lines there are when the clock is there, and ten requests have come."""
        clock.now = START + timedelta(seconds=second)
        for _ in range(10):
            assert (await visit(app))[0]["status"] == 200
        return sum(record.levelno == logging.ERROR for record in caplog.records)

    async def main() -> None:
        assert [await logged(second) for second in (0, 1, 59, 61, 119, 122)] == [1, 1, 1, 2, 2, 3]

    asyncio.run(main())


def test_the_end_of_a_run_puts_no_request_off(tmp_path: Path) -> None:
    crons, starts = Crons(backend=f"file:{tmp_path}/store"), list[float]()

    @crons.every(0.1)
    async def often() -> None:
        starts.append(monotonic())

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons)
        async with Lifespan(app):
            await requests_for(app, 2.5)

    asyncio.run(main())
    assert len(starts) >= 12, "a run a second is what it costs"
    assert max(after - before for before, after in pairwise(starts)) < 0.5
