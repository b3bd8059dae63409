"""Which slots of a cron are due, which were missed, and when the next one comes: pure arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends.model import CronState, Reason, Skip
from pseudocron.backends.questions import Plan
from pseudocron.schedule.definitions import defined
from pseudocron.worker.versions import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pseudocron.cron import Cron
    from pseudocron.schedule import Schedule

AT_MOST = 100
"""How many missed slots of a cron without `coalesce` are executed."""

SKEW = timedelta(seconds=1)
"""By how much the clocks of the hosts that share a store may differ before one of them counts as set back."""

NEVER = datetime.min.replace(tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)


class Absence(NamedTuple):
    """Why no process has polled until now, as far as this process knows.

    Args:
        polled: When this process polled last; None if it has not.
        away: Since when it has found the store away; None if it has not.
    """

    polled: datetime | None = None
    away: datetime | None = None


NOTHING_KNOWN = Absence()


def plan(
    cron: Cron,
    state: CronState,
    now: datetime,
    *,
    since: datetime,
    absence: Absence = NOTHING_KNOWN,
    standing: Standing | None = None,
) -> Plan:
    """Return what is due of a cron.

    Args:
        cron: The cron.
        state: What the store knows of it.
        now: The present, aware UTC.
        since: From when on its slots count if the store has never seen it.
        absence: Why slots were missed.
        standing: How its schedule stands to the stored one. If it takes over or returns, it counts from now. None: it
            takes over if another one is stored.
    """
    if standing is None:
        standing = Standing.COUNTS if is_stored(cron, state) else Standing.TAKES_OVER
    if standing is not Standing.COUNTS:
        return _from_now(cron, state, now, since, takes_over=standing is not Standing.RETURNS)
    floor = state.floor or since
    latest = _ripe(cron, floor, now)
    if not cron.enabled or state.paused:
        reason = Reason.PAUSED if cron.enabled else Reason.DISABLED
        # The store must know when a paused cron is due: whoever resumes it has no plan.
        upcoming = _next(cron, latest or floor) if cron.enabled else None
        return _plan(cron, state, since, skips=_skips(cron, floor, latest, reason), upcoming=upcoming)
    upcoming = _next(cron, latest or floor)
    if latest is None:
        return _plan(cron, state, since, skips=_again(cron, state, now), upcoming=upcoming)
    wanted = [latest] if cron.coalesce else cron.schedule.last(floor, latest, limit=AT_MOST)
    slots = [slot for slot in wanted if not _misfired(cron, slot, now)]
    misfires = wanted[: len(wanted) - len(slots)]
    skips = (*_missed(cron, floor, wanted[0], absence), *_misfires(cron, misfires))
    return _plan(cron, state, since, slots=slots, skips=skips, upcoming=upcoming)


def _from_now(cron: Cron, state: CronState, now: datetime, since: datetime, *, takes_over: bool) -> Plan:
    """Let a schedule count from now, and record which slots of the one that it replaces nobody has claimed."""
    upcoming = _next(cron, max(now, state.mark or now)) if cron.enabled else None
    skips: tuple[Skip, ...] = ()
    if takes_over and (old := defined(state.schedule or "")):
        skips = _skips(cron, state.floor or now, now, Reason.CHANGED, schedule=old)
    planned = _plan(cron, state, since, skips=skips, upcoming=upcoming)
    return planned._replace(counts_from=now, replaces=state.schedule if takes_over else None)


def _plan(
    cron: Cron,
    state: CronState,
    since: datetime,
    *,
    slots: Sequence[datetime] = (),
    skips: Sequence[Skip] = (),
    upcoming: datetime | None = None,
) -> Plan:
    return Plan(
        name=cron.name,
        mark=state.mark,
        since=state.since or since,
        slots=slots,
        skips=skips,
        next=upcoming,
        coalesce=cron.coalesce,
        at_least_once=cron.at_least_once,
        schedule=cron._definition,
    )


def is_stored(cron: Cron, state: CronState) -> bool:
    """Return whether the schedule of a cron is the one that counts, or will, as the store has none."""
    return state.schedule is None or state.schedule == cron._definition


def floor_of(cron: Cron, state: CronState, now: datetime) -> datetime:
    """Return the instant above which slots of a cron are due: the present, if another schedule counts until now."""
    if is_stored(cron, state):
        return state.floor or cron._first_mark(now)
    return max(now, state.mark or now)


class Overdue(NamedTuple):
    """A slot that should have been claimed by now.

    Args:
        name: The name of the cron.
        slot: The first slot that was neither claimed nor skipped.
        late: How long it is past.
        tolerance: How long it may be.
    """

    name: str
    slot: datetime
    late: timedelta
    tolerance: timedelta


def overdue(cron: Cron, state: CronState, now: datetime, *, cron_max_time: float) -> Overdue | None:
    """Return the slot with which a cron is late by more than it tolerates, None if it is not, can't run, or runs.

    Unless the cron says what it tolerates, that is as long as from this slot to the following one, and at least twice
    `cron_max_time`: an application with one request in each interval is never late.

    Args:
        cron: The cron.
        state: What the store knows of it.
        now: The present, aware UTC.
        cron_max_time: Seconds between two polls.
    """
    floor = floor_of(cron, state, now)
    slot = cron.schedule.next(floor) if floor < now else None
    if slot is None or slot > now or not cron.enabled or state.paused or state.running:
        return None
    late, tolerance = now - cron._wake(slot), _tolerance(cron, slot, cron_max_time)
    return Overdue(name=cron.name, slot=slot, late=late, tolerance=tolerance) if late > tolerance else None


def _tolerance(cron: Cron, slot: datetime, cron_max_time: float) -> timedelta:
    if cron.tolerance is not None:
        return timedelta(seconds=cron.tolerance)
    following = cron.schedule.next(slot)
    return max(2 * timedelta(seconds=cron_max_time), following - slot if following else timedelta(0))


def _ripe(cron: Cron, floor: datetime, now: datetime) -> datetime | None:
    """Return the latest slot whose jitter has passed too; as that is below the gap, one step back is enough."""
    slot = cron.schedule.latest(floor, now) if floor < now else None
    if slot is not None and cron._wake(slot) > now:
        slot = cron.schedule.latest(floor, slot - _MOMENT)
    return slot


def _next(cron: Cron, after: datetime) -> datetime | None:
    slot = cron.schedule.next(after)
    return None if slot is None else cron._wake(slot)


def _missed(cron: Cron, floor: datetime, wanted: datetime, absence: Absence) -> tuple[Skip, ...]:
    """Return the slots below the first that is wanted: for want of traffic, until the store went away."""
    if cron.schedule.next(floor) == wanted:
        return ()
    away = wanted if absence.away is None else min(absence.away, wanted)
    return (
        *_skips(cron, floor, away - _MOMENT, Reason.NO_TRAFFIC, since=absence.polled),
        *_skips(cron, max(floor, away - _MOMENT), wanted - _MOMENT, Reason.BACKEND_DOWN, since=absence.away),
    )


def _misfired(cron: Cron, slot: datetime, now: datetime) -> bool:
    if cron.misfire_grace_time is None:
        return False
    return now - cron._wake(slot) > timedelta(seconds=cron.misfire_grace_time)


def _misfires(cron: Cron, slots: list[datetime]) -> tuple[Skip, ...]:
    if not slots:
        return ()
    return (Skip(name=cron.name, slot=slots[-1], reason=Reason.MISFIRE, slots=len(slots), first=slots[0]),)


def _again(cron: Cron, state: CronState, now: datetime) -> tuple[Skip, ...]:
    """Return the slots to which a clock that was set back comes a second time, unless that is recorded."""
    if state.mark is None or state.mark - now <= SKEW:
        return ()
    last = cron.schedule.latest(now, state.mark)
    if last is None or (state.back is not None and last <= state.back):
        return ()
    return _skips(cron, now, last, Reason.CLOCK_BACK)


def _skips(
    cron: Cron,
    floor: datetime,
    until: datetime | None,
    reason: Reason,
    *,
    since: datetime | None = None,
    schedule: Schedule | None = None,
) -> tuple[Skip, ...]:
    """Return all slots in `(floor, until]` as one skip; of another schedule, if one is given."""
    schedule = schedule or cron.schedule
    last = schedule.latest(floor, until) if until is not None and until > floor else None
    if last is None:
        return ()
    first, count = schedule.next(floor), schedule.count(floor, last)
    return (Skip(name=cron.name, slot=last, reason=reason, slots=count, first=first, since=since),)
