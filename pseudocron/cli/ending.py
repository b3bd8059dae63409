"""How a command ends: by signals, and although code of runs resists its end."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from pseudocron.clock import monotonic
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")

END_WITHIN = 2.0
"""Seconds that code has to end in when its command has done its work, and has drained."""

_OURS = str(Path(__file__).parents[1])
_THREADS = "asyncio of pseudocron"
_resisting: list[str] = []


class Stopped(Exception):  # noqa: N818 - it is a wish, and no error
    """The work was cancelled by a signal.

    Args:
        number: That of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Commands(click.Group):
    """A group of commands whose process ends, whatever code of theirs goes on."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command, as `click.Group` does."""
        try:
            return super().main(*args, **kwargs)
        except SystemExit as error:
            if _resisting:
                _leave(error.code if isinstance(error.code, int) else int(error.code is not None))
            raise


def run_until_told(work: Coroutine[Any, Any, T]) -> T:
    """Run the work and return its result; raise `Stopped` if a signal has cancelled it.

    SIGTERM or SIGINT cancels the work, which then drains; a second signal ends the process at once.
    """
    told: list[int] = []
    runner = asyncio.Runner()
    loop = runner.get_loop()
    executor = ThreadPoolExecutor(thread_name_prefix=_THREADS)
    loop.set_default_executor(executor)
    try:
        with _signals(loop, told) as stop:
            return runner.run(_stoppable(work, stop))
    except asyncio.CancelledError:
        if not told:
            raise
        raise Stopped(told[0]) from None
    finally:
        _finish(runner, executor)


async def _stoppable(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    task, told = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        logger.info("told to stop")
        task.cancel()
    told.cancel()
    return await task


@contextmanager
def _signals(loop: asyncio.AbstractEventLoop, told: list[int]) -> Iterator[asyncio.Event]:
    """Yield an event that is set by the first signal. The handlers also run while the event loop is blocked."""
    stop = asyncio.Event()

    def on_signal(number: int, _: object) -> None:
        if told:
            # Not by the logger, in the middle of which this may be.
            with suppress(OSError):
                os.write(2, b"told to stop again: the process exits at once\n")
            os._exit(128 + number)
        told.append(number)
        loop.call_soon_threadsafe(stop.set)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(runner: asyncio.Runner, executor: ThreadPoolExecutor) -> None:
    """Close the event loop; or leave it, as code of runs resists: a coroutine, or a call of `asyncio.to_thread`."""
    loop, until = runner.get_loop(), monotonic() + END_WITHIN
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        _, tasks = loop.run_until_complete(asyncio.wait(tasks, timeout=END_WITHIN))
    executor.shutdown(wait=False)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(_THREADS)]
    for thread in threads:
        thread.join(max(0.0, until - monotonic()))
    threads = [thread for thread in threads if thread.is_alive()]
    _resisting.extend(_words(task) for task in tasks)
    _resisting.extend(["a call of asyncio.to_thread"] * len(threads))
    if not _resisting:
        runner.close()


def _words(task: asyncio.Task[Any]) -> str:
    """Return which function of the user a task is in, and where."""
    coro: Any = task.get_coro()
    if not inspect.iscoroutine(coro):  # that of another event loop's language
        return task.get_name()
    while coro.cr_code.co_filename.startswith(_OURS) and inspect.iscoroutine(inner := _inside(coro)):
        coro = inner
    line = coro.cr_frame.f_lineno if coro.cr_frame else coro.cr_code.co_firstlineno
    return f"{coro.__qualname__} ({coro.cr_code.co_filename}:{line})"


def _inside(coro: Any) -> Any:
    """Return what a coroutine awaits; of one whose steps are timed that is a variable of what times them."""
    inner = coro.cr_await
    return inner.gi_frame.f_locals.get("awaitable") if inspect.isgenerator(inner) and inner.gi_frame else inner


def _leave(code: int) -> NoReturn:
    """End the process without what resists, for which Python would wait for ever."""
    logger.error("the process exits, although this code ignores its cancellation: %s", ", ".join(_resisting))
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    logging.shutdown()
    os._exit(code)
