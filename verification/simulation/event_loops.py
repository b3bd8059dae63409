"""Event loops on a clock that moves when nothing is left to do: many of them in one thread, in one order."""

from __future__ import annotations

import asyncio
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

Work = tuple[float, int, "Loop", asyncio.Handle]

AT_ONCE = 20_000
"""So many steps at one moment are an endless loop."""

BURIED_WITHIN = 100
"""Rounds in which the tasks of a dead process have to end."""


class Agenda:
    """What is to be done when, by all loops; `now` is in seconds from the beginning."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = self._rounds = 0
        self._work: list[Work] = []
        self._number = count()
        self.tasks = count()

    def put(self, when: float, loop: Loop, handle: asyncio.Handle) -> None:
        heappush(self._work, (max(when, self.now), next(self._number), loop, handle))

    def run(self, until: float) -> None:
        """Do what is due until then, the earliest first, and of what is due at once what was asked for first."""
        work = self._work
        while work and work[0][0] <= until:
            when, number, loop, handle = heappop(work)
            if loop.ended or handle.cancelled():
                continue
            if when < loop.awake_at:
                heappush(work, (loop.awake_at, number, loop, handle))
                continue
            self._count(when)
            loop.step(handle)
        self.now = max(self.now, until)

    def _count(self, when: float) -> None:
        """Move on, and find out who goes round and round without time passing."""
        self._rounds = self._rounds + 1 if when == self.now else 0
        assert self._rounds < AT_ONCE, f"at {when} so much happens that the clock stands still"
        self.now = when
        self.steps += 1

    def taken_from(self, loop: Loop) -> list[asyncio.Handle]:
        """Take from a loop what it would do now, but for a pause, and take it and its timers off the agenda."""
        theirs = sorted(work for work in self._work if work[2] is loop)
        self._work[:] = [work for work in self._work if work[2] is not loop]
        heapify(self._work)
        return [handle for *_, handle in theirs if not isinstance(handle, asyncio.TimerHandle)]


class Task(asyncio.Task[Any]):
    """A task whose place in a set is the same in each run: by its number, not by its address."""

    def __init__(self, coro: Any, number: int, **options: Any) -> None:
        self.number = number
        super().__init__(coro, name=f"task {number}", **options)

    def __hash__(self) -> int:
        return self.number


_Base: Any = asyncio.AbstractEventLoop  # most of which nobody here needs


class Loop(_Base):  # type: ignore[misc]
    """The part of an event loop that the product needs: callbacks, timers, tasks, and blocking work somewhere else.

    Args:
        agenda: What it shares with all others.
        latency: How long the next piece of blocking work takes, in seconds.

    Attributes:
        threads: Where the threads of its process run.
        awake_at: Before this it does nothing.
        steps_left: After so many steps more `at_last` is called, once.
        troubles: What nobody has caught.
    """

    def __init__(self, agenda: Agenda, latency: Callable[[], float] = lambda: 0.0) -> None:
        self._agenda = agenda
        self._latency = latency
        self._rites: deque[asyncio.Handle] | None = None
        self._tasks: dict[int, Task] = {}
        self.threads = self
        self.awake_at = 0.0
        self.ended = False
        self.steps_left = 0
        self.at_last: Callable[[], None] = lambda: None
        self.troubles: list[dict[str, Any]] = []

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._agenda.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self._rites is None:
            self._agenda.put(self._agenda.now, self, handle)
        else:
            self._rites.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._agenda.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._agenda.put(when, self, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        task = Task(coro, next(self._agenda.tasks), loop=self, context=context)
        self._tasks[task.number] = task
        task.add_done_callback(lambda task: self._tasks.pop(task.number, None))
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Blocking work is done all at once, but some time later, as a thread would."""
        future = self.create_future()
        self.call_later(self._latency(), self._block, future, func, args)
        return future

    def _block(self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            done = off_the_loop(func, *args)
        except Exception as error:  # noqa: BLE001 - it is for who waits
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(done)

    def is_running(self) -> bool:
        return not self.ended

    def is_closed(self) -> bool:
        return self.ended

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.troubles.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled timer is passed over when its time has come."""

    # What the simulation asks

    def step(self, handle: asyncio.Handle) -> None:
        """Run one callback on this loop."""
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)
        if self.steps_left:
            self.steps_left -= 1
            if not self.steps_left:
                self.at_last()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Start a task on this loop, from outside of it."""
        task: Task = self.create_task(coroutine)
        return task

    def end(self) -> None:
        """Cancel all tasks, again and again until they have ended, in no time; nothing is ever run here again."""
        self._rites = deque(self._agenda.taken_from(self))
        for _ in range(BURIED_WITHIN):
            for task in list(self._tasks.values()):
                task.cancel()
            for _ in range(len(self._rites)):
                handle = self._rites.popleft()
                if not handle.cancelled():
                    self.step(handle)
            if not self._tasks:
                break
        assert not self._tasks, f"they do not end: {self._tasks}"
        self.ended = True


def off_the_loop(func: Callable[..., Any], *args: Any) -> Any:
    """Hide the loop from blocking code: as in a thread, no loop is running there."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return func(*args)
    finally:
        asyncio._set_running_loop(loop)
