"""What is asked of a Redis server before jobs are entrusted to it: that it can keep them, and that it will."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pseudocron.backends.redis.wire import Wire

OLDEST = (6, 2)
"""The first version whose scripts may read the clock and then write, and that has all commands of ours."""

VERSION = 1
"""Of what is stored; what a newer one has stored is left alone."""


async def trust(wire: Wire) -> str:
    """See that the server can be used; the time by its clock, in microseconds since the epoch.

    Raises:
        BackendError: It can't be reached, is too old, or what is stored there is of a newer version.
    """
    said = await _info(wire, "server")
    found = str(said.get("redis_version", "")).split(".")[:2]
    if len(found) == 2 and all(part.isdigit() for part in found) and tuple(map(int, found)) < OLDEST:
        raise BackendError(f"{wire.name} is version {'.'.join(found)}, must be 6.2 or newer, or Valkey: upgrade it")
    held = await wire.ask("slots", "version", version=VERSION)
    version = str(held["version"])
    if version not in map(str, range(VERSION + 1)):
        raise BackendError(
            f"{wire.name} holds data of version {version[:20]!r}, this pseudocron knows {VERSION}: upgrade pseudocron"
        )
    return str(held["now"])


async def threats(wire: Wire) -> list[str]:
    """What in the settings of the server may lose crons and jobs, each with the mend."""
    memory, persistence = await asyncio.gather(_info(wire, "memory"), _info(wire, "persistence"))
    return [*_eviction(wire, memory), *_forgetting(wire, persistence, await wire.saves())]


def _eviction(wire: Wire, memory: Mapping[str, Any]) -> Iterator[str]:
    policy = str(memory.get("maxmemory_policy", ""))
    if policy.startswith("allkeys") and int(memory.get("maxmemory", 0)):
        yield (
            f"{wire.name} may throw away crons and jobs when its memory is full (maxmemory-policy is {policy}): "
            "set maxmemory-policy to noeviction, or name a server that is no cache"
        )


def _forgetting(wire: Wire, persistence: Mapping[str, Any], saves: str | None) -> Iterator[str]:
    if saves == "" and not int(persistence.get("aof_enabled", 1)):
        yield (
            f"{wire.name} forgets everything when it is restarted: jobs are only as durable as the Redis they are in, "
            "set appendonly to yes"
        )


async def _info(wire: Wire, section: str) -> Mapping[str, Any]:
    """What the server tells of itself; nothing, where it is not allowed to."""
    try:
        told = await wire.info(section)
    except BackendError as error:
        if "does not allow" in str(error):
            return {}
        raise
    return told
