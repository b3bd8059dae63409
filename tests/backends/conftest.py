"""One fixture, with which every test of the contract runs on every backend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backends.desk import Desk
from backends.worlds import STORES, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with asyncio.Runner() as runner:
        made = World(make=STORES[request.param](tmp_path), runner=runner)
        made.another()
        made.another()
        yield made
        for backend in made.backends:
            made.do(backend.close())


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world, lawful=True)
