"""Old jobs are deleted behind polls, a bounded number at a time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import State
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from pseudocron.worker import purging
from worker.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Noting(Memory):
    """Notes how many jobs each purge deletes; `away` makes it fail."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.purged: list[int] = []
        self.away = False

    async def purge(self, keep: Mapping[State, timedelta], limit: int = 1000) -> int:
        if self.away:
            raise BackendError("away")
        self.purged.append(await super().purge(keep, limit))
        return self.purged[-1]


def a_world(**settings: Any) -> tuple[World, Noting]:
    crons = Crons(**settings)

    @crons.task(retries=0)
    async def work(*, fails: bool = False) -> None:
        if fails:
            raise ValueError

    world = World(crons, store=Noting)
    assert isinstance(world.backend, Noting)
    return world, world.backend


DAY = 86400


def test_jobs_are_deleted_after_a_week_and_failed_ones_after_a_month() -> None:
    world, _ = a_world()

    async def main() -> None:
        await world.defer("work")
        await world.defer("work", fails=True)
        await world.poll_all()
        for days, left in ((6.9, 2), (0.2, 1), (22.8, 1), (0.2, 0)):
            world.clock.forward(days * DAY)
            await world.poll_all()
            assert sum((await world.states()).values()) == left

    asyncio.run(main())


def test_how_long_jobs_are_kept_is_a_setting() -> None:
    world, _ = a_world(retention=timedelta(hours=1), retention_failed="2h")

    async def main() -> None:
        await world.defer("work")
        await world.defer("work", fails=True)
        await world.poll_all()
        for minutes, left in ((59, 2), (2, 1), (58, 1), (2, 0)):
            world.clock.forward(minutes * 60)
            await world.poll_all()
            assert sum((await world.states()).values()) == left

    asyncio.run(main())


def test_a_process_purges_once_a_minute() -> None:
    world, backend = a_world()

    async def main() -> None:
        for _ in range(120):
            await world.poll_all()
            world.clock.forward(1)

    asyncio.run(main())
    assert backend.purged == [0, 0]


def test_while_there_are_many_each_poll_purges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "PURGED", 3)
    world, backend = a_world()

    async def main() -> None:
        await world.defer_many("work", 7)
        await world.poll_all()
        world.clock.forward(8 * DAY)
        for _ in range(5):
            await world.poll_all()
            world.clock.forward(1)

    asyncio.run(main())
    assert backend.purged == [0, 3, 3, 1]


def test_a_purge_that_fails_fails_no_poll_and_is_retried_in_a_minute() -> None:
    world, backend = a_world()

    async def main() -> None:
        backend.away = True
        await world.poll_all()
        backend.away = False
        world.clock.forward(59)
        await world.poll_all()
        assert backend.purged == []
        world.clock.forward(1)
        await world.poll_all()
        assert backend.purged == [0]

    asyncio.run(main())
