"""An event loop in a thread of its own, so that one connection serves all threads and event loops of a process."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

T = TypeVar("T")


class LoopThread:
    """Runs coroutines in its thread, whoever asks for them; it lives from `start` to `stop`.

    An application's loop may be blocked by its own code while leases are to be renewed, comes and goes with test
    clients, and is there for one call only where a synchronous program defers.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        _all.add(self)

    @property
    def alive(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._loop is not None

    def start(self) -> None:
        """Start the thread."""
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run, args=(loop,), name="pseudocron-redis", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; blocks until it has ended."""
        loop, self._loop = self._loop, None
        thread, self._thread = self._thread, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns. It goes on when its caller is cancelled: what is asked may be done already."""
        return await asyncio.shield(asyncio.wrap_future(self._submit(coroutine)))

    def block(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The same, for a thread that may wait."""
        return self._submit(coroutine).result()

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        assert self._loop is not None  # noqa: S101  whoever asks has seen that it is alive
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def forsake(self) -> None:
        """In a forked child the thread is gone, and what it held belongs to the parent."""
        self._loop = self._thread = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_end_tasks())
    finally:
        loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_all: WeakSet[LoopThread] = WeakSet()


def _forsake_all() -> None:
    for thread in _all:
        thread.forsake()


os.register_at_fork(after_in_child=_forsake_all)
