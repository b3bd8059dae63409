"""What people start by hand: a poll that asks no gate, a run that asks no schedule."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pseudocron.errors import ConfigError
from pseudocron.polling import PollReason
from pseudocron.runner.looked import Looked, Started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pseudocron.backends.records import Claim, Refusal, Result
    from pseudocron.watch import Watch


async def tick_now(watch: Watch) -> AsyncIterator[tuple[Claim, Result]]:
    """Poll, whatever the gate says, until nothing is due any more; each run of a cron as it is over.

    Args:
        watch: The configuration.

    Raises:
        PseudoCronError: The configuration or the store can't be used.
    """
    runtime = watch.runtime()
    runtime.started = started = list[Started]()
    try:
        has_more = True
        while has_more:
            has_more = await _poll(watch)
            while (busy := runtime.busy()) or started:
                for run in [run for run in started if run.task.done()]:
                    started.remove(run)
                    yield run.claim, await run.task
                if busy:
                    await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
    finally:
        runtime.started = None


async def _poll(watch: Watch) -> bool:
    """Poll; whether that has begun jobs, whose ends may make way for more."""
    polling = watch.runtime().request_poll(PollReason.TICK)
    await asyncio.wait([polling])
    if (polled := polling.result()).error:
        raise polled.error
    return isinstance(polled.came_of_it, Looked) and bool(polled.came_of_it.jobs)


async def run_now(watch: Watch, name: str) -> Result | Refusal:
    """Run a cron now, whatever its schedule says, and wait for it.

    Args:
        watch: The configuration.
        name: The cron.

    Returns:
        How it ended, or why its claim was refused.

    Raises:
        UnknownCronError: There is no such cron.
        ConfigError: `PSEUDOCRON_ENABLED` says that nothing is run.
    """
    started = await start_now(watch, name)
    return await asyncio.shield(started.task) if isinstance(started, Started) else started


async def start_now(watch: Watch, name: str) -> Started | Refusal:
    """Start a run as `run_now` does, without waiting for it."""
    scheduler = await watch.runtime().open()
    if scheduler is None:
        raise ConfigError("$PSEUDOCRON_ENABLED: False: everything is switched off")
    return await scheduler.runner.run_once(watch.source.load()[name])
