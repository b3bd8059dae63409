"""A Redis server of a test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis_server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()
