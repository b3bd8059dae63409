"""Runs end, whatever happens to them: their places are free again, and their leases end with their code."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from support import Lifespan, hello, until

from on_time.moments import Moments, Where, runs_of, serving, timeline
from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.model import Run, Skip, State
from pseudocron.endpoints.health import health
from pseudocron.executors.threads import shared_threads
from pseudocron.polling import PollReason
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


async def state(crons: Crons, job_id: str) -> State:
    job = await crons.job(job_id)
    assert job is not None
    return job.state


async def until_state(crons: Crons, job_id: str, wanted: State, seconds: float) -> float:
    """Wait until a job is in a state; how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while await state(crons, job_id) is not wanted:  # noqa: ASYNC110 - a store tells nobody
            await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Threads with these names can't be started, and none is left of another test."""
    shared_threads.cache_clear()
    names, start = list[str](), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name in names:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    yield names
    names.clear()


@pytest.mark.parametrize("thread", ["pseudocron cron", "pseudocron-leases"])
def test_a_thread_that_can_not_start_ends_its_run_failed(where: Where, thread: str, no_thread: list[str]) -> None:
    crons, runs = where.crons(), Moments()
    crons.add("cron", runs.note, 0.3)

    async def main() -> Sequence[Run | Skip]:
        no_thread.append(thread)
        async with serving(crons, every=0.05):
            await until(lambda: process_of(crons).runtime()._poller, 2)
            while not any(run.state == "failed" for run in await runs_of(crons, "cron")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            no_thread.clear()
            runs.began = time.monotonic()
            await until(lambda: runs.at, 3)
        return await timeline(crons, "cron")

    lines = asyncio.run(asyncio.wait_for(main(), 8))
    assert runs.at[0] < 1.5, "the next slot runs"
    assert "can't start new thread" in str(
        next(run.error for run in lines if isinstance(run, Run) and run.state == "failed")
    )
    assert not [skip for skip in lines if skip.reason == "overlap"]


def test_of_a_batch_of_claims_one_that_can_not_start_fails_alone(where: Where, no_thread: list[str]) -> None:
    crons, done = where.crons(), Moments()
    no_thread.append("pseudocron plain")

    @crons.task(retries=0)
    def plain() -> None:
        done.note()

    @crons.task
    async def other() -> None:
        done.note()

    async def main() -> tuple[State, int]:
        handle = await plain.options(priority=1).defer()
        await other.defer_many([{}] * 4)
        async with serving(crons):
            done.began = time.monotonic()
            process_of(crons).runtime().request_poll(PollReason.REQUEST)
            await until(lambda: len(done.at) == 4, 2)
            await process_of(crons).runtime().settle(1)
            return await state(crons, handle.id), len(done.at)

    assert asyncio.run(main()) == (State.FAILED, 4)
    assert done.at[-1] < 1


def test_a_log_handler_that_raises_changes_no_outcome(where: Where) -> None:
    crons, runs = where.crons(), Moments()
    crons.add("cron", runs.note, 0.2)

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError(record.msg)

    async def main() -> Sequence[Run | Skip]:
        async with serving(crons, every=0.05):
            await until(lambda: len(runs.at) == 2, 3)
        return await timeline(crons, "cron")

    log, handler = logging.getLogger("pseudocron"), Raising()
    log.addHandler(handler)
    level, raises = log.level, logging.raiseExceptions
    log.setLevel(logging.DEBUG)
    logging.raiseExceptions = False
    try:
        lines = asyncio.run(main())
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        logging.raiseExceptions = raises
    assert {run.state for run in lines if isinstance(run, Run)} <= {"succeeded", "running"}
    assert not [skip for skip in lines if skip.reason == "overlap"]


def test_a_thread_that_outlasts_the_drain_keeps_its_key(shared_by_many: Where) -> None:
    (first, second), begun, go_on = [shared_by_many.crons(drain=0.1) for _ in range(2)], Moments(), threading.Event()
    over = list[float]()

    def job() -> None:
        begun.note()
        go_on.wait(10)
        over.append(time.monotonic() - begun.began)

    tasks = [crons.task(name="job", max_instances=1)(job) for crons in (first, second)]

    async def main() -> None:
        async with AsyncExitStack() as stack:
            async with serving(first):
                await tasks[0].options(key="one").defer()
                await until(lambda: begun.at, 2)
                await stack.enter_async_context(serving(second, every=0.1))
            # The application shuts down for some seconds more, and its thread goes on.
            await asyncio.sleep(1.5)
            assert len(begun.at) == 1, "another process runs it beside the thread"
            go_on.set()
            await until(lambda: len(begun.at) == 2, 3)

    asyncio.run(main())
    assert begun.at[1] > over[0]
    assert begun.at[1] - over[0] < 1.3


def test_a_timeout_during_the_drain_is_recorded_for_good(where: Where) -> None:
    crons, starts, go_on = where.crons(drain=2), Moments(), threading.Event()

    @crons.task(retries=0, timeout=0.5)
    def sleeps() -> None:
        starts.note()
        go_on.wait(20)

    async def main() -> tuple[float, State]:
        async with process_of(crons).store():  # so that a store in memory is there afterwards
            async with serving(crons):
                handle = await sleeps.defer()
                await until(lambda: starts.at, 2)
                stopped = time.monotonic()
            took = time.monotonic() - stopped
            ended = await state(crons, handle.id)
        go_on.set()
        await asyncio.sleep(0.05)
        return took, ended

    took, ended = asyncio.run(main())
    assert took < 1.5
    assert ended is State.TIMED_OUT
    assert len(starts.at) == 1


def test_sync_jobs_that_outlive_their_timeout_give_their_places_back(where: Where) -> None:
    crons, go_on, done = where.crons(concurrency=2), threading.Event(), Moments()

    @crons.task(retries=0, timeout=0.1)
    def stuck() -> None:
        go_on.wait(20)

    @crons.task
    async def fine() -> None:
        done.note()

    @crons.task
    def plain() -> None:
        done.note()

    async def main() -> None:
        async with serving(crons):
            stuck_jobs = await stuck.defer_many([{}] * 7)
            for job in stuck_jobs:
                await until_state(crons, job.id, State.TIMED_OUT, 3)
            await plain.defer()
            await until(lambda: done.at, 1)
            last = await stuck.defer()
            await until_state(crons, last.id, State.TIMED_OUT, 2)
            await plain.defer()
            await fine.defer()
            await until(lambda: len(done.at) == 2, 1)
            await asyncio.sleep(0.3)
            assert len(done.at) == 2, "of eight threads that go on, no ninth is started"
            assert await probe(crons) == (503, True, 8)
            go_on.set()
            await until(lambda: len(done.at) == 3, 2)
            await asyncio.sleep(1.1)  # an answer is good for a second
            assert await probe(crons) == (200, False, 0)

    asyncio.run(main())


async def probe(crons: Crons) -> tuple[int, bool, int]:
    """The status of the health, whether it says that threads are stuck, and how many runs they have outlasted."""
    from endpoints.calling import ask

    answer = await ask(health(crons), "GET")
    return answer.status, answer.json["stuck"], answer.json["lingering"]


def test_a_result_that_the_store_refuses_for_good_holds_no_place_for_ever(tmp_path: Path) -> None:
    crons = Crons(backend=f"file:{tmp_path}/store", concurrency=1, lease=1, drain=1)
    done = Moments()

    @crons.task
    async def poisoned() -> None:
        done.note()

    @crons.task
    async def fine() -> None:
        done.note()

    async def main() -> None:
        async with serving(crons, every=0.2):
            await until(lambda: process_of(crons).runtime()._poller, 2)
            db = sqlite3.connect(tmp_path / "store" / "crons.db")
            db.execute("""CREATE TRIGGER refuses BEFORE UPDATE ON runs
                WHEN NEW.name = 'poisoned' AND NEW.state = 'succeeded'
                BEGIN SELECT RAISE(ABORT, 'never'); END""")
            db.commit()
            db.close()
            await poisoned.defer()
            await until(lambda: done.at, 2)
            await fine.defer()
            await until(lambda: len(done.at) >= 2, 6)

    asyncio.run(main())
    assert done.gaps[0] < 4, "twice the lease, and a second"


def test_an_application_that_leaves_its_threads_behind_can_be_left(tmp_path: Path) -> None:
    """The loop ends though a thread goes on, and the store is closed when that has ended."""
    crons, go_on = Crons(backend=f"file:{tmp_path}/store", drain=0), threading.Event()

    @crons.task
    def stuck() -> None:
        go_on.wait(20)

    async def main() -> None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=crons)):
            await stuck.defer()
            await until(lambda: process_of(crons).runtime().runs, 2)
            await asyncio.sleep(0.1)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 3
    go_on.set()
