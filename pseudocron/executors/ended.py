"""The end of a run, and the code that may outlast it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pseudocron.backends.model import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pseudocron.executors.results import Result
    from pseudocron.executors.work import Work


class Lingering:
    """Code that continues although its run is over: a thread can't be killed, a coroutine may resist.

    Args:
        works: The pieces of this code.

    Attributes:
        future: Done on the event loop of the run when the code has ended.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works
        self.future: asyncio.Future[None] = works[0].future.get_loop().create_future()
        for work in works:
            work.future.add_done_callback(self._end)

    def is_over(self) -> bool:
        """Return whether the code has ended. Any thread may ask, also when the event loop is closed."""
        return all(work.is_over() for work in self._works)

    def _end(self, _: object) -> None:
        if not self.future.done() and all(work.future.done() for work in self._works):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of a run.

    Args:
        result: What is recorded.
        lingering: What continues although the run is over; None if nothing does.
        raised: What the run raised, where that is known: not of a script. Of a function in a child process, a
            `RaisedInChild`.
    """

    result: Result
    lingering: Lingering | None = None
    raised: BaseException | None = None

    @property
    def outcome(self) -> State:
        """How it ended."""
        return State(self.result.outcome)

    @property
    def error(self) -> str | None:
        """A traceback, or what stands for one."""
        return self.result.error

    @property
    def output(self) -> str | None:
        """What a script wrote."""
        return self.result.output
