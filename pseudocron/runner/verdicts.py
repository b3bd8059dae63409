"""What becomes of a job whose attempt has ended: done, tried again later, given up, or handed back. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pseudocron.backends.jobs import JobEnd, JobState
from pseudocron.backends.records import Outcome
from pseudocron.executors import CutOff
from pseudocron.jobs.retries import is_retryable, requested
from pseudocron.runner.runs import RETRY_CAP, RETRY_FIRST

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pseudocron.backends.jobs import JobClaim
    from pseudocron.executors import Ended
    from pseudocron.jobs.tasks import Task

UNFIT_FIRST, UNFIT_CAP = timedelta(seconds=10), timedelta(minutes=5)
"""How long a job waits whose arguments do not fit here: as long as it has waited so far, within these bounds."""

UNFIT_AT_MOST = timedelta(days=1)
"""For how long; a deployment in which two versions run side by side takes minutes."""


class UnfitError(Exception):
    """Stored arguments do not fit the function: another version of the application may have deferred the job."""


def verdict(
    task: Task[..., Any], claim: JobClaim, ended: Ended | CutOff, *, now: datetime, random: Callable[[], float]
) -> JobEnd:
    """Return how an attempt ends.

    Args:
        task: What was run.
        claim: The claim of the attempt.
        ended: How it ended; `CutOff` for one that a drain has cut off.
        now: The present, aware UTC.
        random: A number in [0, 1).
    """
    goes_on = ended.lingering is not None
    if isinstance(ended, CutOff):
        return JobEnd(state=JobState.PENDING, due=now, counts=False, goes_on=goes_on)
    result = ended.result
    if result.outcome is Outcome.SUCCEEDED:
        return JobEnd(state=JobState.SUCCEEDED)
    if isinstance(ended.raised, UnfitError):
        return _unfit(claim, result.error, now)
    if claim.attempt > task.retries or not _is_retryable(task, ended):
        return JobEnd(state=JobState.FAILED, error=result.error, reason=str(result.outcome), goes_on=goes_on)
    due = now + _pause(claim, ended, random)
    return JobEnd(state=JobState.PENDING, due=due, error=result.error, goes_on=goes_on)


def _unfit(claim: JobClaim, error: str | None, now: datetime) -> JobEnd:
    """Leave a job to a newer version, which may have deferred it; that is no attempt."""
    waited = now - (claim.unfit_since or now)
    if waited >= UNFIT_AT_MOST:
        return JobEnd(state=JobState.FAILED, error=error, reason="failed")
    pause = min(max(waited, UNFIT_FIRST), UNFIT_CAP)
    return JobEnd(state=JobState.PENDING, due=now + pause, error=error, counts=False, unfit=True)


def _is_retryable(task: Task[..., Any], ended: Ended) -> bool:
    """Whether what went wrong may go right another time."""
    return requested(ended.raised) is not None or is_retryable(ended.raised, task.retry_for)


def _pause(claim: JobClaim, ended: Ended, random: Callable[[], float]) -> timedelta:
    """Exponential with full jitter, unless the task says when."""
    if (retry := requested(ended.raised)) is not None and retry.after is not None:
        return retry.after
    most = min(RETRY_FIRST * 2.0 ** min(claim.attempt, 30), RETRY_CAP)
    return timedelta(seconds=random() * most)
