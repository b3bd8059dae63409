"""Worlds on each of the stores, and what their hooks were told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from redis_server import shared
from worker.world import World

from pseudocron.backends.file.backend import File, Memory
from pseudocron.backends.redis.backend import Redis
from pseudocron.backends.redis.client import from_url
from pseudocron.backends.redis.codec import micros

if TYPE_CHECKING:
    from pathlib import Path

    from pseudocron.backends.contract import Backend
    from pseudocron.crons import Crons
    from pseudocron.host import Host


def _redis(_: Path) -> Callable[..., Backend]:
    app = f"a{uuid4().hex}"

    def make(host: Host) -> Backend:
        return Redis(from_url(shared().url), name="Redis", app=app, host=host, clock=lambda: micros(host.now()))

    return make


STORES: dict[str, Callable[[Path], Callable[..., Backend]]] = {
    "memory": lambda _: Memory,
    "file": lambda folder: partial(File, folder / "store"),
    "redis": _redis,
}
"""What makes a store of each kind, on the clock of a world."""

Play = Callable[["Crons", Callable[[World], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=STORES)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a story in a world on one of the stores."""

    def run(crons: Crons, story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        world = World(crons, store=STORES[request.param](tmp_path))

        async def main() -> None:
            await world.backend.open()
            await story(world)
            await world.runs.drain(0)
            await world.backend.close()

        asyncio.run(main())

    return run
