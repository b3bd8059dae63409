"""How long hooks may take, and how often jobs are counted, in seconds and at full length."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from leaping import leap
from support import took, until
from worker.world import World

from hooks.fine import fine_every_minute
from pseudocron.backends.model import State
from pseudocron.crons import Crons
from pseudocron.hooks.metrics import Metrics

if TYPE_CHECKING:
    from pseudocron.hooks import Event


def test_an_async_hook_that_hangs_is_cancelled_after_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    crons, cancelled = fine_every_minute(), []

    @crons.on("started")
    async def endless(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(1)

    world = World(crons)

    async def main() -> None:
        with took(10, 10.5):
            await world.poll_all()

    leap(main())
    assert cancelled
    assert "endless: started of fine" in caplog.text


def test_an_async_hook_that_takes_nine_seconds_is_not_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    crons, told = fine_every_minute(), []

    @crons.on("started")
    async def slow(event: Event) -> None:
        await asyncio.sleep(9)
        told.append(event)

    leap(World(crons).poll_all())
    assert told
    assert not caplog.text


def test_a_plain_hook_that_hangs_is_left_alone_after_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    crons, go_on = fine_every_minute(), threading.Event()

    @crons.on("started")
    def stuck(_event: Event) -> None:
        go_on.wait()

    world = World(crons)

    async def main() -> None:
        with took(10, 10.5):
            await world.poll_all()

    try:
        leap(main())
    finally:
        go_on.set()
    assert "stuck: started of fine" in caplog.text


@pytest.mark.parametrize(("seconds", "least", "most"), [(1.5, 1.5, 1.9), (3600, 2, 2.5)])
def test_a_shutdown_waits_two_seconds_for_hooks(seconds: float, least: float, most: float) -> None:
    crons = fine_every_minute()

    @crons.on("succeeded")
    async def slow(_event: Event) -> None:
        await asyncio.sleep(seconds)

    world = World(crons)

    async def main() -> None:
        await world.poll()
        await until(lambda: not world.runs.pool.runs, 1)
        with took(least - 0.1, most):
            await world.runs.drain(5)

    leap(main())


def test_a_thousand_events_wait_for_a_slow_hook_and_no_more() -> None:
    crons, told, go_on = Crons(), [], asyncio.Event()

    @crons.task
    async def work() -> None:
        pass

    @crons.on("succeeded")
    async def slow(event: Event) -> None:
        await go_on.wait()
        told.append(event)

    world = World(crons, concurrency=1100)

    async def main() -> None:
        await world.defer_many("work", 1010)
        await world.poll()
        await until(lambda: not world.runs.pool.runs, 60)
        assert (await world.states())[State.SUCCEEDED] == 1010
        go_on.set()
        await world.runs.idle()

    leap(main())
    assert 1000 <= len(told) <= 1001, "it may have been at one already"


def test_jobs_are_counted_at_most_every_fifteen_seconds() -> None:
    crons, counts = fine_every_minute(), []
    crons._hooks.on_count(lambda pending, _age: counts.append(pending))
    world = World(crons)

    async def counts_each_second() -> list[int]:
        observer, so_far = Metrics(world.backend, world.clock.host), []
        for _ in range(46):
            if world.clock.host.monotonic() >= observer.again:
                await observer.count(crons._hooks.counts)
            so_far.append(len(counts))
            world.clock.forward(1)
        return so_far

    assert asyncio.run(counts_each_second()) == [1] * 15 + [2] * 15 + [3] * 15 + [4]
