"""What a shutdown makes of runs whose timeout is over, and of applications that come and go meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from support import hello, until, visit

from on_time.moments import Moments, Where, runs_of, serving
from pseudocron import PseudoCronMiddleware
from pseudocron.backends.model import State
from pseudocron.polling import PollReason
from pseudocron.process import process_of

if TYPE_CHECKING:
    from pathlib import Path

RESISTS = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(20)
"""


def test_a_timeout_whose_grace_outlasts_the_drain_is_recorded(where: Where, tmp_path: Path) -> None:
    crons, script = where.crons(drain=0.4), tmp_path / "resists.py"
    script.write_text(RESISTS)
    crons.add("script", script, 86400, timeout=0.5)

    @crons.task(retries=0, timeout=0.5)
    async def resists() -> None:
        try:
            await asyncio.sleep(20)
        finally:
            await asyncio.sleep(20)

    async def main() -> None:
        async with process_of(crons).store():  # so that a store in memory is there afterwards
            async with serving(crons):
                handle = await resists.defer()
                await asyncio.wait([process_of(crons).runtime().request_poll(PollReason.REQUEST)])
                await asyncio.sleep(0.9)
                stopped = time.monotonic()
            assert time.monotonic() - stopped < 1.6, "0.4 s of the drain, and half a second to kill the script"
            assert (await handle.state()) is State.TIMED_OUT
            assert [run.state for run in await runs_of(crons, "script")] == [State.TIMED_OUT]

    asyncio.run(main())


def test_a_cron_that_is_retried_after_its_timeout_is_retried_elsewhere(where: Where, tmp_path: Path) -> None:
    crons, script = where.crons(drain=0.4), tmp_path / "resists.py"
    script.write_text(RESISTS)
    crons.add("script", script, 86400, timeout=0.5, retries=1)

    async def main() -> None:
        async with process_of(crons).store():
            async with serving(crons):
                await asyncio.wait([process_of(crons).runtime().request_poll(PollReason.REQUEST)])
                await asyncio.sleep(0.9)
            (run,) = await runs_of(crons, "script")
            assert (run.state, run.failures) == (State.PENDING, 1), "its retry is stored"

    asyncio.run(main())


def test_an_application_beside_one_that_drains_leaves_nothing_open(where: Where) -> None:
    crons = where.crons(drain=3)

    @crons.task
    async def runs() -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        async with AsyncExitStack() as first:
            await first.enter_async_context(serving(crons, ticker=True))
            await runs.defer()
            await asyncio.sleep(0.2)
            draining = asyncio.ensure_future(first.pop_all().aclose())
            await asyncio.sleep(0.1)
            async with serving(crons, ticker=True):
                await asyncio.sleep(0.1)
            assert not draining.done()
            await draining
        left = [task for task in asyncio.all_tasks() if "_tick_for_ever" in repr(task)]
        assert not left, "it polls for ever"
        assert not process_of(crons).runtime()._using, "the store is never closed"

    asyncio.run(main())


def test_a_job_of_a_closed_event_loop_starts_again_after_its_lease(where: Where) -> None:
    crons, starts = where.crons(cron_max_time=25, lease=2), Moments()

    @crons.task
    async def job() -> None:
        starts.note()
        await asyncio.sleep(20 if len(starts.at) == 1 else 0)

    async def interrupted() -> None:
        await visit(PseudoCronMiddleware(hello, crons=crons))
        await job.defer()
        await until(lambda: starts.at, 2)

    async def following() -> None:
        async with serving(crons, ticker=True):
            await until(lambda: len(starts.at) == 2, 6)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(interrupted())
    loop.close()  # and nothing of it is cancelled
    asyncio.run(following())
    assert starts.gaps[0] < 2 + 2 / 3 + 1.3, "a lease, a third of it until that is seen, and a second"


def test_what_a_poll_left_whose_event_loop_is_closed_starts_at_the_next_one(where: Where) -> None:
    crons, starts = where.crons(cron_max_time=25), Moments()

    @crons.task
    async def job() -> None:
        starts.note()

    async def interrupted() -> None:
        async with process_of(crons).store() as (_, backend):
            polling = asyncio.Event()

            async def never(*_: object, **__: object) -> None:
                polling.set()
                await asyncio.Event().wait()

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(type(backend), "poll", never)
                await visit(PseudoCronMiddleware(hello, crons=crons))
                await job.defer()
                await asyncio.wait_for(polling.wait(), 2)

    async def following() -> None:
        async with serving(crons, ticker=True):
            await until(lambda: starts.at, 4)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(interrupted())
    loop.close()  # and nothing of it is cancelled
    starts.began = time.monotonic()
    asyncio.run(following())
    assert starts.at[0] < 1.3
