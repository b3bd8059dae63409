"""Coroutines of runs, each in a task of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pseudocron.context import running
from pseudocron.executors.blocking import timed
from pseudocron.executors.ended import Done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pseudocron.context import RunContext

held: set[asyncio.Future[Any]] = set()
"""Tasks for which no run waits any more: an event loop holds its tasks only weakly."""


class TaskWork:
    """A task that has not ended; on a loop that is closed it runs no further.

    Args:
        task: The task.
    """

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def is_over(self) -> bool:
        """Return whether the code has ended. Any thread may ask, also when the event loop is closed."""
        return self._task.done() or self._task.get_loop().is_closed()

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call a function on the event loop when the task has ended."""
        self._task.add_done_callback(lambda _: callback())


async def done(
    run: RunContext, function: Callable[..., Awaitable[Any]], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Done:
    """Await what a function returns, as the code of a run; whatever it raises is the failure of the run."""
    running.set(run)
    # A task that ends with SystemExit or KeyboardInterrupt would stop the event loop, and with it the server.
    try:
        return Done(await timed(function(*args, **kwargs), run))
    except BaseException as error:  # noqa: BLE001 - as above
        return Done(error=error)


def wake(waiter: asyncio.Future[None], _: object) -> None:
    """Set a future to None unless it is done; as the callback of a task."""
    if not waiter.done():
        waiter.set_result(None)


def keep(task: asyncio.Task[Any]) -> None:
    """Keep a task until it has ended, though nothing waits for it."""
    held.add(task)
    task.add_done_callback(held.discard)


async def cancel(task: asyncio.Task[Any], grace: float) -> None:
    """Cancel a task and wait for its end, at most `grace` seconds."""
    keep(task)  # it may resist, and then nothing waits for it any more
    task.cancel()
    await asyncio.wait({task}, timeout=grace)
