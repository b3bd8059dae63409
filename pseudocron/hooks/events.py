"""Events and their kinds: what happens to a run of a cron, or to an attempt of a job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.jobs import JobState
    from pseudocron.backends.records import Outcome, Reason


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
    outcome: Outcome | JobState | None = None
    reason: Reason | str | None = None
    error: str | None = None
    key: str | None = None
