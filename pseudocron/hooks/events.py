"""What hooks are told: one thing that happened to one run of a cron, or to one attempt of a job."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pseudocron.dataclass import dataclass

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.jobs import JobState
    from pseudocron.backends.records import Outcome, Reason


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
        outcome: How it ended, or the try before this one; None where it has only started. A job that ended
            otherwise than by itself has the state in which it is.
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
    outcome: Outcome | JobState | None = None
    reason: Reason | str | None = None
    error: str | None = None
    key: str | None = None
