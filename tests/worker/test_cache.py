"""A poll reads the states of the crons that may be due only, and still notices what other processes do."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import Reason, Skip
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from worker.world import Process, World, read

if TYPE_CHECKING:
    from collections.abc import Collection

    from pseudocron.backends.questions import Poll, Polled, States


class Spied(Memory):
    """Notes the crons whose states are read, and those that are planned."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.read: list[set[str]] = []
        self.planned: list[set[str]] = []
        self.away = False

    async def states(self, names: Collection[str]) -> States:
        if self.away:
            raise BackendError("away")
        self.read.append(set(names))
        return await super().states(names)

    async def poll(self, poll: Poll) -> Polled | None:
        self.planned.append({plan.name for plan in poll.plans})
        return await super().poll(poll)


def some(**schedules: float) -> Crons:
    crons = Crons(cron_max_time=60)
    for name, schedule in schedules.items():
        crons.add(name, int, schedule)
    return crons


async def started(process: Process) -> set[str]:
    return {run.claim.name for run in (await process.poll_all()).started}


async def settled(crons: Crons) -> tuple[World, Spied]:
    """A process that has run everything, and knows that nothing is due."""
    world = World(crons, store=Spied)
    assert isinstance(world.backend, Spied)
    await world.poll_all()
    world.backend.read.clear()
    world.backend.planned.clear()
    return world, world.backend


def test_a_poll_plans_only_what_may_be_due_and_a_process_alone_reads_nothing() -> None:
    async def main() -> None:
        world, store = await settled(some(often=10, rarely=3600))
        world.clock.forward(10)
        assert await started(world) == {"often"}
        assert (store.read, store.planned) == ([], [{"often"}])
        assert await started(world) == set()
        assert store.planned == [{"often"}, set()]

    asyncio.run(main())


def test_what_another_process_has_claimed_is_not_claimed_again() -> None:
    async def main() -> None:
        world, store = await settled(some(cron=10, rarely=3600))
        other = world.another()
        world.clock.forward(10)
        assert await started(other) == {"cron"}
        store.read.clear()
        assert await started(world) == set()
        world.clock.forward(10)
        assert await started(other) == {"cron"}
        store.read.clear()
        await world.poll_all()
        assert store.read == [{"cron"}], "it is not alone"

    asyncio.run(main())


def test_a_mark_that_a_person_sets_back_is_noticed_at_once() -> None:
    async def main() -> None:
        world, store = await settled(some(cron=3600))
        await store.reset("cron", world.clock.now - timedelta(hours=3))
        assert await store.stale_in() == 0
        assert await started(world) == {"cron"}

    asyncio.run(main())


def test_pausing_and_resuming_elsewhere_take_effect() -> None:
    async def main() -> None:
        world, store = await settled(some(cron=10))
        await store.pause("cron", True)
        world.clock.forward(10)
        assert await started(world) == set()
        skip = (await world.lines("cron"))[0]
        assert isinstance(skip, Skip)
        assert skip.reason is Reason.PAUSED
        await store.pause("cron", False)
        world.clock.forward(10)
        assert await started(world) == {"cron"}

    asyncio.run(main())


def test_the_first_slot_after_a_resumption_runs_where_others_were_skipped() -> None:
    async def main() -> None:
        world, store = await settled(some(cron=10))
        await store.pause("cron", True)
        for _ in range(3):
            world.clock.forward(10)
            assert await started(world) == set()
        world.clock.forward(5)
        await store.pause("cron", False)
        assert 0 < await store.stale_in() <= 5
        world.clock.forward(5)
        assert await store.stale_in() == 0
        assert await started(world) == {"cron"}

    asyncio.run(main())


def test_a_slot_left_for_want_of_capacity_is_claimed_by_the_next_poll() -> None:
    async def main() -> None:
        world = World(some(one=3600, other=3600), concurrency=1)
        assert await started(world) | await started(world) == {"one", "other"}

    asyncio.run(main())


def test_a_clock_that_steps_back_voids_what_was_remembered() -> None:
    async def main() -> None:
        world, store = await settled(some(often=10, rarely=3600))
        world.clock.forward(-1)
        await world.poll_all()
        assert store.planned == [{"often", "rarely"}]

    asyncio.run(main())


def test_what_the_configuration_has_changed_or_added_is_planned_at_once() -> None:
    async def main() -> None:
        world, store = await settled(some(same=3600))
        world.crons.add("added", int, 3600)
        read(world.crons)
        await world.poll_all()
        assert store.planned.pop() == {"added"}
        world.crons = some(same=1800, added=3600)
        read(world.crons)
        await world.poll_all()
        assert store.planned.pop() == {"same", "added"}

    asyncio.run(main())


def test_a_store_that_fails_while_states_are_read_is_asked_again() -> None:
    async def main() -> None:
        world, store = await settled(some(often=10, rarely=3600))
        world.clock.forward(-1)
        store.away, world.poller._cache.is_current = True, False
        with pytest.raises(BackendError):
            await world.poll()
        store.away = False
        await world.poll_all()
        assert store.read == [{"often", "rarely"}]

    asyncio.run(main())


def test_a_store_that_lost_everything_gets_the_remembered_floors() -> None:
    async def main() -> None:
        world, _ = await settled(some(cron=3600))
        world.backend = world.poller.backend = Memory(host=world.clock.host)
        await world.backend.open()
        world.clock.forward(-1)
        world.clock.forward(1)
        assert await started(world) == set()
        world.clock.forward(3600)
        assert await started(world) == {"cron"}

    asyncio.run(main())


def test_a_slot_that_was_skipped_is_remembered_as_one_that_was_claimed() -> None:
    crons = Crons(cron_max_time=60)
    crons.add("cron", int, 3600, misfire_grace_time=60)

    async def main() -> datetime:
        world, _ = await settled(crons)
        world.clock.forward(7000)
        await world.poll_all()
        began = world.clock.now - timedelta(seconds=7000)
        assert world.poller._cache._floors["cron"] == began + timedelta(hours=1)
        return began

    asyncio.run(main())
