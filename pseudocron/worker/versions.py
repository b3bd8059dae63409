"""Which schedule of a cron counts, where versions of an application differ in it: pure, but for what it logs once."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.log import logger
from pseudocron.schedule.definitions import words_of

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.model import CronState
    from pseudocron.cron import Cron

AWAY_AFTER, AWAY_TIMES = 3600.0, 3.0
"""A cron was away if others have polled without it for so many seconds, and so many times `CRON_MAX_TIME`."""


GONE_TIMES, ASKED_TIMES = 2.0, 0.5
"""Times `CRON_MAX_TIME`: when a version is gone that does not poll while others do, and when to read that again."""


class Standing(Enum):
    """How the schedule of this process stands to the one that is stored."""

    COUNTS = auto()  # it is the stored one, or none is stored
    RETURNS = auto()  # it is the stored one, but the cron was away: it has missed nothing
    TAKES_OVER = auto()  # another one is stored, which it replaces
    IS_REPLACED = auto()  # another one is stored, which is newer: this process leaves the cron alone


class Others(NamedTuple):
    """What the store has told of all processes.

    Args:
        polled: When any of them polled last; None if that is not known.
        cron_max_time: The largest `CRON_MAX_TIME` in use, in seconds.
    """

    polled: datetime | None = None
    cron_max_time: float = 0.0

    def have_polled_without(self, state: CronState) -> float:
        """Return for how many seconds others have polled and not named a cron.

        It does not count for how long no process has polled: without requests no version is seen.
        """
        if self.polled is None or state.seen is None:
            return 0.0
        return (self.polled - state.seen).total_seconds()


class Versions:
    """The schedules of a process beside those that are stored.

    Attributes:
        aside: The crons that this process leaves alone. It does not name them in its polls, so that the store knows
            when the version is gone that has them.
    """

    def __init__(self) -> None:
        self.aside: frozenset[str] = frozenset()
        self._settled: dict[str, str] = {}

    def standing(self, cron: Cron, state: CronState, others: Others) -> Standing:
        """Return how the schedule of a cron stands, and note if it is to be left alone.

        It takes over if this process has seen the edit, if no process had it before, or if none is left that has the
        stored one.

        Args:
            cron: The cron.
            state: What the store knows of it.
            others: What the store knows of all processes.
        """
        name, mine, theirs = cron.name, cron._definition, state.schedule
        absent = others.have_polled_without(state) if state.seen else 0.0
        if theirs is None or theirs == mine:
            if name in self.aside:
                self._keep(name)
            was_away = cron.enabled and absent > max(AWAY_AFTER, AWAY_TIMES * others.cron_max_time)
            return Standing.RETURNS if was_away else Standing.COUNTS
        before = self._settled.get(name)
        is_new = before != mine and (before is not None or mine not in state.replaced)
        is_gone = state.seen is None or (others.polled is not None and absent >= GONE_TIMES * others.cron_max_time)
        if is_new or is_gone:
            self._keep(name)
            return Standing.TAKES_OVER
        self._leave(name, mine, theirs)
        return Standing.IS_REPLACED

    def settle(self, cron: Cron) -> None:
        """Note that the store has accepted the schedule of a cron."""
        self._settled[cron.name] = cron._definition

    def forget(self, name: str) -> None:
        """Forget a cron that has left the configuration."""
        self._settled.pop(name, None)
        self._keep(name)

    def _keep(self, name: str) -> None:
        if name in self.aside:
            self.aside -= {name}

    def _leave(self, name: str, mine: str, theirs: str) -> None:
        self._settled[name] = mine
        if name not in self.aside:
            self.aside |= {name}
            line = "%s: left alone, as another version of the application has replaced its schedule, %s, by: %s"
            logger.warning(line, name, words_of(mine), words_of(theirs))
