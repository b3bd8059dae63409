"""The steps of coroutines, which are timed: a run that blocks its event loop is named, once in a process."""

from __future__ import annotations

from inspect import iscoroutine
from types import coroutine
from typing import TYPE_CHECKING, Any

from pseudocron.clock import monotonic
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    from pseudocron.context import RunContext

LONGEST = 1.0
"""Seconds that one step of a coroutine may take before it is named: each request waits as long."""

_named: set[str] = set()


@coroutine
def timed(awaitable: Awaitable[Any], run: RunContext) -> Generator[Any, Any, Any]:
    """Await what a run has returned, and log its name once if it blocks the event loop.

    Args:
        awaitable: A coroutine; anything else is awaited without timing.
        run: The run.
    """
    if not iscoroutine(awaitable):
        return (yield from awaitable.__await__())
    resume, value = awaitable.send, None
    while True:
        began = monotonic()
        try:
            waiting = resume(value)
        except StopIteration as stop:
            return stop.value
        finally:
            value = None  # an exception would be held by its own traceback
            if monotonic() - began > LONGEST:
                _name(run.name, monotonic() - began)
        try:
            value = yield waiting
            resume = awaitable.send
        except GeneratorExit:
            awaitable.close()
            raise
        except BaseException as error:  # noqa: BLE001 - the coroutine decides what becomes of it
            resume, value = awaitable.throw, error


def _name(name: str, seconds: float) -> None:
    if name not in _named:
        _named.add(name)
        fix = "make it a plain function, which runs in a thread, or await what it waits for"
        logger.warning("%s: blocked the event loop: %.1f s without an await; %s", name, seconds, fix)
