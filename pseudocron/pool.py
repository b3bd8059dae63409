"""What goes on in one process: so many runs at once, and their end at a shutdown."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine

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
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._runs: dict[Kind, set[asyncio.Task[Any]]] = {kind: set() for kind in Kind}
        self._executions: set[asyncio.Task[Ended]] = set()
        self._behind: set[asyncio.Task[None]] = set()

    @property
    def runs(self) -> frozenset[asyncio.Task[Any]]:
        """The runs that go on."""
        return frozenset().union(*self._runs.values())

    @property
    def room(self) -> int:
        """How many more runs may start now."""
        return max(0, self._size - len(self.runs))

    def room_for(self, kind: Kind, *, beside: object) -> int:
        """The same for one kind: if there is another beside it, it never takes the last place of all."""
        most = self._size - 1 if beside and self._size > 1 else self._size
        return max(0, min(self.room, most - len(self._runs[kind])))

    def start(self, run: Coroutine[Any, Any, T], kind: Kind) -> asyncio.Task[T]:
        """Start a run, from its claim to its record; it has a place until it ends."""
        return _spawn(self._runs[kind], run)

    def leave_behind(self, rest: Coroutine[Any, Any, None]) -> None:
        """Start what is left of a run that has ended, and needs no place."""
        _spawn(self._behind, rest)

    async def execute(self, execution: Coroutine[Any, Any, Ended]) -> Ended | None:
        """The part of a run that a drain may cut off; None if it did."""
        task = _spawn(self._executions, execution)
        try:
            return await task
        except asyncio.CancelledError:
            return None

    async def drain(self, seconds: float) -> None:
        """Wait for the runs; the executions that outlast the seconds are cut off, for the runs to record that."""
        await _wait(self.runs, seconds)
        for execution in tuple(self._executions):
            execution.cancel()
        await _wait(self.runs, RECORD_WITHIN)
        for task in (*self.runs, *self._behind):
            task.cancel()


def _spawn(tasks: set[asyncio.Task[T]], coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task and keep a hard reference: one that nobody holds may be collected."""
    task = asyncio.create_task(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def _wait(tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
