"""What people start by hand: a poll whatever the gate says, a run whatever the schedule says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pseudocron.errors import ConfigError
from pseudocron.polling import NoPoll, PollReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pseudocron.backends.questions import Refusal
    from pseudocron.process import Process
    from pseudocron.worker.run import Run


async def tick_now(process: Process) -> AsyncIterator[Run]:
    """Poll, whatever the gate says, until nothing is due any more; yield each run when it is over.

    Args:
        process: The configuration.

    Raises:
        PseudoCronError: The configuration or the store can't be used.
    """
    runtime = process.runtime()
    started: list[Run] = []
    runtime.started = started
    try:
        has_more = True
        while has_more:
            has_more = await _poll(process)
            # Its own runs too: a runtime that is being closed has none any more, though they are drained.
            while busy := {*runtime.busy(), *(run.over() for run in started)}:
                for run in [run for run in started if run.is_over]:
                    started.remove(run)
                    yield run
                await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
    finally:
        runtime.started = None


async def _poll(process: Process) -> bool:
    """Poll; return whether that has started runs, and there may be more that is due."""
    polling = process.runtime().request_poll(PollReason.TICK)
    await asyncio.wait([polling])
    if (polled := polling.result()).error:
        raise polled.error
    report = polled.came_of_it
    if isinstance(report, NoPoll):
        return False
    return any(run.is_job for run in report.started) or (report.left and bool(report.started))


async def run_now(process: Process, name: str) -> Run | Refusal:
    """Run a cron now, whatever its schedule says, and wait for it.

    Args:
        process: The configuration.
        name: The name of the cron.

    Returns:
        The run, whose result is recorded, or why its claim was refused.

    Raises:
        UnknownCronError: There is no such cron.
        ConfigError: `PSEUDOCRON_ENABLED` says that nothing is run.
    """
    started = await start_now(process, name)
    if not isinstance(started, str):
        await asyncio.wait([started.over()])
    return started


async def start_now(process: Process, name: str) -> Run | Refusal:
    """Start a run as `run_now` does, without waiting for it."""
    poller = await process.runtime().open()
    if poller is None:
        raise ConfigError("$PSEUDOCRON_ENABLED: False: everything is switched off")
    return await poller.runs.start_by_hand(process.source.load(), name)
