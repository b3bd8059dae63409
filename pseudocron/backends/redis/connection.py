"""The connection to a Redis server: scripts by their digests, and errors with the name of the server."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import Redis, RedisCluster

from pseudocron.backends.redis.async_client import AsyncClient
from pseudocron.backends.redis.calls import Request
from pseudocron.backends.redis.messages import ANSWER_WITHIN, explain, is_away
from pseudocron.backends.redis.pipeline import Pipeline
from pseudocron.backends.redis.schema import SCRIPTS
from pseudocron.errors import BackendAwayError, BackendError, PseudoCronError, cause

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pseudocron.backends.redis.async_client import Client
    from pseudocron.backends.redis.calls import Calls


class Targets(NamedTuple):
    """What a process may claim, as the scripts take it."""

    text: str = ""
    digest: str = ""


class Connection:
    """The client of one process, and its calls of the server.

    Args:
        make_client: Makes a client, which is closed with the connection. A plain `redis.Redis` only knows how to
            connect and speak: all calls go through one connection. Any other connects on an event loop of our thread.
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
        self._calls: Calls | None = None
        self._opening = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed since, by this process; does not block."""
        return self._calls is not None

    def open(self) -> None:
        """Make a client, if there is none; blocks, but does not connect yet."""
        with self._opening:
            if self._calls is None:
                try:
                    calls = self._calls_of(self._make_client())
                except Exception as error:
                    raise self._named(error) from error
                calls.start()
                self._calls = calls
                _open.add(self)

    def _calls_of(self, client: Client) -> Calls:
        if isinstance(client, RedisCluster):
            raise BackendError(f"{self.name} is a redis.RedisCluster: return one of redis.asyncio.cluster")
        return Pipeline(client, self._closed) if isinstance(client, Redis) else AsyncClient(client, self._closed)

    def close(self, users: Collection[object] = ()) -> None:
        """Disconnect, unless there are users by the time that it is this call's turn; blocks."""
        with self._opening:
            if not users and (calls := self._calls) is not None:
                self._calls = None
                _open.discard(self)
                calls.stop()

    def abandon(self) -> None:
        """Begin anew in a forked child, and leave alone what is the parent's.

        It must not be freed either: a connection that is closed here would be removed from the selector that both
        share, and the parent would wait for its answers in vain.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._calls))
        self._calls, self._opening = None, threading.Lock()

    async def call(self, verb: str, targets: Targets = Targets(), **arguments: object) -> Any:  # noqa: B008 - immutable
        """Return what a verb of the scripts answers.

        Args:
            verb: The verb.
            targets: What the process may claim.
            arguments: The other arguments; None is left out.

        Raises:
            BackendError: There is no answer, or none that can be read.
        """
        return await self._ask(self._request(verb, targets, arguments))

    @property
    def is_pipelined(self) -> bool:
        """Whether `ask` can be called; else the client is one of the user's."""
        return isinstance(self._calls, Pipeline)

    def ask(self, verb: str, answered: Callable[[Any], None], **arguments: object) -> None:
        """Send what a verb of the scripts is asked, from an event loop on which it is answered.

        Args:
            verb: The verb.
            answered: Is called with what the verb answers, or with the `BackendError`.
            arguments: The other arguments.

        Raises:
            BackendError: It is closed.
        """
        calls = self._calls
        if not isinstance(calls, Pipeline):
            raise self._closed()
        try:
            request = self._request(verb, Targets(), arguments)
            calls.ask(request, ANSWER_WITHIN, lambda answer: answered(self._or_error(answer)))
        except Exception as error:
            raise self._named(error) from error

    def call_blocking(self, verb: str, **arguments: object) -> Any:
        """Return what a verb of the scripts answers; blocks."""
        if (calls := self._calls) is None:
            raise self._closed()
        try:
            answer = calls.block(self._request(verb, Targets(), arguments), ANSWER_WITHIN)
        except Exception as error:
            raise self._named(error) from error
        return self._checked(answer)

    async def info(self, section: str) -> Mapping[str, Any]:
        """Return what the server, or one of a cluster, reports of itself."""
        answer = await self._ask(Request(("INFO", section)))
        is_cluster = answer and all(isinstance(of, dict) for of in answer.values())
        return next(iter(answer.values())) if is_cluster else answer

    async def saves(self) -> str | None:
        """Return when the server takes snapshots; None if it keeps that secret, as hosted ones often do."""
        try:
            answer = await self._ask(Request(("CONFIG GET", "save")))
        except BackendError:
            return None
        return str(answer["save"]) if "save" in answer else None

    async def _ask(self, request: Request) -> Any:
        if (calls := self._calls) is None:
            raise self._closed()
        try:
            answer = await calls.run(request, ANSWER_WITHIN)
        except Exception as error:
            raise self._named(error) from error
        return self._checked(answer)

    def _request(self, verb: str, targets: Targets, arguments: Mapping[str, object]) -> Request:
        given = {name: value for name, value in arguments.items() if value is not None}
        now = "" if self._clock is None else str(self._clock())
        # A call whose reply was lost is repeated; the token tells the server that it is the same one.
        words = (1, self.prefix, verb, now, os.urandom(16).hex(), _encode(given), *targets)
        script = SCRIPTS[verb]
        return Request(("EVALSHA", script.digest, *words), ("EVAL", script.body, *words), self._read)

    def _read(self, answer: Any) -> Any:
        try:
            time, text = answer
            self._on_time(int(time))
            # Others may have written what is no UTF-8 into one record, and the answer tells of many.
            return json.loads(text.decode(errors="replace") if isinstance(text, bytes) else text)
        except (TypeError, ValueError, RecursionError) as error:
            raise BackendError(f"{self.name} holds what can't be read: {cause(error)}") from error

    def _checked(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise self._named(answer) from answer.__cause__ or answer
        return answer

    def _or_error(self, answer: Any) -> Any:
        return self._named(answer) if isinstance(answer, Exception) else answer

    def _named(self, error: Exception) -> PseudoCronError:
        """Return the error that names the server. The client may be the user's, and raise anything."""
        if isinstance(error, PseudoCronError):
            return error
        kind = BackendAwayError if is_away(error) else BackendError
        return kind(f"{self.name} {explain(error)}")

    def _closed(self) -> BackendError:
        return BackendError(f"{self.name} is closed: open the backend first")


_encode = json.JSONEncoder(ensure_ascii=False).encode  # `dumps` would make one for each call

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
