"""One poll at a time on an event loop, and exactly one more for all requests that come during it."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from pseudocron.errors import BackendError, PseudoCronError
from pseudocron.host import spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from collections.abc import Set as AbstractSet

    from pseudocron.backends.model import Skip
    from pseudocron.backends.questions import Refused
    from pseudocron.worker.run import Run

T = TypeVar("T")

READ_AGAIN = 1.0
"""Seconds after which a fresh gate is read again: another process may have brought it forward.

After a poll that had to leave what is due, they are also the pace: others may be able to take it, and this process
polls no sooner unless it can take more itself.
"""


class PollReason(StrEnum):
    """Why a poll is requested."""

    REQUEST = "request"  # a request was served after the deadline of the process
    TICKER = "ticker"  # the deadline of the process has passed
    DEFERRED = "deferred"  # a job that is due was deferred in this process
    CAPACITY = "capacity"  # a run has ended in this process, and something is due
    URL = "url"  # the trigger URL was called
    TICK = "tick"  # the command: whatever the gate says


class NoPoll(StrEnum):
    """Why a request for a poll has led to none."""

    NOTHING_DUE = "nothing_due"  # the gate is fresh
    TAKEN = "taken"  # another process entered the gate at that moment, and polls
    NO_CAPACITY = "no_capacity"  # this process has no capacity left
    DISABLED = "disabled"  # `PSEUDOCRON_ENABLED` says that nothing is run
    BAD_CONFIG = "bad_config"  # the configuration has never been right in this process
    BACKEND_DOWN = "backend_down"  # the store can't be used
    ERROR = "error"  # an unexpected error, in the log
    CLOSED = "closed"  # the process is being shut down


class Report(NamedTuple):
    """What a poll did.

    Args:
        started: The runs that it has started.
        skips: The slots that it has recorded as skipped.
        refused: The slots that it did not get.
        fresh_for: Seconds until the gate turns stale, 0 if something due remains for any process.
        left: Whether something due was left that this process may start when it has capacity again.
    """

    started: Sequence[Run] = ()
    skips: Sequence[Skip] = ()
    refused: Sequence[Refused] = ()
    fresh_for: float = 0.0
    left: bool = False


class PollResult(NamedTuple):
    """What came of a request for a poll.

    Args:
        came_of_it: What the poll did, or why there was none.
        again: Seconds until the next one is due in this process.
        error: What kept it from polling, if that is an error.
    """

    came_of_it: Report | NoPoll
    again: float = READ_AGAIN
    error: Exception | None = None

    def follows(self, reasons: AbstractSet[PollReason], *, left: bool) -> bool:
        """Return whether a poll has to follow after `again` seconds, though there may be no request.

        Args:
            reasons: Why there was this one.
            left: Whether something due was left that this process may start when it has capacity again.
        """
        asked = reasons & {PollReason.DEFERRED, PollReason.CAPACITY}
        if self.error:
            return left or bool(asked)
        # Another process has entered the gate just now: it may not have the task, or no free capacity.
        return bool(asked) and self.came_of_it in {NoPoll.TAKEN, NoPoll.NOTHING_DUE}


def failed(error: Exception) -> PollResult:
    """Return what came of a poll that has raised an error."""
    if isinstance(error, BackendError):
        return PollResult(NoPoll.BACKEND_DOWN, error=error)
    why = NoPoll.BAD_CONFIG if isinstance(error, PseudoCronError) else NoPoll.ERROR
    return PollResult(why, error=error)


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
                answer = self._next or self.next()
                reasons, self._reasons, self._next = frozenset(self._reasons), set(), None
                result = await self._poll(reasons)
                if not answer.done():  # who waited may have been cancelled
                    answer.set_result(result)
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
    if not future.done():
        future.set_result(value)
