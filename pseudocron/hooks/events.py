"""Events and their kinds: what happens to a run of a cron, or to an attempt of a job."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, State
from pseudocron.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pseudocron.backends.model import Reason, Run, Skip
    from pseudocron.backends.questions import Claim, End


class EventKind(StrEnum):
    """Kinds of events; `on` takes their names."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRYING = "retrying"
    SKIPPED = "skipped"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a run of a cron, or of an attempt of a job, with which hooks are called.

    Args:
        kind: Kind of the event: the name that was given to `on`.
        name: Name of the cron or of the task.
        is_job: Whether this is a job, and not a run of a cron.
        slot: Scheduled instant of the run, or when the job was due, aware UTC.
        slots: Number of slots that were skipped; `slot` is the latest of them.
        run_id: Identity of the run or of the job; None for skipped slots.
        fence: Integer that grows with every claim of the same cron or job; 0 for skipped slots.
        attempt: Number of the attempt, from 1; 0 for skipped slots.
        worker: Process that ran or skipped it (`host:pid`); None if it is not known.
        started: When it was claimed, by the clock of the store, aware UTC; None for skipped slots.
        lateness: Seconds from `slot` to `started`; None for skipped slots.
        duration: Seconds from the start of the first attempt to the end of the last one in this process; None if it has
            not ended in this process.
        outcome: Outcome of the run, or of the attempt before this one; None if it has only started. For a job that was
            cancelled or replaced, its state.
        reason: Why slots were skipped, or why a job has failed for good, in a word or two.
        error: Traceback, or an error message.
        key: Key of the job; None without one.
    """

    kind: EventKind
    name: str
    is_job: bool
    slot: datetime
    slots: int = 1
    run_id: str | None = None
    fence: int = 0
    attempt: int = 0
    worker: str | None = None
    started: datetime | None = None
    lateness: float | None = None
    duration: float | None = None
    outcome: State | None = None
    reason: Reason | str | None = None
    error: str | None = None
    key: str | None = None


def of_claim(
    claim: Claim,
    worker: str,
    kind: EventKind,
    *,
    end: End | None = None,
    state: State | None = None,
    duration: float | None = None,
) -> Event:
    """Make the event of an attempt that was started, or has ended.

    Args:
        claim: The attempt.
        worker: Which process executes it (`host:pid`).
        kind: What happened.
        end: How it ended, if it has.
        state: The state of the run after that.
        duration: Seconds that it took.
    """
    return Event(
        kind=kind,
        name=claim.name,
        is_job=claim.kind is Kind.JOB,
        slot=claim.slot or claim.due,
        run_id=claim.run_id,
        fence=claim.fence,
        attempt=claim.attempt,
        worker=worker,
        started=claim.started,
        lateness=(claim.started - claim.due).total_seconds(),
        duration=duration,
        outcome=state if state in _UNWANTED else end and end.outcome,
        reason=end and end.reason,
        error=end and end.error,
        key=claim.key,
    )


def of_lost(run: Run, kind: EventKind) -> Event:
    """Make the event of a run whose lease has ended under it, in its new state."""
    return Event(
        kind=kind,
        name=run.name,
        is_job=run.kind is Kind.JOB,
        slot=run.slot or run.due,
        run_id=run.run_id,
        fence=run.fence,
        attempt=run.attempts,
        worker=run.worker,
        started=run.started,
        outcome=State.LOST,
        reason=run.reason,
        error=run.error,
        key=run.key,
    )


def of_skip(skip: Skip, worker: str, kind: EventKind) -> Event:
    """Make the event of slots that will not run."""
    return Event(
        kind=kind,
        name=skip.name,
        is_job=False,
        slot=skip.slot,
        slots=skip.slots,
        worker=worker,
        reason=skip.reason,
    )


def lost_as(run: Run) -> Sequence[EventKind]:
    """Return as what the loss of a run is notified: also as a failure, if it was lost too often."""
    return (EventKind.LOST, EventKind.FAILED) if run.state is State.FAILED else (EventKind.LOST,)


_UNWANTED = frozenset({State.CANCELLED, State.REPLACED})
