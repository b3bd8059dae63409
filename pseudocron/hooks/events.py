"""The events of runs, made in one place from what the worker has at hand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pseudocron.backends.model import Claim, End, Reason, Run, Skip


class Happening(StrEnum):
    """What may happen to a run; the name that `on` takes."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRYING = "retrying"
    SKIPPED = "skipped"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a hook is told: one thing that happened to one run of a cron, or to one attempt of a job.

    Args:
        kind: What happened: the word that was given to `on`.
        name: The cron's, or the task's.
        is_job: Whether it is a job, and no run of a cron.
        slot: The scheduled instant of the run, or when the job was due, aware UTC.
        slots: How many slots were skipped, of which `slot` is the latest.
        run_id: The identity of the run, or the job's; None of what was skipped.
        fence: An integer that grows with every claim of the same cron or job; 0 of what was skipped.
        attempt: Counts the tries, from 1; 0 of what was skipped.
        worker: Who ran it, or skipped it (`host:pid`); None where that is not known.
        started: When it was claimed, by the store's clock, aware UTC; None of what was skipped.
        lateness: Seconds from `slot` to `started`; None of what was skipped.
        duration: Seconds that it took in this process, all of its tries; None where it has not ended here.
        outcome: How the attempt ended; `cancelled` or `replaced` if the run is not wanted any more. None if it has
            only started, and of what was skipped.
        reason: Why it was skipped, or why a job is given up, in a word or two.
        error: The traceback, or what stands for one.
        key: The job's key, if it has one.
    """

    kind: Happening
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
    kind: Happening,
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


def of_lost(run: Run, kind: Happening) -> Event:
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


def of_skip(skip: Skip, worker: str, kind: Happening) -> Event:
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


def lost_as(run: Run) -> Sequence[Happening]:
    """Return as what the loss of a run is notified: also as a failure, if it was lost too often."""
    return (Happening.LOST, Happening.FAILED) if run.state is State.FAILED else (Happening.LOST,)


_UNWANTED = frozenset({State.CANCELLED, State.REPLACED})
