"""What a look did, in words for those who wait for it; what it wants to claim, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from pseudocron.backends.records import Reason
from pseudocron.log import logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pseudocron.backends.records import Claim, Refusal, Result, Run, Skip
    from pseudocron.runner.attempts import StartedJob
    from pseudocron.runner.due import Due


@dataclass(frozen=True, slots=True)
class Started:
    """A run that a look has started; the task ends when its result is recorded."""

    claim: Claim
    task: asyncio.Task[Result]


@dataclass(frozen=True, slots=True)
class Refused:
    """A slot that a look wanted and did not get."""

    name: str
    slot: datetime
    why: Refusal


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look did.

    Args:
        started: The runs of crons that it has started.
        next: When the next look is due, for any process; in the past if others may take what this one had to leave.
        left: Whether something due was left that this process takes when it has capacity again.
        remains: Whether something due remains for any process.
        jobs: The attempts of jobs that it has started.
        skips: What it has recorded as missed.
        refused: What it asked for in vain.
    """

    started: Sequence[Started]
    next: datetime | None
    left: bool
    remains: bool = False
    jobs: Sequence[StartedJob] = ()
    skips: Sequence[Skip] = ()
    refused: Sequence[Refused] = ()


Wanted = tuple["datetime", str, "Run | None"]
"""A slot to claim, the name of its cron, and the run that it recovers."""

AGAIN = timedelta(seconds=1)
"""When to look again for what the store holds back."""


def wanted_slots(plans: Iterable[Due], orphans: Iterable[Run]) -> list[Wanted]:
    """The slots to claim, by the names of their crons, the oldest first, and the run that each one recovers."""
    slots = [(slot, plan.cron.name, None) for plan in plans for slot in plan.slots]
    return sorted([*slots, *((run.slot, run.name, run) for run in orphans)], key=itemgetter(0))


def warn_of_the_clock(skips: Iterable[Skip]) -> None:
    """Log that crons wait for a clock that was set back."""
    again = [skip for skip in skips if skip.reason is Reason.CLOCK_BACK]
    if again:
        last = max(again, key=attrgetter("slot"))
        logger.warning(
            "the clock was set back: crons that wait until it is past what they have run: %d, the longest %s, until %s",
            len(again),
            last.name,
            last.slot.isoformat(),
        )
