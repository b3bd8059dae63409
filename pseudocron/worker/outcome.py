"""What becomes of an attempt: done, retried later, given up, or handed back. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import End
from pseudocron.executors import CutOff

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pseudocron.backends.questions import Claim
    from pseudocron.cron import Cron
    from pseudocron.executors import Ended
    from pseudocron.jobs.tasks import Task

RETRY_FIRST, RETRY_CAP = 1.0, 300.0
"""Seconds: the n-th retry, counted from 0, waits a random part of `RETRY_FIRST * 2**n`, at most of `RETRY_CAP`."""

UNFIT_FIRST, UNFIT_CAP = timedelta(seconds=10), timedelta(minutes=5)
"""How long a job waits whose arguments do not fit here: as long as it has waited so far, within these bounds."""

UNFIT_AT_MOST = timedelta(days=1)
"""For how long; a deployment in which two versions run side by side takes minutes."""


STOPPED_AT_MOST = 3
"""How often a child process may die of a signal to the whole service before its job or slot is given up, if it is to
run at least once: as often as a run may be lost."""


class UnfitError(Exception):
    """Stored arguments do not fit the function: another version of the application may have deferred the job."""


def end_of(
    target: Cron | Task[..., object], claim: Claim, ended: Ended | CutOff, *, now: datetime, random: Callable[[], float]
) -> End:
    """Return how an attempt ends.

    Args:
        target: What was executed.
        claim: The attempt.
        ended: How it ended; `CutOff` for one that a drain has cut off.
        now: The present by the store's clock, aware UTC.
        random: Returns a number in [0, 1).
    """
    goes_on = ended.lingering is not None
    if isinstance(ended, CutOff):
        return _cut_off(target, claim, now, goes_on=goes_on)
    if ended.outcome is State.SUCCEEDED:
        return End(claim, State.SUCCEEDED, output=ended.output)
    if isinstance(ended.raised, UnfitError):
        return _unfit(claim, ended.error, now)
    due = now + _pause(claim, ended, random) if _is_retried(target, claim, ended) else None
    reason = str(ended.outcome) if due is None and claim.kind is Kind.JOB else None
    return End(claim, ended.outcome, due, error=ended.error, output=ended.output, reason=reason, goes_on=goes_on)


def _cut_off(target: Cron | Task[..., object], claim: Claim, now: datetime, *, goes_on: bool) -> End:
    """Hand back what may run elsewhere; anything else is interrupted."""
    if claim.kind is Kind.JOB or (claim.kind is Kind.SLOT and getattr(target, "at_least_once", False)):
        return End(claim, State.INTERRUPTED, now, counts=False, goes_on=goes_on)
    return End(claim, State.INTERRUPTED, error="the process was shut down", goes_on=goes_on)


def _unfit(claim: Claim, error: str | None, now: datetime) -> End:
    """Leave a job to a newer version, which may have deferred it; that is no attempt."""
    waited = now - (claim.unfit_since or now)
    if waited >= UNFIT_AT_MOST:
        return End(claim, State.FAILED, error=error, reason="failed")
    pause = min(max(waited, UNFIT_FIRST), UNFIT_CAP)
    return End(claim, State.FAILED, now + pause, counts=False, error=error, unfit=True)


def _is_retried(target: Cron | Task[..., object], claim: Claim, ended: Ended) -> bool:
    if claim.kind is Kind.MANUAL:
        return False
    if ended.outcome is State.INTERRUPTED:
        # That another program has stopped a child process is no failure, but must not be retried without end.
        is_due = claim.kind is Kind.JOB or getattr(target, "at_least_once", False)
        return claim.attempt < max(target.retries + 1, STOPPED_AT_MOST if is_due else 0)
    if claim.failures >= target.retries:
        return False
    if claim.kind is Kind.SLOT:
        return True
    from pseudocron.jobs.retries import is_retryable, requested  # noqa: PLC0415 - only where a job has failed

    return requested(ended.raised) is not None or is_retryable(ended.raised, target.retry_for)  # type: ignore[union-attr]


def _pause(claim: Claim, ended: Ended, random: Callable[[], float]) -> timedelta:
    """Return an exponential pause with full jitter, unless a job says when."""
    if claim.kind is Kind.JOB:
        from pseudocron.jobs.retries import requested  # noqa: PLC0415 - as above

        if (retry := requested(ended.raised)) is not None and retry.after is not None:
            return retry.after
    return timedelta(seconds=random() * min(RETRY_FIRST * 2.0 ** min(claim.failures, 30), RETRY_CAP))
