"""What goes on in one process: so many runs at once, and their end at a shutdown."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pseudocron.executors import Ended

T = TypeVar("T")

RECORD_WITHIN = 3.0
"""Seconds in which a drain has what it interrupted recorded."""


class Kind(Enum):
    """What takes places; none of these is to starve another."""

    CRON = auto()
    JOB = auto()


class Pool:
    """The places of a process, and the runs that have taken one.

    Args:
        size: How many runs there may be at once.
        freed: Called each time a place has become free.

    Attributes:
        claiming: Held by who counts the free places and claims for them, so that none is counted twice.
    """

    def __init__(self, size: int, *, freed: Callable[[], None] = lambda: None) -> None:
        self.claiming = asyncio.Lock()
        self._size = size
        self._freed = freed
        self._places: dict[Kind, set[asyncio.Task[Any]]] = {kind: set() for kind in Kind}
        self._going_on: set[asyncio.Task[Any]] = set()
        self._executing: set[asyncio.Task[Any]] = set()
        self._behind: set[asyncio.Task[None]] = set()
        self._closed = self._cut_off = False

    @property
    def runs(self) -> frozenset[asyncio.Task[Any]]:
        """The runs that go on, and who attends to them."""
        return frozenset(self._going_on)

    @property
    def room(self) -> int:
        """How many more runs may start now."""
        return 0 if self._closed else max(0, self._size - sum(map(len, self._places.values())))

    def room_for(self, kind: Kind, *, beside: object) -> int:
        """The same for one kind: if there is another beside it, it never takes the last place of all."""
        most = self._size - 1 if beside and self._size > 1 else self._size
        return max(0, min(self.room, most - self.taken_by(kind)))

    def taken_by(self, kind: Kind) -> int:
        """How many places one kind has."""
        return len(self._places[kind])

    def start(self, run: Coroutine[Any, Any, T], kind: Kind) -> asyncio.Task[T]:
        """Start a run, from its claim to its record; it has a place until it leaves it, or ends."""
        task = _spawn(self._going_on, run)
        self._places[kind].add(task)
        task.add_done_callback(self.leave)
        return task

    def leave(self, run: asyncio.Task[Any]) -> None:
        """Let others have the place of a run that holds nothing any more."""
        for places in self._places.values():
            places.discard(run)
        self._freed()

    def attend(self, work: Coroutine[Any, Any, None]) -> None:
        """Start what runs need to come to their ends; it needs no place, and a drain waits for it as for them."""
        _spawn(self._going_on, work)

    def leave_behind(self, rest: Coroutine[Any, Any, None]) -> None:
        """Start what is left of a run that has ended, and needs no place."""
        _spawn(self._behind, rest)

    async def execute(self, execution: Coroutine[Any, Any, Ended]) -> Ended | None:
        """The part of the running run that a drain may cut off; None if it did."""
        run = asyncio.current_task()
        if run is None or self._cut_off:
            execution.close()
            return None
        self._executing.add(run)
        try:
            return await execution
        except asyncio.CancelledError:
            run.uncancel()  # only this part of it is over
            return None
        finally:
            self._executing.discard(run)

    async def drain(self, seconds: float) -> None:
        """Wait for the runs, and start no more; executions that outlast the seconds are cut off, and recorded so."""
        self._closed = True
        await self._idle(seconds)
        self._cut_off = True  # what was being claimed may yet start
        for run in tuple(self._executing):
            run.cancel()
        await self._idle(RECORD_WITHIN)
        for task in (*self._going_on, *self._behind):
            task.cancel()

    async def _idle(self, seconds: float) -> None:
        """Wait until nothing goes on, or the seconds are over."""
        end = asyncio.get_running_loop().time() + seconds
        while self._going_on:
            left = end - asyncio.get_running_loop().time()
            await asyncio.wait(self._going_on, timeout=max(0.0, left))
            if left <= 0:
                break


def _spawn(tasks: set[asyncio.Task[T]], coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task and keep a hard reference: one that nobody holds may be collected."""
    task = asyncio.create_task(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
