"""What the host gives, handed in so that a test or a simulation can own it: time, sleep, chance, threads."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pseudocron.clock import monotonic
from pseudocron.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import timedelta

T = TypeVar("T")

_MOST_THREADS = 4


class Hop(Protocol):
    """Runs a blocking function off the event loop."""

    def __call__(self, fn: Callable[..., T], /, *args: object) -> Awaitable[T]:
        """Return or raise what `fn(*args)` does."""


class _Threads:
    """A few daemon threads: the interpreter waits at its exit for those of an executor, even for one that hangs."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()
        self._unfinished: set[asyncio.Future[Any]] = set()
        self._threads: list[threading.Thread] = []

    def call(self, fn: Callable[..., T], args: tuple[Any, ...]) -> asyncio.Future[T]:
        """Have it called; `RuntimeError` if there is no thread for it."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # No lock, which could hold up an event loop: several that come at once may start one thread too many.
        if len(self._unfinished) >= len(self._threads) < _MOST_THREADS:
            self._start_one()
        self._unfinished.add(future)
        self._calls.put((future, fn, args))
        return future

    def _start_one(self) -> None:
        thread = threading.Thread(target=self._work, name="pseudocron", daemon=True)
        try:
            # Tools that follow a request into the threads that it starts must not follow it into this one.
            Context().run(thread.start)
        except Exception:
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while True:
            self._answer(*self._calls.get())

    def _answer(self, future: asyncio.Future[T], fn: Callable[..., T], args: tuple[Any, ...]) -> None:
        loop = future.get_loop()
        wanted = not (future.cancelled() or loop.is_closed())
        value, error = _tried(fn, args) if wanted else (None, None)
        self._unfinished.discard(future)  # first, so that a call that follows finds this thread free
        with suppress(RuntimeError):  # the loop is closed, nobody waits any more
            loop.call_soon_threadsafe(_settle, future, value, error)


def _tried(fn: Callable[..., T], args: tuple[Any, ...]) -> tuple[T | None, BaseException | None]:
    try:
        return fn(*args), None
    except StopIteration:  # which no future can raise
        return None, RuntimeError("the function raised StopIteration")
    except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
        return None, error


def _settle(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


@cache
def _threads() -> _Threads:
    """Return our own few threads: the application's pool may be busy with the application."""
    return _Threads()


# A pool that has been forked believes in threads that are gone.
os.register_at_fork(after_in_child=_threads.cache_clear)


def hop(fn: Callable[..., T], /, *args: object) -> Awaitable[T]:
    """Run a short blocking function in one of our own threads."""
    return _threads().call(fn, args)


def spawn(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task that inherits no context variables from the request that happened to start it."""
    # Created inside of the context, the task copies it; not every task factory can be given one.
    return Context().run(asyncio.get_running_loop().create_task, coroutine)


def beat(seconds: float, work: Callable[[], bool], /) -> Callable[[], None]:
    """Do blocking work each time after so many seconds, in a plain thread; see `Pulse`."""
    stopped = threading.Event()

    def go_on() -> None:
        while not stopped.wait(seconds) and work():
            pass

    threading.Thread(target=go_on, name="pseudocron-leases", daemon=True).start()
    return stopped.set


def utcnow() -> datetime:
    """Return the present by the wall clock, aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """By what leases are kept alive: no event loop holds it up.

    It is apart from the clock of a `Host`: where a test lets hours pass by that, leases are not over for it.

    Args:
        monotonic: Seconds that never go back.
        beat: Does blocking work each time after so many seconds, until it says no or what `beat` returns is called.
    """

    monotonic: Callable[[], float] = monotonic
    beat: Callable[[float, Callable[[], bool]], Callable[[], None]] = beat


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Time, sleep, chance and threads, as this machine has them.

    Args:
        now: The wall clock, aware UTC.
        monotonic: Seconds that never go back.
        sleep: Waits for some seconds.
        random: A number in [0, 1).
        hop: Runs a blocking function off the event loop.
        pulse: By what leases are kept alive.
    """

    now: Callable[[], datetime] = utcnow
    monotonic: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    hop: Hop = hop
    pulse: Pulse = Pulse()

    def by(self, ahead: Callable[[], timedelta]) -> Host:
        """Return the same host with a clock that is ahead by `ahead()`, or behind if that is negative."""
        return replace(self, now=lambda: self.now() + ahead())
