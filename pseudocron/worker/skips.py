"""The slots that a poll has skipped: which of its refusals are skips, and what is logged of a clock set back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends.model import Reason, Skip
from pseudocron.backends.questions import Refusal
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pseudocron.backends.questions import Refused
    from pseudocron.crons import Crons


def skips_of(crons: Crons, refused: Iterable[Refused]) -> list[Skip]:
    """Return the refused slots that the store has recorded as skipped."""
    return [Skip(one.name, one.slot, Reason(str(one.why)), blockers=one.blockers) for one in refused if _is(crons, one)]


def _is(crons: Crons, refused: Refused) -> bool:
    if refused.why is Refusal.OVERLAP:
        return refused.name in crons and crons[refused.name].coalesce
    return refused.why is Refusal.PAUSED


def warn_of_the_clock(skips: Iterable[Skip]) -> None:
    """Log that crons wait for a clock that was set back."""
    again = [skip for skip in skips if skip.reason is Reason.CLOCK_BACK]
    if again:
        last = max(again, key=lambda skip: skip.slot)
        line = "clock set back: %d crons wait until it is past what they have run, the longest %s, until %s"
        logger.warning(line, len(again), last.name, last.slot.isoformat())
