"""The connection to a Redis server: a client in a thread of its own, and scripts by their digests."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import json
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import uuid4

from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from pseudocron.backends.redis.loop_thread import LoopThread
from pseudocron.backends.redis.messages import ANSWER_WITHIN, READ_ONLY, explain, is_away, is_passing
from pseudocron.backends.redis.schema import SCRIPTS
from pseudocron.errors import BackendAwayError, BackendError, PseudoCronError, cause

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

Client: TypeAlias = Any
"""A `redis.asyncio.Redis` or `RedisCluster`, which have no type in common."""

CLOSE_WITHIN = 1.0
"""Seconds within which a server must close a connection."""

PAUSES = (0.05, 0.2, 0.5)
"""Seconds between the attempts of one call."""

AT_ONCE = 8
"""Calls at once: the server does one at a time, and a client that has no connection left for a call refuses it."""

ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)


class Targets(NamedTuple):
    """What a process may claim, as the scripts take it."""

    text: str = ""
    digest: str = ""


class Connection:
    """The client of one process, and its calls of the server.

    Args:
        make_client: Makes a client, which connects on the loop of our thread, and is closed with the connection.
        name: What to call the server in errors; without a password.
        prefix: Of all keys; its hash tag keeps them on one node.
        on_time: Is given the server's time with each answer, in microseconds since the epoch.
        clock: The time in microseconds since the epoch, if a simulation owns it; None for the server's own.
    """

    def __init__(
        self,
        make_client: Callable[[], Client],
        *,
        name: str,
        prefix: str,
        on_time: Callable[[int], None],
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.name = name
        self.prefix = prefix
        self._make_client = make_client
        self._on_time = on_time
        self._clock = clock
        self._thread = LoopThread(self._closed)
        self._client: Client = None
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._opening = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed since, by this process; does not block."""
        return self._thread.is_running

    def open(self) -> None:
        """Make a client, if there is none; blocks, but does not connect yet."""
        with self._opening:
            if not self._thread.is_running:
                with self._named():
                    self._client = self._make_client()
                self._turns = asyncio.Semaphore(_at_once(self._client))  # of the thread's loop, which is a new one
                self._thread.start(self._disconnect)
                _open.add(self)

    def close(self, users: Collection[object] = ()) -> None:
        """Disconnect, unless there are users by the time that it is this call's turn; blocks."""
        with self._opening:
            if not users:
                _open.discard(self)
                self._thread.stop()

    async def _disconnect(self) -> None:
        with suppress(Exception):  # it may be no client at all
            async with asyncio.timeout(CLOSE_WITHIN):
                for client in (self._client, *_sentinels(self._client)):
                    await client.aclose()

    def abandon(self) -> None:
        """Begin anew in a forked child, and leave alone what is the parent's.

        It must not be freed either: a connection that is closed here would be removed from the selector that both
        share, and the parent would wait for its answers in vain.
        """
        for inherited in (self._client, self._thread):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
        self._client, self._thread, self._opening = None, LoopThread(self._closed), threading.Lock()

    async def call(self, verb: str, targets: Targets = Targets(), **arguments: object) -> Any:  # noqa: B008 - immutable
        """Return what a verb of the scripts answers.

        Args:
            verb: The verb.
            targets: What the process may claim.
            arguments: The other arguments; None is left out.

        Raises:
            BackendError: There is no answer, or none that can be read.
        """
        return await self._thread.run(self._call(verb, targets, arguments))

    def call_blocking(self, verb: str, **arguments: object) -> Any:
        """Return what a verb of the scripts answers; blocks."""
        return self._thread.block(self._call(verb, Targets(), arguments))

    async def info(self, section: str) -> Mapping[str, Any]:
        """Return what the server, or one of a cluster, reports of itself."""
        answer = await self._thread.run(self._patiently(lambda client: client.info(section)))
        is_cluster = answer and all(isinstance(of, dict) for of in answer.values())
        return next(iter(answer.values())) if is_cluster else answer

    async def saves(self) -> str | None:
        """Return when the server takes snapshots; None if it keeps that secret, as hosted ones often do."""
        try:
            answer = await self._thread.run(self._patiently(lambda client: client.config_get("save")))
        except BackendError:
            return None
        return str(answer["save"]) if "save" in answer else None

    def _closed(self) -> BackendError:
        return BackendError(f"{self.name} is closed: open the backend first")

    async def _call(self, verb: str, targets: Targets, arguments: Mapping[str, object]) -> Any:
        given = {name: value for name, value in arguments.items() if value is not None}
        now = "" if self._clock is None else str(self._clock())
        # A call whose reply was lost is repeated; the token tells the server that it is the same one.
        words = (verb, now, uuid4().hex, json.dumps(given, ensure_ascii=False), *targets)
        answer = await self._patiently(lambda client: self._evaluate(client, words))
        try:
            time, text = answer
            self._on_time(int(time))
            return json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise BackendError(f"{self.name} holds what can't be read: {cause(error)}") from error

    async def _evaluate(self, client: Client, words: tuple[str, ...]) -> Any:
        script = SCRIPTS[words[0]]
        try:
            return await client.evalsha(script.digest, 1, self.prefix, *words)
        except NoScriptError:  # the server is new, or was restarted
            return await client.eval(script.body, 1, self.prefix, *words)

    async def _patiently(self, call: Callable[[Client], Any]) -> Any:
        try:
            with self._named():
                async with asyncio.timeout(ANSWER_WITHIN), self._turns:
                    return await self._insistently(call)
        except asyncio.CancelledError:  # only the end of the thread cancels
            raise self._closed() from None

    async def _insistently(self, call: Callable[[Client], Any]) -> Any:
        """Repeat a call after errors that may pass; not every client does that itself."""
        for pause in PAUSES:
            try:
                return await call(self._client)
            except ERRORS as error:
                if not is_passing(error):
                    raise
                if READ_ONLY in str(error):
                    # The primary has become a replica: a new connection may find the new one.
                    with suppress(*ERRORS, AttributeError):
                        await self._client.connection_pool.disconnect()
            await asyncio.sleep(pause)
        return await call(self._client)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the server in each of its errors."""
        try:
            yield
        except PseudoCronError:
            raise
        except Exception as error:  # the client is the user's, or has options of theirs: it may raise anything
            kind = BackendAwayError if is_away(error) else BackendError
            raise kind(f"{self.name} {explain(error)}") from error


_open: set[Connection] = set()  # held until they are closed, as only `close` may free their connections


def _close_all() -> None:
    """Close the connections at the end of a process that has closed none."""
    for connection in tuple(_open):
        connection.close()


def _abandon_all() -> None:
    for connection in _open:
        connection.abandon()
    _open.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_abandon_all)


def _at_once(client: Client) -> int:
    """Return how many calls a client can do at once: it refuses those for which it has no connection left."""
    allowed = getattr(getattr(client, "connection_pool", None), "max_connections", None)
    return min(AT_ONCE, allowed) if isinstance(allowed, int) and allowed > 0 else AT_ONCE


def _sentinels(client: Client) -> Sequence[Client]:
    """Return the sentinels that a client asks for the primary: it leaves them open when it is closed itself."""
    pool = getattr(client, "connection_pool", None)
    return getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())
