"""Threads of plain functions in simulated time: they go on while the event loop is blocked, and can't be killed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pseudocron import executors
from pseudocron.executors.ended import Done

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pseudocron.executors.threads import ThreadWork
    from verification.simulation.event_loops import Loop


@dataclass(frozen=True, slots=True)
class Going:
    """What a plain function of the simulation returns: it is not over yet.

    Args:
        seconds: For how long it goes on.
        end: What it does at its end.
    """

    seconds: float
    end: Callable[[], None]


class SimulatedThreads:
    """Takes the place of `executors.threads.Threads`, for all processes."""

    def start(self, work: ThreadWork) -> None:
        loop: Any = work.wakeups.loop
        threads: Loop = loop.threads
        threads.call_soon(self._begin, work, threads)

    def _begin(self, work: ThreadWork, threads: Loop) -> None:
        function, args, kwargs = work.call
        done = _done(work, lambda: function(*args, **kwargs))
        if isinstance(done.value, Going):
            threads.call_later(done.value.seconds, self._end, work, done.value)
        else:
            self._deliver(work, done)

    def _end(self, work: ThreadWork, going: Going) -> None:
        self._deliver(work, _done(work, going.end))

    def _deliver(self, work: ThreadWork, done: Done) -> None:
        work.done = done
        work.wakeups.post(work)


def _done(work: ThreadWork, call: Callable[[], Any]) -> Done:
    try:
        return Done(work.context.run(call))
    except Exception as error:  # noqa: BLE001 - the failure of its run
        return Done(error=error)


@contextmanager
def simulated_threads() -> Iterator[None]:
    """Let plain functions run in simulated threads."""
    threads = SimulatedThreads()
    with patch.object(executors, "shared_threads", lambda: threads):
        yield
