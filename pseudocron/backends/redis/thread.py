"""An event loop in a thread of its own, so that one connection serves all threads and event loops of a process."""

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
    """Runs coroutines in its thread, whoever asks for them; it lives from `start` to `stop`.

    An application's loop may be blocked by its own code while leases are to be renewed, comes and goes with test
    clients, and is there for one call only where a synchronous program defers.

    Args:
        over: The error for those who ask when it does not live.
    """

    def __init__(self, over: Callable[[], Exception]) -> None:
        self._over = over
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._loop is not None

    def start(self, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the thread; what `farewell` makes is the last that it runs."""
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run, args=(loop, farewell), name="pseudocron-redis", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; blocks until it has ended. What it was asked for is cancelled."""
        with self._turn:  # what is asked for after the end would never be answered
            loop, self._loop = self._loop, None
        thread, self._thread = self._thread, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns. It goes on when its caller is cancelled: what is asked may be done already."""
        # One future and one callback each way: `wrap_future` and `shield` take three.
        asker = asyncio.get_running_loop()
        answer: asyncio.Future[T] = asker.create_future()
        self._submit(coroutine, lambda loop: loop.call_soon_threadsafe(_begin, coroutine, asker, answer))
        return await answer

    def block(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The same, for a thread that may wait."""
        future: Future[T] = self._submit(coroutine, partial(asyncio.run_coroutine_threadsafe, coroutine))
        return future.result()

    def _submit(self, coroutine: Coroutine[Any, Any, T], begin: Callable[[asyncio.AbstractEventLoop], S]) -> S:
        with self._turn:
            if self._loop is None:
                coroutine.close()
                raise self._over()
            return begin(self._loop)


def _begin(coroutine: Coroutine[Any, Any, T], asker: asyncio.AbstractEventLoop, answer: asyncio.Future[T]) -> None:
    task = asyncio.get_running_loop().create_task(coroutine)
    _held.add(task)
    task.add_done_callback(partial(_hand_over, asker, answer))


def _hand_over(asker: asyncio.AbstractEventLoop, answer: asyncio.Future[T], task: asyncio.Task[T]) -> None:
    _held.discard(task)
    with suppress(RuntimeError):  # the loop of who asked is closed
        asker.call_soon_threadsafe(_settle, answer, task)


def _settle(answer: asyncio.Future[T], task: asyncio.Task[T]) -> None:
    error = None if task.cancelled() else task.exception()
    if answer.done():  # who asked was cancelled
        return
    if task.cancelled():
        answer.cancel()
    elif error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def _run(loop: asyncio.AbstractEventLoop, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_end_tasks())
        loop.run_until_complete(farewell())
    finally:
        loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_held: set[asyncio.Task[Any]] = set()  # an event loop holds its tasks only weakly
