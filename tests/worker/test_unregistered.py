"""Jobs of a task that a deployment has removed: they wait, hold up no others, and are named once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pseudocron.backends.model import State
from pseudocron.backends.questions import NewJob
from pseudocron.crons import Crons
from worker.world import World

if TYPE_CHECKING:
    import pytest

WORDS = "task 'removed' is not registered here, but jobs of it are pending"


async def defer(world: World, task: str) -> None:
    await world.backend.defer([NewJob(run_id=task, task=task, arguments="{}", due=world.clock.now)])


async def state(world: World, task: str) -> State:
    return (await world.run(task)).state


def of(*names: str) -> Crons:
    crons = Crons()
    for name in names:
        crons.task(name=name)(lambda: None)
    return crons


def test_jobs_of_a_removed_task_hold_up_no_others_and_run_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        world = World(of("other"))
        await defer(world, "removed")
        await defer(world, "other")
        await world.visit()
        assert (await state(world, "other"), await state(world, "removed")) == ("succeeded", "pending")
        assert await world.backend.stale_in() == 0, "another process may have the task"
        assert WORDS in caplog.text
        world.clock.forward(121)
        await world.visit()
        assert await world.backend.stale_in() == 60, "no process has named the task for two minutes"
        world.clock.forward(60)
        await world.another(of("other", "removed")).visit()
        assert await state(world, "removed") == "succeeded"

    asyncio.run(main())


def test_a_removed_task_is_named_once_by_all_event_loops_of_a_process(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        world = World(of("another"))
        await defer(world, "removed")
        for process in (world, world, world.another(of("other"))):
            await process.visit()
            world.clock.forward(120)

    asyncio.run(main())
    assert caplog.text.count(WORDS) == 1
    assert caplog.text.count("pseudocron jobs --state pending --task removed") == 1
