"""The way to a Redis server: a client in a thread of its own, and scripts by their digests."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import json
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from pseudocron.backends.redis.scripts import SCRIPTS
from pseudocron.backends.redis.thread import LoopThread
from pseudocron.backends.redis.trouble import PATIENCE, READ_ONLY, complaint, may_pass
from pseudocron.errors import BackendError, cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Client: TypeAlias = Any
"""A `redis.asyncio.Redis` or `RedisCluster`, which have no type in common."""

CLOSE_WITHIN = 1.0
"""Seconds that a server has to say farewell in."""

PAUSES = (0.05, 0.2, 0.5)
"""Seconds between the attempts of one call."""

AT_ONCE = 8
"""Calls at once: the server does one at a time, and a client that has no connection left for a call refuses it."""

TROUBLE = (RedisError, RedisClusterException, OSError, TimeoutError)


class Wire:
    """One process's client, and what it asks of the server.

    Args:
        make: Makes a client, which will connect on the loop of a thread of our own, and is closed with the wire.
        name: What to call the server in errors; without a password.
        prefix: Of all keys; its hash tag keeps them on one node.
        clock: The time in microseconds since the epoch, where a simulation owns it; None for the server's own.
    """

    def __init__(
        self, make: Callable[[], Client], *, name: str, prefix: str, clock: Callable[[], int] | None = None
    ) -> None:
        self.name = name
        self.prefix = prefix
        self._make = make
        self._clock = clock
        self._thread = LoopThread(self._closed)
        self._client: Client = None
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._opening = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed since, by this process; does not block."""
        return self._thread.alive

    def open(self) -> None:
        """Make a client, if there is none; blocks, but does not connect yet."""
        with self._opening:
            if not self._thread.alive:
                self._client = self._make()
                self._turns = asyncio.Semaphore(AT_ONCE)  # of the thread's loop, which is a new one
                self._thread.start(self._part)
                _open.add(self)

    def close(self) -> None:
        """Disconnect; blocks."""
        with self._opening:
            _open.discard(self)
            self._thread.stop()

    async def _part(self) -> None:
        with suppress(*TROUBLE):
            async with asyncio.timeout(CLOSE_WITHIN):
                for client in (self._client, *_sentinels(self._client)):
                    await client.aclose()

    def forsake(self) -> None:
        """In a forked child: begin anew, and never touch what is the parent's.

        Nor may it be freed: a connection that is closed here would be taken from the selector that both share, and
        the parent would wait for its answers in vain.
        """
        for inherited in (self._client, self._thread):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
        self._client, self._thread, self._opening = None, LoopThread(self._closed), threading.Lock()

    async def ask(self, part: str, verb: str, **arguments: object) -> Any:
        """What a verb of a script answers; `BackendError` if it does not."""
        return await self._thread.run(self._ask(part, verb, arguments))

    def ask_blocking(self, part: str, verb: str, **arguments: object) -> Any:
        """The same, for a thread that may wait."""
        return self._thread.block(self._ask(part, verb, arguments))

    async def info(self, section: str) -> Mapping[str, Any]:
        """What the server, or one of a cluster, tells of itself."""
        told = await self._thread.run(self._patiently(lambda client: client.info(section)))
        return next(iter(told.values())) if told and all(isinstance(of, dict) for of in told.values()) else told

    async def saves(self) -> str | None:
        """When the server takes snapshots; None if it does not tell, as those that are rented often don't."""
        try:
            told = await self._thread.run(self._patiently(lambda client: client.config_get("save")))
        except BackendError:
            return None
        return str(told["save"]) if "save" in told else None

    def _closed(self) -> BackendError:
        return BackendError(f"{self.name} is closed: open the backend first")

    async def _ask(self, part: str, verb: str, arguments: Mapping[str, object]) -> Any:
        given = {name: value for name, value in arguments.items() if value is not None}
        now = "" if self._clock is None else str(self._clock())
        # The client repeats a call whose reply was lost; the token tells the server that it is the same one.
        words = (verb, now, uuid4().hex, json.dumps(given, ensure_ascii=False))
        answer = await self._patiently(lambda client: self._evaluate(client, part, words))
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise BackendError(f"{self.name} holds what can't be read: {cause(error)}") from error

    async def _evaluate(self, client: Client, part: str, words: tuple[str, ...]) -> Any:
        code = SCRIPTS[part]
        try:
            return await client.evalsha(code.digest, 1, self.prefix, *words)
        except NoScriptError:  # the server is new, or was restarted
            return await client.eval(code.body, 1, self.prefix, *words)

    async def _patiently(self, question: Callable[[Client], Any]) -> Any:
        try:
            with self._named():
                async with asyncio.timeout(PATIENCE), self._turns:
                    return await self._insistently(question)
        except asyncio.CancelledError:  # by nobody but the end of the thread
            raise self._closed() from None

    async def _insistently(self, question: Callable[[Client], Any]) -> Any:
        """Ask again after what may pass; not every client does, and the calls that change something bear it."""
        for pause in PAUSES:
            try:
                return await question(self._client)
            except TROUBLE as error:
                if not may_pass(error):
                    raise
                if READ_ONLY in str(error):
                    # The primary has become a replica: what connects anew may find the new one.
                    with suppress(*TROUBLE, AttributeError):
                        await self._client.connection_pool.disconnect()
            await asyncio.sleep(pause)
        return await question(self._client)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the server in whatever goes wrong with it."""
        try:
            yield
        except TROUBLE as error:
            raise BackendError(f"{self.name} {complaint(error)}") from error


_open: set[Wire] = set()  # held until they are closed, for nobody else may free their connections


def _close_all() -> None:
    """At the end of a process that has closed nothing."""
    for wire in tuple(_open):
        wire.close()


def _forsake_all() -> None:
    for wire in _open:
        wire.forsake()
    _open.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forsake_all)


def _sentinels(client: Client) -> Sequence[Client]:
    """Whom a client asks for the primary, where it does: it leaves them open when it is closed itself."""
    pool = getattr(client, "connection_pool", None)
    return getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())
