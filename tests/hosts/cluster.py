"""A Redis Cluster of three nodes, and a primary with a replica and a sentinel, for real."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis_server import FORGETFUL, Server, free_port
from support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLOTS = 16384
BUS = 10_000
"""A node talks to the others on the port so far above its own."""


def node_port() -> int:
    while (port := free_port()) + BUS >= 2**16:
        pass
    return port


@contextmanager
def cluster(folder: Path, *, nodes: int = 3) -> Iterator[list[Server]]:
    """Nodes that share the hash slots evenly."""
    options = (*FORGETFUL, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    servers = [Server(_made(folder / f"node-{number}"), options, node_port()) for number in range(nodes)]
    try:
        for number, server in enumerate(servers):
            server.start()
            server.do("CLUSTER", "ADDSLOTS", *range(number * SLOTS // nodes, (number + 1) * SLOTS // nodes))
            server.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            server.do("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        wait_until(lambda: all(_agrees(server, nodes) for server in servers), 20)
        yield servers
    finally:
        for server in servers:
            server.stop()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _agrees(server: Server, nodes: int) -> bool:
    told = server.do("CLUSTER", "INFO")
    said = told if isinstance(told, dict) else dict(line.split(":") for line in told.split())
    return said["cluster_state"] == "ok" and int(said["cluster_known_nodes"]) == nodes


@contextmanager
def sentinel(folder: Path) -> Iterator[tuple[Server, Server, Server]]:
    """A primary, its replica, and a sentinel that puts the one into the place of the other as `mymaster`."""
    primary = Server(_made(folder / "primary"))
    replica = Server(_made(folder / "replica"), (*FORGETFUL, "--replicaof", "127.0.0.1", str(primary.port)))
    words = f"monitor mymaster 127.0.0.1 {primary.port} 1", "down-after-milliseconds mymaster 500"
    file = _made(folder / "sentinel") / "sentinel.conf"
    file.write_text("".join(f"sentinel {word}\n" for word in words))
    watcher = Server(file.parent, ("--sentinel",), file=(str(file),))
    servers = (primary, replica, watcher)
    try:
        for server in servers:
            server.start()
        wait_until(lambda: watcher.do("SENTINEL", "REPLICAS", "mymaster"), 20)
        yield servers
    finally:
        for server in servers:
            server.stop()
