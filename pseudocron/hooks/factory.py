"""Factories of events, for runs, jobs and skipped slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends.jobs import JobState
from pseudocron.backends.records import Outcome
from pseudocron.backends.rules import skip_for
from pseudocron.hooks import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pseudocron.backends.jobs import Job, JobClaim, JobEnd
    from pseudocron.backends.records import Claim, Proposal, Refusal, Result, Run, Skip

    MakeEvent = Callable[[EventKind], Event]

_KINDS = {JobState.SUCCEEDED: EventKind.SUCCEEDED, JobState.PENDING: EventKind.RETRYING}


def of_run(
    claim: Claim, worker: str, *, retry: int = 0, duration: float | None = None, result: Result | None = None
) -> MakeEvent:
    """Return the event of a run that has started, is retried, or has ended."""
    return lambda kind: Event(
        kind=kind,
        name=claim.name,
        is_job=False,
        slot=claim.slot,
        run_id=claim.run_id,
        fence=claim.fence,
        attempt=claim.attempt + retry,
        worker=worker,
        started=claim.started,
        lateness=(claim.started - claim.slot).total_seconds(),
        duration=duration,
        outcome=result.outcome if result else None,
        error=result.error if result else None,
    )


def of_skip(skip: Skip, worker: str) -> MakeEvent:
    """Return the event of slots that were skipped."""
    return lambda kind: Event(
        kind=kind,
        name=skip.name,
        is_job=False,
        slot=skip.slot,
        slots=skip.slots,
        worker=worker,
        outcome=Outcome.SKIPPED,
        reason=skip.reason,
    )


def of_refusal(proposal: Proposal, why: Refusal) -> MakeEvent | None:
    """Return the event of a claim that was refused; None if the refusal is not recorded as a skip."""
    skip = skip_for(proposal, why)
    return of_skip(skip, proposal.worker) if skip else None


def of_lost_run(run: Run) -> MakeEvent:
    """Return the event of a run that is lost."""
    return lambda kind: Event(
        kind=kind,
        name=run.name,
        is_job=False,
        slot=run.slot,
        run_id=run.run_id,
        fence=run.fence,
        attempt=run.attempt,
        worker=run.worker,
        started=run.started,
        lateness=(run.started - run.slot).total_seconds(),
        outcome=Outcome.LOST,
        error=run.error,
    )


def of_job(
    claim: JobClaim,
    worker: str,
    *,
    duration: float | None = None,
    outcome: Outcome | JobState | None = None,
    end: JobEnd | None = None,
) -> MakeEvent:
    """Return the event of an attempt of a job that has started or ended."""
    return lambda kind: Event(
        kind=kind,
        name=claim.task,
        is_job=True,
        slot=claim.due,
        run_id=claim.job_id,
        fence=claim.fence,
        attempt=claim.attempt,
        worker=worker,
        started=claim.started,
        lateness=(claim.started - claim.due).total_seconds(),
        duration=duration,
        outcome=outcome,
        reason=end.reason if end else None,
        error=end.error if end else None,
        key=claim.key,
    )


def of_ended_job(
    claim: JobClaim, worker: str, *, duration: float, outcome: Outcome, end: JobEnd, state: JobState
) -> tuple[EventKind, MakeEvent]:
    """Return the kind and the event of an attempt of a job that has ended."""
    kind = _KINDS.get(state, EventKind.FAILED)
    unwanted = state in {JobState.CANCELLED, JobState.REPLACED}
    return kind, of_job(claim, worker, duration=duration, outcome=state if unwanted else outcome, end=end)


def of_lost_job(job: Job) -> MakeEvent:
    """Return the event of a job that was lost; the job is in its new state."""
    return lambda kind: Event(
        kind=kind,
        name=job.task,
        is_job=True,
        slot=job.due,
        run_id=job.job_id,
        fence=job.fence,
        attempt=job.attempts,
        worker=job.worker,
        started=job.started,
        outcome=Outcome.LOST,
        reason=job.reason,
        error=job.error,
        key=job.key,
    )


def kinds_of_lost(job: Job) -> Sequence[EventKind]:
    """Return the kinds of events of a lost job: also FAILED if it was lost too often."""
    return (EventKind.LOST, EventKind.FAILED) if job.state is JobState.FAILED else (EventKind.LOST,)
