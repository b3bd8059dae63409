"""Which slots of a cron are due, which were missed, and when the next one comes: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.records import Reason, Skip

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.records import State
    from pseudocron.crons import Cron

AT_MOST = 100
"""How many missed slots a cron without `coalesce` makes good."""

SKEW = timedelta(seconds=1)
"""By how much the clocks of the hosts that share a store may differ before one of them counts as set back."""

_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Why nobody looked until now, as far as a process knows.

    Args:
        looked: When it last looked itself; None if it has not.
        away: Since when it has found the store away; None if it has not.
    """

    looked: datetime | None = None
    away: datetime | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done for one cron.

    Args:
        cron: The entry.
        slots: What to claim, oldest first.
        skips: What to record before that.
        next: When this cron wants the next look, if what is due now is dealt with.
        waiting: Whether further slots are due, and wait until an instance of the cron has ended.
    """

    cron: Cron
    slots: tuple[datetime, ...] = ()
    skips: tuple[Skip, ...] = ()
    next: datetime | None = None
    waiting: bool = False


def due(cron: Cron, state: State, now: datetime, *, absence: Absence = Absence()) -> Due:
    """What is due of a cron whose highest dealt-with slot is `state.mark`.

    Args:
        cron: The entry.
        state: What the store knows of it.
        now: The present, aware UTC.
        absence: Why the slots that nobody looked at were missed.
    """
    latest = _ripe(cron, state.mark, now)
    if not cron.enabled or state.paused:
        reason = Reason.PAUSED if cron.enabled else Reason.DISABLED
        return Due(cron, skips=_skips(cron, state.mark, latest, reason))
    upcoming = _next(cron, latest or state.mark)
    if latest is None:
        return Due(cron, skips=_again(cron, state, now), next=upcoming)
    wanted = _wanted(cron, state.mark, latest)
    slots = [slot for slot in wanted if not _misfired(cron, slot, now)]
    misfires = wanted[: len(wanted) - len(slots)]
    skips = (*_missed(cron, state.mark, wanted[0], absence), *_misfires(cron, misfires))
    # One that coalesces has a single slot to claim, and if it can't run now that is an overlap. Where each
    # slot is to run, one that can't be claimed yet must stay above the mark.
    room = len(slots) if cron.coalesce else max(0, cron.max_instances - state.running)
    return Due(cron, tuple(slots[:room]), skips, upcoming, waiting=len(slots) > room)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A slot that somebody should have dealt with by now.

    Args:
        name: The cron's name.
        slot: The first slot that nobody has claimed or skipped.
        late: How long it is past.
        tolerance: How long it may be.
    """

    name: str
    slot: datetime
    late: timedelta
    tolerance: timedelta


def overdue(cron: Cron, state: State, now: datetime, *, max_age: float) -> Overdue | None:
    """What a cron is late with, by more than it tolerates; None if it is not, can't run, or is running.

    Unless the cron says what it tolerates, that is as long as from this slot to the following one, and at least twice
    `max_age`: whoever has one visitor in each interval is never late.

    Args:
        cron: The entry.
        state: What the store knows of it.
        now: The present, aware UTC.
        max_age: Seconds between two looks, `CRON_MAX_TIME`.
    """
    slot = cron.schedule.next(state.mark) if state.mark < now else None
    if slot is None or slot > now or not cron.enabled or state.paused or state.running:
        return None
    late, tolerance = now - cron._wake(slot), _tolerance(cron, slot, max_age)
    return Overdue(name=cron.name, slot=slot, late=late, tolerance=tolerance) if late > tolerance else None


def _tolerance(cron: Cron, slot: datetime, max_age: float) -> timedelta:
    if cron.tolerance is not None:
        return timedelta(seconds=cron.tolerance)
    following = cron.schedule.next(slot)
    return max(2 * timedelta(seconds=max_age), following - slot if following else timedelta(0))


def _ripe(cron: Cron, mark: datetime, now: datetime) -> datetime | None:
    """The latest slot above the mark whose jitter has passed too; as that is below the gap, one step back is enough."""
    slot = cron.schedule.latest(mark, now) if mark < now else None
    if slot is not None and cron._wake(slot) > now:
        slot = cron.schedule.latest(mark, slot - _MOMENT)
    return slot


def _next(cron: Cron, after: datetime) -> datetime | None:
    slot = cron.schedule.next(after)
    return None if slot is None else cron._wake(slot)


def _wanted(cron: Cron, mark: datetime, latest: datetime) -> list[datetime]:
    if cron.coalesce:
        return [latest]
    return cron.schedule.last(mark, latest, limit=AT_MOST)


def _missed(cron: Cron, mark: datetime, wanted: datetime, absence: Absence) -> tuple[Skip, ...]:
    """The slots between the mark and the first that is wanted: before the store went away, nobody came."""
    away = wanted if absence.away is None else min(absence.away, wanted)
    unseen = _skips(cron, mark, away - _MOMENT, Reason.NO_TRAFFIC, since=absence.looked)
    return (
        *unseen,
        *_skips(cron, max(mark, away - _MOMENT), wanted - _MOMENT, Reason.BACKEND_DOWN, since=absence.away),
    )


def _misfired(cron: Cron, slot: datetime, now: datetime) -> bool:
    if cron.misfire_grace_time is None:
        return False
    return now - cron._wake(slot) > timedelta(seconds=cron.misfire_grace_time)


def _misfires(cron: Cron, slots: list[datetime]) -> tuple[Skip, ...]:
    if not slots:
        return ()
    return (Skip(name=cron.name, slot=slots[-1], reason=Reason.MISFIRE, slots=len(slots), first=slots[0]),)


def _again(cron: Cron, state: State, now: datetime) -> tuple[Skip, ...]:
    """The slots to which a clock that was set back comes a second time, unless that is recorded."""
    last = cron.schedule.latest(now, state.mark) if state.mark - now > SKEW else None
    if last is None or (state.back is not None and last <= state.back):
        return ()
    return _skips(cron, now, last, Reason.CLOCK_BACK)


def _skips(
    cron: Cron, mark: datetime, until: datetime | None, reason: Reason, *, since: datetime | None = None
) -> tuple[Skip, ...]:
    """All slots in `(mark, until]` as one skip."""
    last = cron.schedule.latest(mark, until) if until is not None and until > mark else None
    if last is None:
        return ()
    first, count = cron.schedule.next(mark), cron.schedule.count(mark, last)
    return (Skip(name=cron.name, slot=last, reason=reason, slots=count, first=first, since=since),)
