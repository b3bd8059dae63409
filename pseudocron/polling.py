"""One poll at a time, and exactly one more for all who ask for it meanwhile."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from pseudocron.host import spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class PollReason(StrEnum):
    """Why a poll is requested."""

    REQUEST = "request"  # a request was served after the deadline of the process
    TICKER = "ticker"  # the deadline of the process has passed
    DEFERRED = "deferred"  # a job that is due was deferred in this process
    ENDED = "ended"  # a run has ended in this process, and makes way for what the last poll has left
    CAPACITY = "capacity"  # likewise; others may have come due that had no capacity, or no key or limit
    URL = "url"  # the trigger URL was called
    TICK = "tick"  # the command: whatever the gate says


FREED = frozenset({PollReason.ENDED, PollReason.CAPACITY})
"""The reasons after which more can be taken."""


class Polls(Generic[T]):
    """The polls of one event loop.

    Args:
        poll: Polls once, for these reasons; must not raise.
        closed: Makes the answer for those whose poll does not come any more.
    """

    def __init__(self, poll: Callable[[frozenset[PollReason]], Awaitable[T]], *, closed: Callable[[], T]) -> None:
        self._poll = poll
        self._closed = closed
        self._reasons: set[PollReason] = set()
        self._next: asyncio.Future[T] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_polling = False

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What polls now; None if nothing does."""
        return self._task if self._task and not self._task.done() else None

    def request(self, reason: PollReason) -> asyncio.Future[T]:
        """Return what comes of a poll that begins from now on; it is started unless one is under way.

        Several may wait for the same future: wait by `asyncio.wait`, since a cancelled `await` would cancel it for all.
        """
        self._reasons.add(reason)
        answer = self.next()
        if not self._is_polling:
            self._is_polling = True
            self._task = spawn(self._poll_all())
        return answer

    def next(self) -> asyncio.Future[T]:
        """Return what comes of the next poll that begins, without asking for one."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    async def _poll_all(self) -> None:
        answer, loop = None, asyncio.get_running_loop()
        try:
            while self._reasons:
                answer = self.next()
                reasons, self._reasons, self._next = frozenset(self._reasons), set(), None
                _answer(answer, await self._poll(reasons))
        finally:
            self._is_polling = False
            if answer is not None and not answer.done():  # it was cut off
                _answer(answer, self._closed())
            for reason in () if loop.is_closed() else self._reasons.copy():  # asked for while this was being cut off
                self.request(reason)

    async def stop(self, seconds: float) -> None:
        """Let the poll that is under way end within some seconds, and begin no other."""
        self._reasons.clear()
        if (task := self.task) is not None:
            await asyncio.wait([task], timeout=seconds)
            task.cancel()
        waiting, self._next = self._next, None
        if waiting is not None:
            _answer(waiting, self._closed())


def _answer(future: asyncio.Future[T], value: T) -> None:
    if not future.done():  # who waited may have been cancelled
        future.set_result(value)
