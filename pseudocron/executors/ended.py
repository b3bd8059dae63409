"""The end of a run, and the code that may outlast it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pseudocron.backends.model import State


class Done(NamedTuple):
    """What a piece of code returned or raised."""

    value: Any = None
    error: BaseException | None = None


class Work(Protocol):
    """A piece of code that has not ended: a call in a thread, or a task of the event loop."""

    def is_over(self) -> bool:
        """Return whether the code has ended. Any thread may ask, also when the event loop is closed."""

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call a function on the event loop when the code has ended."""


class Lingering:
    """Code that continues although its run is over: a thread can't be killed, a coroutine may resist.

    Args:
        works: The pieces of this code.

    Attributes:
        future: Done on the event loop of the run when the code has ended.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works
        self._left = len(works)
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for work in works:
            work.when_done(self._end)

    def is_over(self) -> bool:
        """Return whether the code has ended. Any thread may ask, also when the event loop is closed."""
        return all(work.is_over() for work in self._works)

    def _end(self) -> None:
        self._left -= 1
        if not self._left and not self.future.done():
            self.future.set_result(None)


class CutOff(asyncio.CancelledError):
    """The cancellation of a run, raised when its code has ended or has used up its grace.

    `asyncio.timeout` does not turn it into a `TimeoutError`: catch it inside of that.

    Attributes:
        lingering: What continues; None if nothing does.
        ended: The end of the run, if its timeout was over before it was cancelled.
    """

    def __init__(self, lingering: Lingering | None, ended: Ended | None = None) -> None:
        super().__init__()
        self.lingering = lingering
        self.ended = ended


class Ended(NamedTuple):
    """The end of an execution.

    Args:
        outcome: `succeeded`, `failed`, `timed_out` or `interrupted`.
        error: A traceback, or what stands for one.
        output: What a script wrote.
        lingering: What continues although the run is over; None if nothing does.
        raised: What the run raised, if that is known: not of a script. Of a function in a child process, a
            `RaisedInChild`.
    """

    outcome: State
    error: str | None = None
    output: str | None = None
    lingering: Lingering | None = None
    raised: BaseException | None = None
