"""Pieces of a user's code on their way: tasks of the event loop, and daemon threads."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

held: set[asyncio.Future[Any]] = set()
"""Tasks for which no run waits any more: an event loop holds its tasks only weakly."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a piece of code returned or raised."""

    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of code on its way.

    Args:
        future: Done on the event loop when the code has ended.
        is_over: Whether the code has ended, for any thread, also when the event loop is closed.
    """

    future: asyncio.Future[Any]
    is_over: Callable[[], bool]


def work_of(task: asyncio.Task[Done]) -> Work:
    """Return a task as a piece of code; on a loop that is closed it runs no further."""
    loop = task.get_loop()
    return Work(task, lambda: task.done() or loop.is_closed())


def in_thread(call: Callable[[], Any], *, name: str) -> Work:
    """Start a daemon thread whose future has the `Done`; `RuntimeError` if there can be no further thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Done] = loop.create_future()
    over = threading.Event()

    def run() -> None:
        done = settled(call)
        over.set()
        with suppress(RuntimeError):  # the loop is closed, nobody waits any more
            loop.call_soon_threadsafe(future.set_result, done)

    threading.Thread(target=run, name=name, daemon=True).start()
    return Work(future, over.is_set)


def settled(call: Callable[[], Any]) -> Done:
    """Call a function; whatever it raises is its own failure."""
    try:
        return Done(call())
    except BaseException as error:  # noqa: BLE001 - SystemExit too
        return Done(error=error)


async def settled_async(call: Callable[[], Awaitable[Any]]) -> Done:
    """Await what a function returns; whatever that raises is its own failure."""
    # A task that ends with SystemExit or KeyboardInterrupt would stop the event loop, and with it the server.
    try:
        return Done(await call())
    except BaseException as error:  # noqa: BLE001 - as above
        return Done(error=error)


async def wait(work: asyncio.Future[Any], seconds: float | None) -> None:
    """Wait until it is done or the seconds are over: `asyncio.wait` for one, which is half of what a run costs."""
    waiter = work.get_loop().create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = None if seconds is None else work.get_loop().call_later(seconds, wake)
    work.add_done_callback(wake)
    try:
        await waiter
    finally:
        work.remove_done_callback(wake)
        if timer:
            timer.cancel()


async def cancel(task: asyncio.Task[Any], grace: float) -> None:
    """Cancel a task and wait for its end, at most so many seconds."""
    held.add(task)  # it may resist, and then nobody waits for it any more
    task.add_done_callback(held.discard)
    task.cancel()
    await asyncio.wait({task}, timeout=grace)
