"""A thread with an event loop of its own, in which the client of a server lives."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

T = TypeVar("T")
S = TypeVar("S")


class LoopThread:
    """Runs coroutines in its thread for callers in any other; it lives from `start` to `stop`.

    An application's event loop may be blocked by its own code while leases are to be renewed, comes and goes with test
    clients, and is there for one call only where a synchronous program defers.

    Args:
        not_running: Makes the error for a caller while the thread does not live.
    """

    def __init__(self, not_running: Callable[[], Exception]) -> None:
        self._not_running = not_running
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._loop is not None

    def start(self, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the thread; what `at_end` makes is the last that it runs."""
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run, args=(loop, at_end), name="pseudocron-redis", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; blocks until it has ended. Calls that are not done are cancelled."""
        with self._lock:  # a call after the end would never be answered
            loop, self._loop = self._loop, None
        thread, self._thread = self._thread, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine. It continues if the caller is cancelled: it may have acted already."""
        # One future and one callback each way: `wrap_future` and `shield` take three.
        caller = asyncio.get_running_loop()
        answer: asyncio.Future[T] = caller.create_future()
        self._submit(coroutine, lambda loop: loop.call_soon_threadsafe(_begin, coroutine, caller, answer))
        return await answer

    def block(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine; blocks."""
        future: Future[T] = self._submit(coroutine, partial(asyncio.run_coroutine_threadsafe, coroutine))
        return future.result()

    def _submit(self, coroutine: Coroutine[Any, Any, T], begin: Callable[[asyncio.AbstractEventLoop], S]) -> S:
        with self._lock:
            if self._loop is None:
                coroutine.close()
                raise self._not_running()
            return begin(self._loop)


def _begin(coroutine: Coroutine[Any, Any, T], caller: asyncio.AbstractEventLoop, answer: asyncio.Future[T]) -> None:
    task = asyncio.get_running_loop().create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(partial(_hand_over, caller, answer))


def _hand_over(caller: asyncio.AbstractEventLoop, answer: asyncio.Future[T], task: asyncio.Task[T]) -> None:
    _tasks.discard(task)
    with suppress(RuntimeError):  # the loop of the caller is closed
        caller.call_soon_threadsafe(_settle, answer, task)


def _settle(answer: asyncio.Future[T], task: asyncio.Task[T]) -> None:
    error = None if task.cancelled() else task.exception()
    if answer.done():  # the caller was cancelled
        return
    if task.cancelled():
        answer.cancel()
    elif error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def _run(loop: asyncio.AbstractEventLoop, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_end_tasks())
        loop.run_until_complete(at_end())
    finally:
        loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_tasks: set[asyncio.Task[Any]] = set()  # an event loop holds its tasks only weakly
