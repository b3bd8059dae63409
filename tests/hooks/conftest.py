"""Worlds on each of the stores, and what their hooks were told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest
from backends.worlds import STORES
from worker.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from pseudocron.crons import Crons

Play = Callable[["Crons", Callable[[World], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=STORES)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a story in a world on one of the stores."""

    def run(crons: Crons, story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        make: Any = STORES[request.param](tmp_path)
        world = World(crons, store=make)

        async def main() -> None:
            await world.backend.open()
            await story(world)
            await world.runner.drain(0)
            await world.backend.close()

        asyncio.run(main())

    return run
