"""An event loop whose clock leaps over every wait, so that a test of ten seconds takes none and may be exact."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

from pseudocron.host import _Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

TOO_LONG = 7200.0
"""Seconds by the leaping clock after which a test that does not end is failed."""


class _Selector(selectors.DefaultSelector):
    """Waits in no time, unless a thread is at work: its end can't be brought forward."""

    leapt = 0.0
    at_work = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or self.at_work:
            return super().select(timeout)
        self.leapt += timeout
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps: when nothing is left to do, its clock moves to the next timer."""

    def __init__(self) -> None:
        self._waits = _Selector()
        super().__init__(self._waits)

    def time(self) -> float:
        return super().time() + self._waits.leapt

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        return self.wait_for(super().run_in_executor(executor, func, *args))

    def wait_for(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """Let the clock not leap before a thread has answered."""
        self._waits.at_work += 1
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _: asyncio.Future[Any]) -> None:
        self._waits.at_work -= 1


def leap(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of this kind."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner, patch.object(_Threads, "call", _call):
        return runner.run(_bounded(main))


_plain_call = _Threads.call


def _call(threads: _Threads, fn: Callable[..., T], args: tuple[Any, ...]) -> asyncio.Future[T]:
    future, loop = _plain_call(threads, fn, args), asyncio.get_running_loop()
    return loop.wait_for(future) if isinstance(loop, LeapingLoop) else future


async def _bounded(main: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(TOO_LONG):
        return await main
