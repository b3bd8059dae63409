"""The runs of one process: how many at once, whose lifespan they belong to, and their end at a shutdown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

from pseudocron.executors import CutOff
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from pseudocron.executors import Ended

T = TypeVar("T")

RECORD_WITHIN = 3.0
"""Seconds in which a drain has what it interrupted recorded."""

OUTLASTING = 4
"""How many runs may have ended whose code goes on, as a multiple of the size of the pool; then no thread is started."""


class Kind(Enum):
    """What takes places; none of these is to starve another."""

    CRON = auto()
    JOB = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Lifetime:
    """The time from the start of one application to its shutdown; runs that begin in it end in it.

    Args:
        state: The application's lifespan state, for `current_run()`.
    """

    state: Mapping[str, Any] = field(default_factory=dict)


class Pool:
    """The places of a process, and the runs that have taken one.

    Args:
        size: How many runs there may be at once.
        freed: Called each time a place has become free, or code has ended that had outlasted its run; with whose place
            it was, None for that code, and with whether others may have waited for it.

    Attributes:
        claiming: Held by who counts the free places and claims for them, so that none is counted twice.
    """

    def __init__(self, size: int, *, freed: Callable[[Kind | None, bool], None] = lambda *_: None) -> None:
        self.claiming = asyncio.Lock()
        self._size = size
        self._freed = freed
        self._places: dict[Kind, set[asyncio.Task[Any]]] = {kind: set() for kind in Kind}
        self._going_on: set[asyncio.Task[Any]] = set()
        self._executing: set[asyncio.Task[Any]] = set()
        self._lifetimes: dict[asyncio.Task[Any], Lifetime] = {}
        self._behind: set[asyncio.Task[None]] = set()
        self._closed = self._cut_off = False

    @property
    def runs(self) -> frozenset[asyncio.Task[Any]]:
        """The runs that go on, and who attends to them."""
        return frozenset(self._going_on)

    @property
    def lingering(self) -> frozenset[asyncio.Task[None]]:
        """What waits for code that has outlasted its run."""
        return frozenset(self._behind)

    @property
    def room(self) -> int:
        """How many more runs may start now."""
        return 0 if self._closed else max(0, self._size - sum(map(len, self._places.values())))

    @property
    def has_threads(self) -> bool:
        """Whether another run may have a thread: too many of those that can't be killed would fill the process."""
        return len(self._behind) < OUTLASTING * self._size

    def room_for(self, kind: Kind, *, beside: object) -> int:
        """The same for one kind: if there is another beside it, it never takes the last place of all."""
        most = self._size - 1 if beside and self._size > 1 else self._size
        return max(0, min(self.room, most - len(self._places[kind])))

    def start(self, run: Coroutine[Any, Any, T], kind: Kind, lifetime: Lifetime) -> asyncio.Task[T]:
        """Start a run, from its claim to its record; it has a place until it leaves it, or ends."""
        task = _spawn(self._going_on, run)
        self._places[kind].add(task)
        self._lifetimes[task] = lifetime
        task.add_done_callback(self._over)
        return task

    def _over(self, run: asyncio.Task[Any]) -> None:
        self._lifetimes.pop(run, None)
        self.leave(run)

    def leave(self, run: asyncio.Task[Any]) -> None:
        """Let others have the place of a run that needs it no more."""
        for kind, places in self._places.items():
            if run in places:
                # A job may have kept its key or its limit from others. One place of all may be kept for the other kind.
                others_waited = kind is Kind.JOB or self.room == 0 or len(places) >= self._size - 1
                places.remove(run)
                self._freed(kind, others_waited)

    def attend(self, work: Coroutine[Any, Any, None]) -> None:
        """Start what runs need to come to their ends; it needs no place, and a drain waits for it as for them."""
        _spawn(self._going_on, work)

    def leave_behind(self, rest: Coroutine[Any, Any, None]) -> None:
        """Start what is left of a run that is recorded while its code goes on; it needs no place."""
        _spawn(self._behind, rest).add_done_callback(lambda _: self._freed(None, True))
        if len(self._behind) == OUTLASTING * self._size:
            logger.error(
                "%d threads go on after their runs: no further one is started until some end", len(self._behind)
            )

    async def execute(self, execution: Coroutine[Any, Any, Ended]) -> Ended | CutOff:
        """The part of the running run that a drain may cut off."""
        run = asyncio.current_task()
        if run is None or self._cut_off:
            execution.close()
            return CutOff(None)
        self._executing.add(run)
        try:
            return await execution
        except asyncio.CancelledError as error:
            run.uncancel()  # only this part of it is over
            return error if isinstance(error, CutOff) else CutOff(None)
        finally:
            self._executing.discard(run)

    async def drain(self, seconds: float) -> None:
        """Wait for the runs, and start no more; executions that outlast the seconds are cut off, and recorded so."""
        self._closed = True
        await _wait_for(lambda: self._going_on, seconds)
        self._cut_off = True  # what was being claimed may yet start
        self._cancel(self._executing)
        await _wait_for(lambda: self._going_on, RECORD_WITHIN)
        for task in self.runs:
            task.cancel()

    async def drain_of(self, lifetime: Lifetime, seconds: float) -> None:
        """The same for the runs of one lifetime, while others go on."""

        def runs() -> list[asyncio.Task[Any]]:
            return [run for run, of in self._lifetimes.items() if of is lifetime]

        await _wait_for(runs, seconds)
        self._cancel(self._executing.intersection(runs()))
        await _wait_for(runs, RECORD_WITHIN)

    def _cancel(self, runs: Iterable[asyncio.Task[Any]]) -> None:
        for run in tuple(runs):
            run.cancel()


async def _wait_for(going_on: Callable[[], Iterable[asyncio.Task[Any]]], seconds: float) -> None:
    """Wait until nothing goes on, or the seconds are over."""
    end = asyncio.get_running_loop().time() + seconds
    while tasks := set(going_on()):
        left = end - asyncio.get_running_loop().time()
        await asyncio.wait(tasks, timeout=max(0.0, left))
        if left <= 0:
            break


def _spawn(tasks: set[asyncio.Task[T]], coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task and keep a hard reference: one that nobody holds may be collected."""
    task = asyncio.create_task(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
