"""One timer and one wake-up of an event loop for all of its runs."""

from __future__ import annotations

from collections import deque
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

_FEW = 64  # deadlines: so many are kept before those of runs that have ended are searched for


class Posted(Protocol):
    """Whatever a thread hands to an event loop."""

    def deliver(self) -> None:
        """Deliver the result. Called on the event loop."""


class Expiring(Protocol):
    """Something with a deadline."""

    def done(self) -> bool:
        """Return whether it needs its deadline no more."""

    def expire(self) -> None:
        """Expire. Called on the event loop at the deadline, unless it is done."""


class _Waiter:
    """A future that is set to None at its deadline."""

    __slots__ = ("_future", "done")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future
        self.done = future.done

    def expire(self) -> None:
        self._future.set_result(None)


class Wakeups:
    """The deadlines of the runs of one event loop, and what threads hand to it.

    A timer for each run, and a wake-up for each thread that has ended, cost more than the run of a short function.

    Args:
        loop: The event loop.

    Attributes:
        loop: The same.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._context = Context()  # a callback would keep the variables of the run that happened to schedule it
        self._deadlines: list[tuple[float, int, Expiring]] = []
        self._order = count()
        self._forget_above = _FEW
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._posted: deque[Posted] = deque()
        self._is_woken = False

    def add_deadline(self, waiter: asyncio.Future[None], at: float) -> None:
        """Set a future to None at an instant, by the clock of the event loop, unless it is done by then."""
        self.add(_Waiter(waiter), at)

    def add(self, expiring: Expiring, at: float) -> None:
        """Let something expire at an instant, unless it is done by then.

        Args:
            expiring: What expires.
            at: The instant, by the clock of the event loop.
        """
        heappush(self._deadlines, (at, next(self._order), expiring))
        if self._timer is None or at < self._timer_at:
            self._start_timer(at)
        if len(self._deadlines) > self._forget_above:
            self._forget()

    def _start_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_at(at, self._expire, context=self._context)

    def _expire(self) -> None:
        now = max(self._timer_at, self.loop.time())
        self._timer = None
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or deadlines[0][2].done()):
            _, _, expiring = heappop(deadlines)
            if not expiring.done():
                expiring.expire()
        if deadlines:
            self._start_timer(deadlines[0][0])

    def _forget(self) -> None:
        """Drop the deadlines of runs that have ended before them: of those there are never more than of others."""
        self._deadlines = [deadline for deadline in self._deadlines if not deadline[2].done()]
        heapify(self._deadlines)
        self._forget_above = _FEW + 2 * len(self._deadlines)

    def post(self, posted: Posted) -> None:
        """Have something delivered on the event loop; from any thread. Nothing happens if the loop is closed."""
        self._posted.append(posted)
        if self._is_woken:  # then it is delivered by the wake-up that is on its way
            return
        self._is_woken = True
        try:
            self.loop.call_soon_threadsafe(self._deliver, context=self._context)
        except RuntimeError:  # the loop is closed, and no run waits any more
            self._is_woken = False
            self._posted.clear()

    def _deliver(self) -> None:
        self._is_woken = False  # first: what is posted from now on needs a wake-up unless it is found below
        while self._posted:
            self._posted.popleft().deliver()


class _OfLoops(dict["asyncio.AbstractEventLoop", Wakeups]):
    """The `Wakeups` of each event loop, made when they are first asked for."""

    def __missing__(self, loop: asyncio.AbstractEventLoop) -> Wakeups:
        for other in tuple(self):
            if other.is_closed():
                self.pop(other, None)
        made = self[loop] = Wakeups(loop)
        return made


of_loops = _OfLoops()
"""The `Wakeups` of each event loop."""
