"""Daemon threads for plain functions, which are reused: to start one costs more than to call most functions."""

from __future__ import annotations

import os
import threading
from collections import deque
from functools import cache
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from pseudocron.executors.ended import Done
from pseudocron.log import logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import Context

    from pseudocron.executors.wakeups import Wakeups
    from pseudocron.hooks import Cleanup

IDLE = 10.0
"""Seconds that a thread waits for its next call; then it ends."""

RUNS = 100
"""Calls that a thread makes; then it ends, and with it whatever they have left in it."""


PENDING = Done()
"""What a call has returned or raised that has not ended."""


class ThreadWork:
    """A call in a thread.

    Args:
        name: The name that the thread has meanwhile.
        context: The context variables that the call has.
        call: What is called, its arguments and its keyword arguments.
        wakeups: Those of the event loop that waits.
        cleanups: What is called in the thread after it, or before the thread ends.

    Attributes:
        done: What it returned or raised, `PENDING` before it has ended; for any thread.
        is_done: Whether it has ended, as the event loop knows.
        is_given_up: Whether it has outlasted its run, so that its thread ends behind it.
    """

    __slots__ = (
        *("name", "context", "call", "wakeups", "cleanups"),
        *("done", "is_done", "is_given_up", "_callbacks", "_waiter"),
    )

    def __init__(
        self,
        name: str,
        context: Context,
        call: tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]],
        wakeups: Wakeups,
        cleanups: Sequence[Cleanup] = (),
    ) -> None:
        self.name = name
        self.context = context
        self.call = call
        self.wakeups = wakeups
        self.cleanups = cleanups
        self.done = PENDING
        self.is_done = self.is_given_up = False
        self._waiter: asyncio.Future[None] | None = None
        self._callbacks: list[Callable[[], object]] = []

    def is_over(self) -> bool:
        """Return whether the call has ended. Any thread may ask, also when the event loop is closed."""
        return self.done is not PENDING

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until it has ended, at most some seconds, if any are given."""
        if not self.is_done:
            self._waiter = waiter = self.wakeups.loop.create_future()
            if seconds is not None:
                self.wakeups.add_deadline(waiter, self.wakeups.loop.time() + max(0.0, seconds))
            await waiter

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call a function on the event loop when the call has ended; asked for before that."""
        self._callbacks.append(callback)

    def deliver(self) -> None:
        """Notify all that wait on the event loop."""
        self.is_done = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        callbacks, self._callbacks = self._callbacks, []  # they refer to it
        for callback in callbacks:
            callback()


class Threads:
    """The threads of a process that make calls one after the other.

    Args:
        idle: Seconds that a thread waits for its next call; then it ends.
        runs: Calls that a thread makes; then it ends.
        queue: Makes that on which a thread waits.

    Attributes:
        is_closed: Whether the threads end after their calls, as they are those of the parent process.
    """

    def __init__(
        self, *, idle: float = IDLE, runs: int = RUNS, queue: Callable[[], SimpleQueue[ThreadWork]] = SimpleQueue
    ) -> None:
        self.is_closed = False
        self.idle: deque[_Thread] = deque()
        self.idle_seconds = idle
        self.runs = runs
        self.queue = queue

    def start(self, work: ThreadWork) -> None:
        """Make a call in an idle thread, or else in a new one; `RuntimeError` if there can be no further thread."""
        try:
            thread = self.idle.pop()  # the latest, so that those that are not needed end
        except IndexError:
            _Thread(self).start(work)
        else:
            thread.inbox.put(work)


class _Thread:
    """One thread.

    Args:
        threads: All of them.

    Attributes:
        inbox: Takes the next call of an idle thread.
    """

    def __init__(self, threads: Threads) -> None:
        self.inbox = threads.queue()
        self._threads = threads
        self._thread: threading.Thread
        self._cleanups: dict[Cleanup, None] = {}

    def start(self, work: ThreadWork) -> None:
        """Start the thread with its first call."""
        self.inbox.put(work)
        self._thread = threading.Thread(target=self._run, name=work.name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for left in reversed(range(self._threads.runs)):
            if not self._run_next(is_last=not left):
                break
        if not self._threads.is_closed:  # a fork must not close what belongs to its parent
            for cleanup in self._cleanups:
                _clean(cleanup)

    def _run_next(self, *, is_last: bool) -> bool:
        """Make the next call; whether there may be another one. Of the call nothing is kept while the thread waits."""
        try:
            work = self.inbox.get(timeout=self._threads.idle_seconds)
        except Empty:
            if self._leave_idle():
                return False
            work = self.inbox.get()
        self._thread.name = work.name
        done = _done(work.context, *work.call)
        if work.cleanups:
            self._clean_after(work)
        goes_on = not (is_last or work.is_given_up or self._threads.is_closed)
        self._thread.name = "pseudocron"
        if goes_on:  # idle before the end is known: whatever that starts needs no further thread
            self._threads.idle.append(self)
        work.done = done
        work.wakeups.post(work)
        del work, done  # an exception of the call has this frame, and would be held by what it holds
        return goes_on

    def _clean_after(self, work: ThreadWork) -> None:
        for cleanup in work.cleanups:
            if cleanup.each_run:
                work.context.run(_clean, cleanup)
            else:
                self._cleanups[cleanup] = None

    def _leave_idle(self) -> bool:
        """End the idleness of the thread; False if that is over, as its next call is on its way."""
        try:
            self._threads.idle.remove(self)
        except ValueError:
            return False
        return True


def _done(context: Context, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Done:
    """Call a function; whatever it raises, `SystemExit` included, is how its run ends."""
    try:
        return Done(context.run(function, *args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - how its run ends
        return Done(error=error)


def _clean(cleanup: Cleanup) -> None:
    try:
        cleanup.call()
    except BaseException:
        logger.exception("thread cleanup %s: failed", cleanup.name)


@cache
def shared_threads() -> Threads:
    """Return the threads of this process."""
    return Threads()


def _renew() -> None:
    # A fork has none of the threads of its parent; if one of them has forked, it ends after its call.
    shared_threads().is_closed = True
    shared_threads.cache_clear()


os.register_at_fork(after_in_child=_renew)
