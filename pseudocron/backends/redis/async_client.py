"""The calls of a `redis.asyncio` client, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from pseudocron.backends.redis.calls import CLOSE_WITHIN, PAUSES, Calls
from pseudocron.backends.redis.loop_thread import LoopThread
from pseudocron.backends.redis.messages import is_passing, is_read_only

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pseudocron.backends.redis.calls import Request

Client: TypeAlias = Any
"""A `redis.asyncio.Redis` or `RedisCluster`, which have no type in common."""

AT_ONCE = 8
"""Calls at once: the server does one at a time, and a client that has no connection left for a call refuses it."""

ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)


class AsyncClient(Calls):
    """The calls of a client that a user makes: of sentinels, of a cluster.

    Args:
        client: Connects on the loop of our thread, and is closed with it.
        closed: Makes the error for a caller while the thread does not live.
    """

    def __init__(self, client: Client, closed: Callable[[], Exception]) -> None:
        self._client = client
        self._closed = closed
        self._thread = LoopThread(closed)
        self._turns = asyncio.Semaphore(_at_once(client))

    @property
    def is_running(self) -> bool:
        """See `Calls.is_running`."""
        return self._thread.is_running

    def start(self) -> None:
        """See `Calls.start`."""
        self._thread.start(self._disconnect)

    def stop(self) -> None:
        """See `Calls.stop`."""
        self._thread.stop()

    async def run(self, request: Request, within: float) -> Any:
        """See `Calls.run`."""
        return await self._thread.run(self._answer(request, within))

    def block(self, request: Request, within: float) -> Any:
        """See `Calls.block`."""
        return self._thread.block(self._answer(request, within))

    async def _disconnect(self) -> None:
        with suppress(Exception):  # it may be no client at all
            async with asyncio.timeout(CLOSE_WITHIN):
                for client in (self._client, *_sentinels(self._client)):
                    await client.aclose()

    async def _answer(self, request: Request, within: float) -> Any:
        try:
            async with asyncio.timeout(within), self._turns:
                return request.read(await self._insistently(request))
        except asyncio.CancelledError:  # only the end of the thread cancels
            return self._closed()
        except Exception as error:  # noqa: BLE001 - it is the caller's, who names the server
            return error

    async def _insistently(self, request: Request) -> Any:
        """Repeat a call after errors that may pass; not every client does that itself."""
        for pause in PAUSES:
            try:
                return await self._ask(request)
            except ERRORS as error:
                if not is_passing(error):
                    raise
                if is_read_only(error):
                    # The primary has become a replica: a new connection may find the new one.
                    with suppress(*ERRORS, AttributeError):
                        await self._client.connection_pool.disconnect()
            await asyncio.sleep(pause)
        return await self._ask(request)

    async def _ask(self, request: Request) -> Any:
        try:
            return await self._client.execute_command(*request.words)
        except NoScriptError:  # the server is new, or was restarted
            return await self._client.execute_command(*request.instead)


def _at_once(client: Client) -> int:
    """Return how many calls a client can do at once: it refuses those for which it has no connection left."""
    allowed = getattr(getattr(client, "connection_pool", None), "max_connections", None)
    return min(AT_ONCE, allowed) if isinstance(allowed, int) and allowed > 0 else AT_ONCE


def _sentinels(client: Client) -> Sequence[Client]:
    """Return the sentinels that a client asks for the primary: it leaves them open when it is closed itself."""
    pool = getattr(client, "connection_pool", None)
    return getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())
