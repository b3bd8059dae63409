"""One call for a look from outside: what it made run, what was skipped and why, and whether all of it is over."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pseudocron.polling import NoPoll, PollReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pseudocron.backends.model import State
    from pseudocron.runtime import Runtime
    from pseudocron.worker.poll import Report
    from pseudocron.worker.run import Run

TROUBLES = frozenset({NoPoll.BAD_CONFIG, NoPoll.BACKEND_DOWN, NoPoll.ERROR, NoPoll.CLOSED})
"""Why nobody looked, though somebody should have."""


@dataclass(slots=True)
class Called:
    """What has come of a call, as far as it is known.

    Args:
        looks: What the looks did, those that followed because the ones before had to leave something too.
        why: Why there was no look, or no further one; None if nothing was in the way.
        jobs: How many attempts of jobs have ended in this process meanwhile, by the states of their jobs; None of
            those whose results came too late.
        over: Whether the looks are over, and all that has begun in this process since.
    """

    looks: list[Report] = field(default_factory=list)
    why: NoPoll | None = None
    jobs: Counter[State | None] = field(default_factory=Counter)
    over: bool = False

    @property
    def troubled(self) -> bool:
        """Whether somebody should have looked and could not."""
        return self.why in TROUBLES

    def heed(self, came_of_it: Report | NoPoll) -> None:
        """Take note of what came of one look."""
        if not isinstance(came_of_it, NoPoll):
            self.looks.append(came_of_it)
        elif not self.looks or came_of_it in TROUBLES:
            self.why = came_of_it

    def as_json(self) -> dict[str, Any]:
        """All of it, in what JSON knows; instants are ISO text in UTC."""
        return {
            "looked": bool(self.looks),
            "why": self.why,
            "over": self.over,
            "ran": [_ran(run) for look in self.looks for run in look.started if not run.is_job],
            "skipped": [skip for look in self.looks for skip in _skipped(look)],
            "jobs": {state or "too_late": count for state, count in self.jobs.items()},
        }


async def call(runtime: Runtime, seconds: float) -> Called:
    """See whether a look is due, and wait for what begins, but not longer than the seconds; with 0 it begins behind."""
    called = Called()
    runs, jobs = runtime.runs, runtime.jobs_ended.copy()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for came_of_it in _polls(runtime):
                called.heed(came_of_it)
            if begun := runtime.runs - runs:
                await asyncio.wait(begun)
            called.over = True
    called.jobs = runtime.jobs_ended - jobs
    return called


async def _polls(runtime: Runtime) -> AsyncIterator[Report | NoPoll]:
    """What comes of a poll, and of each that follows as runs make way for what the one before had to leave."""
    polling = runtime.request_poll(PollReason.URL)
    while True:
        await asyncio.wait([polling])
        polled = polling.result()
        following = runtime.next_poll()
        yield polled.came_of_it
        if not _leaves_something(polled.came_of_it) or not runtime.runs:
            return
        polling = following


def _leaves_something(came_of_it: Report | NoPoll) -> bool:
    """Return whether another poll follows when runs of this process have ended."""
    return came_of_it is NoPoll.NO_CAPACITY if isinstance(came_of_it, NoPoll) else came_of_it.left


def _ran(run: Run) -> dict[str, Any]:
    claim = run.claim
    return {
        "name": claim.name,
        "slot": (claim.slot or claim.due).isoformat(),
        "started": claim.started.isoformat(),
        "outcome": _outcome(run),
    }


def _outcome(run: Run) -> State | None:
    """Return how the attempt ended; None while it goes on, or if its end could not be recorded."""
    return run.end.outcome if run.is_over and run.end is not None else None


def _skipped(look: Report) -> Iterator[dict[str, Any]]:
    for skip in look.skips:
        yield {"name": skip.name, "slot": skip.slot.isoformat(), "slots": skip.slots, "reason": skip.reason}
    for refused in look.refused:
        yield {"name": refused.name, "slot": refused.slot.isoformat(), "slots": 1, "reason": refused.why}
