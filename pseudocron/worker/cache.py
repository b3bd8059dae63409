"""What a process remembers of its crons from poll to poll, so that it plans only what may be due."""

from __future__ import annotations

from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends.model import CronState, Reason
from pseudocron.backends.questions import Refusal
from pseudocron.worker.due import NEVER, Absence, plan
from pseudocron.worker.versions import ASKED_TIMES, Others, Standing, Versions

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

NOBODY_KNOWN = Others()
_UNKNOWN = _Known(None, CronState(""), NEVER)


class DueCache:
    """The crons of a process, and when each is due next.

    The store decides, this only saves reads: a plan whose mark is no longer the stored one comes back as outdated, and
    so does a cron that another process has reset, resumed or moved on.

    Attributes:
        is_current: Whether the last poll found that the remembered marks were those of the store, so that the next poll
            need not read them first.
        versions: Which crons this process leaves alone.
    """

    def __init__(self) -> None:
        self.versions = Versions()
        self.takeovers: int | None = None
        self._known: dict[str, _Known] = {}
        self._floors: dict[str, datetime] = {}
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

        That of a paused cron must be read: nothing tells that it was resumed, as its mark stays. So must that of one
        that is left alone, to learn whether the version is gone that has it.
        """
        is_remembered = self.is_current and cron.name not in self.versions.aside
        known = self._known.get(cron.name) if is_remembered else None
        return known.state if known and not known.state.paused else None

    def plan(
        self,
        crons: Iterable[Cron],
        states: Mapping[str, CronState],
        now: datetime,
        absence: Absence,
        others: Others = NOBODY_KNOWN,
    ) -> list[Plan]:
        """Return the plans of these crons but for those that are left alone."""
        self._planned_at = now
        plans = []
        for cron in crons:
            state = states[cron.name]
            standing = self.versions.standing(cron, state, others)
            if standing is not Standing.IS_REPLACED:
                # The higher one: a store that was lost has forgotten slots that this process has seen claimed.
                since = max(cron._first_mark(now), self._floors.get(cron.name, NEVER))
                plans.append(plan(cron, state, now, since=since, absence=absence, standing=standing))
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
            state, cron = _moved(states[name], done, reached.get(name)), crons[name]
            self.versions.settle(cron)
            self._floors[name] = state.floor or NEVER
            is_settled = not state.paused and cron.enabled and _is_dealt_with(done, state)
            self._known[name] = _Known(cron, state, (done.next or NEVER) if is_settled else NEVER)
        for name in self.versions.aside & states.keys():
            if name in crons:
                again = self._planned_at + timedelta(seconds=ASKED_TIMES * crons.settings.cron_max_time)
                self._known[name] = _Known(crons[name], states[name], again)
        self._crons = crons
        if len(self._known) > len(crons):
            self._forget([name for name in self._known if name not in crons])
        self._next = min(map(_next_of, self._known.values()), default=NEVER)

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            del self._known[name]
            self._floors.pop(name, None)
            self.versions.forget(name)

    def note_takeovers(self, plans: Iterable[Plan], polled: Polled) -> None:
        """Forget all crons if schedules of other versions have taken over, so that the next poll reads them."""
        mine = 0
        for done in plans:
            mine += done.replaces is not None and done.name not in polled.outdated
        if self.takeovers is not None and polled.takeovers != self.takeovers + mine:
            self._known.clear()
            self._next = NEVER
        self.takeovers = polled.takeovers

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
    since = done.counts_from or state.since or done.since
    # For how long others have polled without it can only be told from a state that was just read.
    return state._replace(
        mark=mark if mark > NEVER else None, since=since, back=back, schedule=done.schedule, seen=None
    )


def _is_dealt_with(done: Plan, state: CronState) -> bool:
    return not done.slots or (state.mark is not None and max(done.slots) <= state.mark)
