"""A run by hand goes the way of all runs, beside the schedule."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support import START, until

from pseudocron.backends.model import Kind, Run, State
from pseudocron.backends.questions import Manual, Refusal
from pseudocron.by_hand import run_now, tick_now
from pseudocron.crons import Crons
from pseudocron.errors import UnknownCronError
from pseudocron.process import Process
from worker.world import World

if TYPE_CHECKING:
    from worker.world import Process as AProcess


async def by_hand(process: AProcess, name: str) -> State | None:
    """Start a run, and wait for its end."""
    run = await process.runs.start_by_hand(process.crons, name)
    assert not isinstance(run, Refusal)
    return await run.over()


def test_a_manual_run_is_recorded_and_never_retried() -> None:
    crons, tries = Crons(), []

    @crons.every(3600, retries=2)
    async def flaky() -> None:
        tries.append(1)
        raise ValueError

    async def main() -> None:
        world = World(crons, concurrency=1)
        assert await by_hand(world, "flaky") is State.FAILED
        (run,) = await world.lines()
        assert isinstance(run, Run)
        assert (run.kind, run.slot, run.started, run.worker) == (Kind.MANUAL, START, START, "me")
        assert tries == [1]

    asyncio.run(main())


def test_the_slot_that_is_due_runs_after_it() -> None:
    crons, ran = Crons(), []
    crons.add("cron", lambda: ran.append(1), 3600)

    async def main() -> None:
        world = World(crons, concurrency=1)
        world.clock.forward(60)
        await by_hand(world, "cron")
        (run,) = (await world.poll_all()).started
        assert run.claim.slot == START
        assert len(ran) == 2

    asyncio.run(main())


def test_a_run_that_outlives_its_process_is_no_overlap_after_its_lease() -> None:
    crons = Crons()
    crons.add("cron", int, "@yearly", at_least_once=True)

    async def main() -> None:
        world = World(crons, concurrency=1)
        assert not isinstance(await world.backend.start(Manual("cron", "gone", 30)), Refusal)
        assert await world.runs.start_by_hand(crons, "cron") is Refusal.OVERLAP
        world.clock.forward(31)
        assert (await world.poll_all()).started == ()
        assert await by_hand(world, "cron") is State.SUCCEEDED
        states = [run.state for run in await world.lines() if isinstance(run, Run)]
        assert states == [State.SUCCEEDED, State.LOST]

    asyncio.run(main())


def test_one_with_at_least_once_that_is_interrupted_is_not_recovered() -> None:
    crons = Crons()

    @crons.every(3600, at_least_once=True)
    async def endless() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        world = World(crons)
        await world.runs.start_by_hand(crons, "endless")
        await world.runs.drain(0)
        (run,) = await world.lines()
        assert isinstance(run, Run)
        assert run.state is State.INTERRUPTED

    asyncio.run(main())


def test_a_cron_is_run_by_its_name_and_one_that_is_not_there_is_refused() -> None:
    crons = Crons(backend="memory:")
    crons.add("cron", int, "@yearly")

    async def main() -> None:
        seen = Process(crons)
        run = await run_now(seen, "cron")
        assert not isinstance(run, Refusal)
        assert run.state is State.SUCCEEDED
        with pytest.raises(UnknownCronError, match="did you mean 'cron'"):
            await run_now(seen, "corn")
        await seen.runtime().close()

    asyncio.run(main())


def test_a_tick_during_which_its_process_is_closed_waits_for_the_drain() -> None:
    crons, ends = Crons(backend="memory:"), [asyncio.Event(), asyncio.Event()]
    begun: list[int] = []

    async def wait_for(number: int) -> None:
        begun.append(number)
        await ends[number].wait()

    for number in range(2):
        crons.add(f"cron {number}", wait_for, 3600, args=(number,))

    async def main() -> None:
        process = Process(crons)

        async def tick() -> list[State | None]:
            return [run.state async for run in tick_now(process)]

        ticking = asyncio.create_task(tick())
        await until(lambda: len(begun) == 2)
        closing = asyncio.create_task(process.runtime().close())
        await asyncio.sleep(0.01)
        for end in ends:
            end.set()
            await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            assert await ticking == [State.SUCCEEDED] * 2
            await closing

    asyncio.run(main())
