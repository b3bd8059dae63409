"""The checks of a Redis server before jobs are entrusted to it: that it can keep them, and that it will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pseudocron.backends.redis.schema import VERSION
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pseudocron.backends.redis.connection import Connection

OLDEST = (6, 2)
"""The first version whose scripts may read the clock and then write, and that has all commands of ours."""


async def check_server(connection: Connection) -> None:
    """Check that the server can be used, and store the version if nothing is stored.

    Raises:
        BackendError: The server can't be reached, is too old, or holds data of another version.
    """
    about = await _info(connection, "server")
    found = str(about.get("redis_version", "")).split(".")[:2]
    if len(found) == 2 and all(part.isdigit() for part in found) and tuple(map(int, found)) < OLDEST:
        raise BackendError(
            f"{connection.name} is version {'.'.join(found)}, must be 6.2 or newer, or Valkey: upgrade it"
        )
    version = str(await connection.call("version", version=VERSION))
    if version != str(VERSION):
        is_old = version.isdigit() and int(version) < VERSION
        fix = "give the application another name with app=" if is_old else "upgrade pseudocron"
        raise BackendError(
            f"{connection.name} holds data of version {version[:20]!r}, this pseudocron knows {VERSION}: {fix}"
        )


async def dangers(connection: Connection) -> list[str]:
    """Return what in the settings of the server may lose crons and jobs, each with the fix."""
    # One after the other: a task that a closing event loop never began would be told as "never awaited".
    memory, persistence = await _info(connection, "memory"), await _info(connection, "persistence")
    return [*_eviction(connection, memory), *_forgetting(connection, persistence, await connection.saves())]


def _eviction(connection: Connection, memory: Mapping[str, Any]) -> Iterator[str]:
    policy = str(memory.get("maxmemory_policy", ""))
    if policy.startswith("allkeys") and int(memory.get("maxmemory", 0)):
        yield (
            f"{connection.name} may throw away crons and jobs when its memory is full (maxmemory-policy is {policy}): "
            "set maxmemory-policy to noeviction, or name a server that is no cache"
        )


def _forgetting(connection: Connection, persistence: Mapping[str, Any], saves: str | None) -> Iterator[str]:
    if saves == "" and not int(persistence.get("aof_enabled", 1)):
        yield (
            f"{connection.name} forgets everything when it is restarted: jobs are only as durable as the Redis they "
            "are in, set appendonly to yes"
        )


async def _info(connection: Connection, section: str) -> Mapping[str, Any]:
    """Return what the server reports of itself; nothing, if we are not allowed to read it."""
    try:
        return await connection.info(section)
    except BackendError as error:
        if "does not allow" in str(error):
            return {}
        raise
