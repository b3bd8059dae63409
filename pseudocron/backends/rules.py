"""What every store decides alike, as pure functions: what becomes of an attempt, of a lost run, of a repeated skip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends.model import BRIEFLY, LOST_AT_MOST, Attempt, Kind, Run, Skip, State
from pseudocron.truncation import kept

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pseudocron.backends.questions import End, Plan

IN_USE_FOR, SEEN_AGAIN = 2.0, 0.5
"""Parts of `CRON_MAX_TIME`: for how long a name is in use, and after how long it is written again."""

ENTERED_FOR = 2.0
"""Seconds after which the gate turns stale if a poll does not come to its end."""

CHILDREN_END_WITHIN = 1.0
"""Seconds that the lease of a process that is gone goes on at most, for its children."""

REPLACED_AT_MOST = 20
"""How many replaced schedules are kept of a cron."""

EARLIER_AT_MOST = 10
"""How many earlier attempts a run describes."""

REASONS = {
    State.CANCELLED: "on request",
    State.REPLACED: "by a newer run",
    State.EXPIRED: "not started in time",
}
FINAL = frozenset(State) - {State.PENDING, State.RUNNING}


def ended(run: Run, end: End, *, stop: bool, is_key_taken: bool, now: datetime) -> Run:
    """Return a running run whose attempt has ended.

    Args:
        run: The run, as its claim has left it.
        end: How the attempt ended.
        stop: Whether it was cancelled while it ran.
        is_key_taken: Whether another pending job of its task that has not expired has its key now.
        now: The store's clock.
    """
    failed = end.counts and end.outcome in {State.FAILED, State.TIMED_OUT}
    run = run._replace(
        ended=now,
        attempts=run.attempts - (not end.counts),
        failures=run.failures + failed,
        error=kept(end.error) or run.error,
        output=kept(end.output),
        reason=end.reason,
        is_kept=end.goes_on,
        unfit_since=(run.unfit_since or now) if end.unfit else None,
    )
    if end.outcome is State.SUCCEEDED:
        return run._replace(state=State.SUCCEEDED)
    if stop:
        return dropped(run, State.CANCELLED, now)
    if end.due is None:
        return run._replace(state=end.outcome)
    if is_key_taken:
        return dropped(run, State.REPLACED, now)
    return _again(run, end.outcome, max(end.due, now))


def lost(run: Run, *, stop: bool, is_key_taken: bool, now: datetime) -> Run:
    """Return a running run whose lease is over; see `ended`. Losses do not use up retries."""
    run = run._replace(ended=now, lost=run.lost + 1, unfit_since=None)
    if stop:
        return dropped(run, State.CANCELLED, now)
    if run.lost >= LOST_AT_MOST:
        return run._replace(state=State.FAILED, reason=f"lost {run.lost} times")
    if not run.at_least_once:
        return run._replace(state=State.LOST)
    if is_key_taken:
        return dropped(run, State.REPLACED, now)
    return _again(run, State.LOST, now)


def _again(run: Run, outcome: State, due: datetime) -> Run:
    """Return a run that becomes pending again after an attempt, which it goes on to describe."""
    assert run.started is not None and run.ended is not None and run.worker is not None  # noqa: S101, PT018 - it ran
    last_line = run.error.strip().rsplit("\n", 1)[-1] if run.error else None
    attempt = Attempt(run.worker, run.started, run.ended, outcome, last_line)
    return run._replace(state=State.PENDING, due=due, earlier=(*run.earlier, attempt)[-EARLIER_AT_MOST:])


def dropped(run: Run, state: State, now: datetime) -> Run:
    """Return a run that is not started any more."""
    return run._replace(state=state, ended=now, reason=REASONS[state])


def revived(run: Run, now: datetime) -> Run:
    """Return a failed job that is to be executed again; see `Backend.retry`."""
    return run._replace(
        state=State.PENDING, due=now, expires=None, attempts=0, failures=0, lost=0, reason=None, unfit_since=None
    )


def briefly(run: Run) -> Run:
    """Return a run without what it wrote, and with the beginning of its arguments."""
    return run._replace(error=None, output=None, arguments=run.arguments and run.arguments[:BRIEFLY])


def is_expired(run: Run, now: datetime) -> bool:
    """Return whether it is too late to start a pending run."""
    return run.expires is not None and run.expires < now


def counts_for_instances(run: Run, *, coalesce: bool) -> bool:
    """Return whether a pending run of a cron counts for `max_instances`, although it is not living."""
    return run.kind is Kind.SLOT and (run.at_least_once or not coalesce)


def merged(newest: Skip, skip: Skip, *, now: datetime) -> Skip:
    """Return the newest skip of a cron with further slots, skipped for the same reason."""
    first = min(newest.first or newest.slot, skip.first or skip.slot)
    return newest._replace(slot=max(newest.slot, skip.slot), first=first, slots=newest.slots + skip.slots, updated=now)


def is_current(plan: Plan, *, mark: datetime | None, since: datetime | None, schedule: str | None) -> bool:
    """Return whether a plan was computed from what is stored; a cron that is new has no `since` and no schedule."""
    expected = plan.schedule if plan.replaces is None else plan.replaces
    return plan.mark == mark and since in {None, plan.since} and schedule in {None, expected}


def replaced(before: Sequence[str], old: str, new: str) -> tuple[str, ...]:
    """Return the replaced schedules of a cron after one has taken over from another."""
    return (*(one for one in before if one not in {old, new}), old)[-REPLACED_AT_MOST:]


def is_in_use(age: float, cron_max_time: float) -> bool:
    """Return whether a name that was seen so many seconds ago is in use."""
    return age <= IN_USE_FOR * cron_max_time


def is_seen(age: float, cron_max_time: float) -> bool:
    """Return whether it need not be written again that a name is in use; after a step of the clock it must."""
    return 0 <= age < SEEN_AGAIN * cron_max_time
