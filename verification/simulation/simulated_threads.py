"""Threads of plain functions that take simulated time: they go on while the event loop is blocked, and can't be killed."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pseudocron import executors
from pseudocron.executors.work import Done, Work, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from verification.simulation.event_loops import Loop


@dataclass(frozen=True, slots=True)
class Going:
    """What a plain function of the simulation returns: it is not over yet.

    Args:
        seconds: For how long it goes on.
        end: What it does at its end.
    """

    seconds: float
    end: Callable[[], None]


def _in_thread(call: Callable[[], Any], *, name: str) -> Work:
    """Take the place of `executors.work.in_thread`."""
    loop: Any = asyncio.get_running_loop()
    threads: Loop = loop.threads
    future: asyncio.Future[Done] = loop.create_future()
    is_over = False

    def end(done: Done) -> None:
        nonlocal is_over
        is_over = True
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, future, done)

    def begin() -> None:
        done = settled(call)
        if isinstance(done.value, Going):
            threads.call_later(done.value.seconds, lambda: end(settled(done.value.end)))
        else:
            end(done)

    threads.call_soon(begin)
    return Work(future, lambda: is_over)


def _settle(future: asyncio.Future[Done], done: Done) -> None:
    if not future.done():
        future.set_result(done)


@contextmanager
def simulated_threads() -> Iterator[None]:
    """Let plain functions run in simulated threads."""
    with patch.object(executors, "in_thread", _in_thread):
        yield
