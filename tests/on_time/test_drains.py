"""What a shutdown makes of runs whose timeout is over, and of applications that come and go meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from on_time.moments import Where, serving
from pseudocron.backends.jobs import JobState
from pseudocron.backends.records import Outcome
from pseudocron.polling import PollReason
from pseudocron.watch import watch

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
        async with watch(crons).store() as (_, backend):  # so that a store in memory is there afterwards
            async with serving(crons):
                handle = await resists.defer()
                await asyncio.wait([watch(crons).runtime().request_poll(PollReason.REQUEST)])
                await asyncio.sleep(0.9)
                stopped = time.monotonic()
            assert time.monotonic() - stopped < 1.6, "0.4 s of the drain, and half a second to kill the script"
            assert (await handle.state()) is JobState.FAILED
            assert [run.outcome for run in await backend.history("script")] == [Outcome.TIMED_OUT]

    asyncio.run(main())


def test_a_cron_that_would_be_tried_again_after_its_timeout_is_interrupted(where: Where, tmp_path: Path) -> None:
    crons, script = where.crons(drain=0.4), tmp_path / "resists.py"
    script.write_text(RESISTS)
    crons.add("script", script, 86400, timeout=0.5, retries=1)

    async def main() -> None:
        async with watch(crons).store() as (_, backend):
            async with serving(crons):
                await asyncio.wait([watch(crons).runtime().request_poll(PollReason.REQUEST)])
                await asyncio.sleep(0.9)
            assert [run.outcome for run in await backend.history("script")] == [Outcome.INTERRUPTED]

    asyncio.run(main())


def test_an_application_that_comes_and_goes_while_another_drains_leaves_nothing_open(where: Where) -> None:
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
        assert not watch(crons).runtime()._using, "the store is never closed"

    asyncio.run(main())
