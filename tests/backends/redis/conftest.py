"""A Redis server that a test may harm, and one that it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from redis_server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server with the options given."""
    servers: list[Server] = []

    def run(*options: str) -> Server:
        folder = tmp_path / f"redis{len(servers)}"
        folder.mkdir()
        server = Server(folder, options or ("--save", ""))
        server.start()
        servers.append(server)
        return server

    yield run
    for server in servers:
        server.stop()


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """One of the test's own."""
    return start_server()


@pytest.fixture
def app() -> str:
    """The name of an application that no other test has."""
    return uuid4().hex
