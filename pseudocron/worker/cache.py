"""What a process remembers of its crons from poll to poll, so that it plans only what may be due."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends.model import CronState, Reason
from pseudocron.backends.questions import Refusal
from pseudocron.worker.due import NEVER, Absence, plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.questions import Plan, Polled
    from pseudocron.crons import Cron, Crons


class _Known(NamedTuple):
    """What is remembered of a cron.

    Args:
        cron: The cron; another object after a reload. None if it is unknown.
        state: Its state after the last poll that planned it.
        next: Nothing of it is due before.
    """

    cron: Cron | None
    state: CronState
    next: datetime


_next_of = attrgetter("next")

_UNKNOWN = _Known(None, CronState(""), NEVER)


class DueCache:
    """The crons of a process, and when each is due next.

    The store decides, this only saves reads: a plan whose mark is no longer the stored one comes back as outdated, and
    so does a cron that another process has reset, resumed or moved on.

    Attributes:
        is_current: Whether the last poll found that the remembered marks were those of the store, so that the next poll
            need not read them first.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._marks: dict[str, datetime] = {}
        self._planned_at = self._next = NEVER
        self._crons: Crons | None = None
        self.is_current = False

    def due(self, crons: Crons, now: datetime) -> list[Cron]:
        """Return the crons that may be due: all, if the clock was set back."""
        is_forward = now >= self._planned_at
        if is_forward and now < self._next and crons is self._crons and len(crons) == len(self._known):
            return []
        known = self._known if is_forward else {}
        due: list[Cron] = []
        for cron in crons:
            one = known.get(cron.name)
            if one is None or one.cron is not cron or one.next <= now:
                due.append(cron)
        return due

    def state(self, cron: Cron) -> CronState | None:
        """Return the state of a cron as remembered; None if it must be read.

        That of a paused cron must be read: nothing tells that it was resumed, as its mark stays.
        """
        known = self._known.get(cron.name) if self.is_current else None
        return known.state if known and not known.state.paused else None

    def plan(
        self, crons: Iterable[Cron], states: Mapping[str, CronState], now: datetime, absence: Absence
    ) -> list[Plan]:
        """Return the plans of these crons, of those with something to do or to store."""
        self._planned_at = now
        plans = []
        for cron in crons:
            # The higher one: a store that was lost has forgotten slots that this process has seen claimed.
            since = max(cron._first_mark(now), self._marks.get(cron.name, NEVER))
            plans.append(plan(cron, states[cron.name], now, since=since, absence=absence))
        return plans

    def applied(self, crons: Crons, plans: Sequence[Plan], states: Mapping[str, CronState], polled: Polled) -> None:
        """Remember what a poll has done of these plans."""
        reached, changed = _reached(polled, plans), set(polled.outdated)
        for refused in polled.refused:
            if refused.why is Refusal.PAUSED:
                changed.add(refused.name)
        for done in plans:
            name = done.name
            if name in changed or name not in crons:
                self._known.pop(name, None)
                continue
            state = _moved(states[name], done, reached.get(name))
            if state.mark is not None:
                self._marks[name] = state.mark
            is_settled = not state.paused and crons[name].enabled and _is_dealt_with(done, state)
            self._known[name] = _Known(crons[name], state, (done.next or NEVER) if is_settled else NEVER)

        self._crons = crons
        if len(self._known) > len(crons):
            self._known = {name: known for name, known in self._known.items() if name in crons}
            self._marks = {name: mark for name, mark in self._marks.items() if name in crons}
        self._next = min(map(_next_of, self._known.values()), default=NEVER)

    def next(self) -> datetime | None:
        """Return when the first of the remembered crons is due; without those that must be planned at each poll."""
        if self._next > NEVER or not self._known:
            return self._next if self._known else None
        return min((known.next for known in self._known.values() if known.next > NEVER), default=None)


def _reached(polled: Polled, plans: Iterable[Plan]) -> dict[str, datetime]:
    """Return the highest slot of each cron that a poll has claimed, or refused and skipped."""
    reached: dict[str, datetime] = {}
    for claim in polled.claims:
        if claim.slot is not None:
            reached[claim.name] = max(claim.slot, reached.get(claim.name, NEVER))
    if polled.refused:
        coalescing = {done.name for done in plans if done.coalesce}
        for name, slot, why, *_ in polled.refused:
            if why is Refusal.PAUSED or (why is Refusal.OVERLAP and name in coalescing):
                reached[name] = max(slot, reached.get(name, NEVER))
    return reached


def _moved(state: CronState, done: Plan, reached: datetime | None) -> CronState:
    """Return the state of a cron after a plan of it was done."""
    mark, back = max(state.mark or NEVER, reached or NEVER), state.back
    for skip in done.skips:
        if skip.reason is Reason.CLOCK_BACK:
            back = max(skip.slot, back or NEVER)
        else:
            mark = max(skip.slot, mark)
    return state._replace(mark=mark if mark > NEVER else None, since=state.since or done.since, back=back)


def _is_dealt_with(done: Plan, state: CronState) -> bool:
    return not done.slots or (state.mark is not None and max(done.slots) <= state.mark)
