"""A dashboard over a store of each kind, in which something has happened."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from redis_server import shared

from dashboard.house import House

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House.open(f"file:{tmp_path / 'store'}") as house:
        yield house


@pytest.fixture(params=["memory", "file", "redis"])
def each_house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    store = {"memory": "memory:", "file": f"file:{tmp_path / 'store'}"}.get(request.param) or shared().url
    with House.open(store, app=f"a{uuid4().hex}") as house:
        yield house
