"""What a process remembers of its crons from look to look, so that it asks and computes only what may be due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.runner.due import Absence, due

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pseudocron.backends.records import State
    from pseudocron.crons import Cron, Crons
    from pseudocron.runner.due import Due

_NEVER = datetime.min.replace(tzinfo=UTC)


class Hint(NamedTuple):
    """Of a cron with this mark nothing is due before `next`."""

    cron: Cron
    mark: datetime
    next: datetime


class Hints:
    """Which crons a look must ask the store about.

    The store decides, this only saves questions: what may be due is always asked about, and everything once in
    `CRON_MAX_TIME`, as other processes may pause, resume and reset. What is not idle is never remembered.
    """

    def __init__(self) -> None:
        self._hints: dict[str, Hint] = {}
        self._marks: dict[str, datetime] = {}
        self._asked = self._asked_all = _NEVER

    def ask(self, crons: Crons, now: datetime) -> dict[str, datetime]:
        """The crons to ask about, each with the mark that it gets if the store has never seen it, or has lost it."""
        if not self._asked <= now < self._asked_all + _max_age(crons):  # a clock that steps back voids all hints
            return {cron.name: self._mark(cron, now) for cron in crons}
        hints = self._hints
        asked = []
        for cron in crons:
            hint = hints.get(cron.name)
            if hint is None or hint.cron is not cron or hint.next <= now:
                asked.append(cron)
        return {cron.name: self._mark(cron, now) for cron in asked}

    def _mark(self, cron: Cron, now: datetime) -> datetime:
        # The higher one: others may have claimed more than this process has heard of, and no slot is to run twice.
        return max(cron._first_mark(now), self._marks.get(cron.name, _NEVER))

    def forget(self, names: Iterable[str]) -> None:
        """Ask about these crons, whatever is remembered: their marks were set by hand."""
        for name in names:
            self._hints.pop(name, None)

    def grew(self, name: str, slot: datetime) -> None:
        """The mark of a cron has grown to a slot, or is above it."""
        self._marks[name] = max(slot, self._marks.get(name, _NEVER))

    def plan(self, crons: Crons, states: Mapping[str, State], now: datetime, absence: Absence) -> list[Due]:
        """What is due of the crons that were asked about."""
        self._asked = now
        self._marks |= {name: state.mark for name, state in states.items()}
        if len(states) == len(crons):
            self._asked_all = now
            self._hints = {name: hint for name, hint in self._hints.items() if name in crons}
            self._marks = {name: mark for name, mark in self._marks.items() if name in crons}
        return [plan for name, state in states.items() if (plan := self._plan(crons[name], state, now, absence))]

    def _plan(self, cron: Cron, state: State, now: datetime, absence: Absence) -> Due | None:
        hint = self._hints.get(cron.name)
        if hint and hint.cron is cron and hint.mark == state.mark <= now < hint.next and not state.paused:
            return None
        plan = due(cron, state, now, absence=absence)
        if plan.next is None or plan.slots or plan.skips or plan.waiting or state.mark > now:
            self._hints.pop(cron.name, None)
        else:
            self._hints[cron.name] = Hint(cron, state.mark, plan.next)
        return plan

    def next(self, crons: Crons) -> datetime | None:
        """When the first of the remembered crons is due, or all are to be asked about again."""
        again = [self._asked_all + _max_age(crons)] if self._asked_all < self._asked else []
        return min((*again, *(hint.next for hint in self._hints.values())), default=None)


def _max_age(crons: Crons) -> timedelta:
    return timedelta(seconds=crons.settings.cron_max_time)
