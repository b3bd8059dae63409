"""The capacity of a process: how many runs at once, whose lifespan they belong to, and their end at a shutdown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pseudocron.backends.questions import Capacity
from pseudocron.host import spawn
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from pseudocron.worker.run import Run

RECORD_WITHIN = 3.0
"""Seconds in which a drain has the results of what it interrupted recorded."""

OUTLASTING = 4
"""How many runs may have ended whose code still runs, as a multiple of the capacity; then no thread is started."""

NONE = Capacity(0, 0, 0)


class Lifetime:
    """The time from the start of one application to its shutdown; runs that begin in it end in it.

    Args:
        state: The application's lifespan state, for `current_run()`.
    """

    __slots__ = ("state",)

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self.state: Mapping[str, Any] = {} if state is None else state


class Pool:
    """The runs of a process, and the capacity that they leave.

    Capacity is reserved while a claim is asked for, so that several may ask at once.

    Args:
        size: How many runs there may be at once.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._runs: set[Run] = set()
        self._living = {False: 0, True: 0}  # of runs of crons, and of jobs
        self._reserved = {False: 0, True: 0}
        self._reserved_in_all = 0
        self._outlasting: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.is_cut_off = False
        """Whether runs that begin now are cut off at once."""
        self.has_threads = True
        """Whether another run may have a thread: too many of those that can't be killed would fill the process."""

    @property
    def runs(self) -> frozenset[Run]:
        """The runs whose results are not recorded yet."""
        return frozenset(self._runs)

    @property
    def lingering(self) -> frozenset[asyncio.Task[None]]:
        """The tasks that wait for code that has outlasted its run."""
        return frozenset(self._outlasting)

    @property
    def is_full(self) -> bool:
        """Whether nothing more may start now."""
        used = self._living[False] + self._living[True] + self._reserved_in_all
        return self._is_closed or used >= self._size

    def reserve(self, *, has_crons: bool, has_tasks: bool, ending: int = 0) -> Capacity:
        """Reserve all free capacity for a claim; neither kind ever has the last one, if there is the other kind.

        Args:
            has_crons: Whether crons may need capacity.
            has_tasks: Whether jobs may need capacity.
            ending: How many jobs end in the same transaction.
        """
        if self._is_closed:
            return NONE
        of_crons, of_jobs = self._living[False], self._living[True]
        total = max(0, self._size - of_crons - of_jobs - self._reserved_in_all + ending)
        most = self._size - (self._size > 1)
        slots = jobs = 0
        if has_crons:
            slots = max(0, min(total, (most if has_tasks else self._size) - of_crons - self._reserved[False]))
        if has_tasks:
            left = (most if has_crons else self._size) - of_jobs - self._reserved[True]
            jobs = max(0, min(total, left + ending))
        self._reserved_in_all += total
        self._reserved[False] += slots
        self._reserved[True] += jobs
        return Capacity(total, slots, jobs)

    def give_back(self, reserved: Capacity) -> None:
        """Undo `reserve`, before what was claimed is started."""
        self._reserved_in_all -= reserved.total
        self._reserved[False] -= reserved.slots
        self._reserved[True] -= reserved.jobs

    def enter(self, run: Run) -> None:
        """Let a run have capacity until `leave`."""
        self._runs.add(run)
        self._living[run.is_job] += 1
        run.has_capacity = True

    def leave(self, run: Run) -> None:
        """Let others have the capacity of a run, though its result may not be recorded."""
        if run.has_capacity:
            run.has_capacity = False
            self._living[run.is_job] -= 1

    def remove(self, run: Run) -> None:
        """Forget a run whose result is recorded."""
        self.leave(run)
        self._runs.discard(run)

    def outlast(self, rest: Coroutine[Any, Any, None], ended: Callable[[], None]) -> None:
        """Start what waits for code that outlasts its run; then call `ended`."""
        task, most = spawn(rest), OUTLASTING * self._size
        self._outlasting.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._outlasting.discard(task)
            self.has_threads = len(self._outlasting) < most
            ended()

        task.add_done_callback(over)
        if self.has_threads and len(self._outlasting) >= most:
            self.has_threads = False
            line = "%d threads outlast their runs: no further thread is started until some end"
            logger.error(line, len(self._outlasting))

    async def drain(self, seconds: float) -> None:
        """Wait for the runs, and start no more; executions that outlast the seconds are cut off, and recorded so."""
        self._is_closed = True
        await _wait_for(lambda: self._runs, seconds)
        self.is_cut_off = True  # what was being claimed may yet start
        _cut_off(self._runs)
        await _wait_for(lambda: self._runs, RECORD_WITHIN)
        for run in list(self._runs):
            run.abandon()

    async def drain_of(self, lifetime: Lifetime, seconds: float) -> None:
        """Wait for the runs of one lifetime, and cut them off, while others continue."""

        def runs() -> list[Run]:
            return [run for run in self._runs if run.lifetime is lifetime]

        await _wait_for(runs, seconds)
        _cut_off(runs())
        await _wait_for(runs, RECORD_WITHIN)


def _cut_off(runs: Iterable[Run]) -> None:
    for run in list(runs):
        run.cut_off()


async def _wait_for(runs: Callable[[], Iterable[Run]], seconds: float) -> None:
    """Wait until these runs are over, or the seconds are."""
    end = asyncio.get_running_loop().time() + seconds
    while going_on := [run.over() for run in runs()]:
        left = end - asyncio.get_running_loop().time()
        await asyncio.wait(going_on, timeout=max(0.0, left))
        if left <= 0:
            break
