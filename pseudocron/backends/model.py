"""The model: what a store keeps. What its verbs take and return is in `pseudocron.backends.questions`.

Instants are aware UTC `datetime`s, durations are seconds. All records are immutable.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a run executes."""

    SLOT = "slot"  # one scheduled instant of a cron
    JOB = "job"  # a deferred call of a task
    MANUAL = "manual"  # a cron, started by hand


class State(StrEnum):
    """Where a run stands. Nothing follows any state but the first two, except after `Backend.retry`."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    EXPIRED = "expired"


class Reason(StrEnum):
    """Why slots were skipped."""

    OVERLAP = "overlap"
    MISFIRE = "misfire"
    PAUSED = "paused"
    DISABLED = "disabled"
    BACKEND_DOWN = "backend_down"
    CLOCK_BACK = "clock_back"
    NO_TRAFFIC = "no_traffic"
    CHANGED = "changed"


class Conflict(StrEnum):
    """What becomes of a job whose key another pending job of its task has."""

    REPLACE = "replace"  # the newest wins; the older one ends as replaced
    KEEP = "keep"  # the older one stays; the new one is not stored
    RAISE = "raise"  # `JobConflictError`, and nothing of the call is stored


class Waited(NamedTuple):
    """Where the lateness of a run comes from: seconds between the slot and the poll that claimed it.

    Args:
        request: No request, ticker or `tick` came.
        gate: The gate was fresh.
        capacity: The process had no free capacity, or the cron was at `max_instances`.
        store: The store was away.
    """

    request: float = 0.0
    gate: float = 0.0
    capacity: float = 0.0
    store: float = 0.0


class Blocker(NamedTuple):
    """A living run that kept a slot from being claimed."""

    run_id: str
    worker: str


class Attempt(NamedTuple):
    """An earlier attempt of a run; the latest one is described by the run itself."""

    worker: str
    started: datetime
    ended: datetime
    outcome: State
    error: str | None = None  # the last line of the traceback


class Run(NamedTuple):
    """One execution of a target, from when it is stored to its end.

    Args:
        run_id: Unique in the store. Of a job it is the id that `defer` returned.
        kind: What it executes.
        name: The name of the cron, or of the job's task.
        state: Where it stands.
        due: Not before this instant: the slot, a job's due time, or when its next attempt is due.
        created: When it was stored: a job when it was deferred, a slot when it was claimed.
        slot: The scheduled instant of a cron's run; of a manual run the moment of its start; None of a job.
        key: Unique among the pending jobs of a task, if given.
        arguments: What a job calls its task with, as JSON.
        priority: Of pending runs of a kind that are due, the highest starts first.
        expires: Not started after this instant, if given.
        at_least_once: Whether it becomes pending again when it is lost. Of jobs always true.
        attempts: How many claims it had, without those that were handed back or did not fit.
        failures: How many of them failed or timed out.
        lost: How many of them were lost.
        fence: Grows with every claim of the same cron, or of the same job. 0 before the first claim.
        worker: Which process has or had the latest attempt (`host:pid`).
        started: When the latest attempt was claimed.
        ended: When the latest attempt ended; of a run that was never started, when that was decided.
        reason: Why it is in a final state other than `succeeded`, in a few words.
        error: The traceback of the latest attempt that failed, its last 64 KiB.
        output: What the code of the latest attempt wrote, its last 64 KiB.
        waited: Where its lateness came from; None if that was not measured.
        unfit_since: Since when the arguments did not fit the task; None if the latest attempt did.
        is_kept: Whether its lease is living although the result is recorded: its code still runs.
        earlier: Its earlier attempts, oldest first, at most the last 10.
    """

    run_id: str
    kind: Kind
    name: str
    state: State
    due: datetime
    created: datetime
    slot: datetime | None = None
    key: str | None = None
    arguments: str | None = None
    priority: int = 0
    expires: datetime | None = None
    at_least_once: bool = False
    attempts: int = 0
    failures: int = 0
    lost: int = 0
    fence: int = 0
    worker: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    reason: str | None = None
    error: str | None = None
    output: str | None = None
    waited: Waited | None = None
    unfit_since: datetime | None = None
    is_kept: bool = False
    earlier: tuple[Attempt, ...] = ()


class Skip(NamedTuple):
    """Slots of a cron that will not run.

    Args:
        name: The name of the cron.
        slot: The last of them.
        reason: Why.
        slots: How many they are.
        first: The first of them; None if that is the last.
        since: Of `no_traffic` the poll before, of `backend_down` when the store went away, if known.
        blockers: Of an `overlap`: the runs that were living.
        recorded: When the first of them was recorded. None in a `Plan`.
        updated: When the last of them was recorded. None in a `Plan`.
        worker: Which process recorded the first of them (`host:pid`). None in a `Plan`.
    """

    name: str
    slot: datetime
    reason: Reason
    slots: int = 1
    first: datetime | None = None
    since: datetime | None = None
    blockers: tuple[Blocker, ...] = ()
    recorded: datetime | None = None
    updated: datetime | None = None
    worker: str | None = None


class CronState(NamedTuple):
    """What the store knows of a cron. A cron that it has never seen has a state too, with a `mark` of None.

    Args:
        name: The name of the cron.
        mark: The highest slot that was claimed or skipped; only grows, except by `reset`.
        since: The schedule counts from this instant: no slot up to it is due.
        back: The last slot of the latest `clock_back` skip.
        next: When the cron is due next, as the last poll that planned it has computed.
        paused: Whether its slots are refused.
        running: How many of its runs count for `max_instances`: the living ones, and pending ones that count.
        claims: How many claims there were.
        failures: How many runs ended otherwise than `succeeded`.
        missed: How many slots were skipped.
        schedule: The schedule that counts, as text.
        replaced: The schedules that it and earlier ones took over from, the latest last, at most the last 20.
        seen: When a process last named the cron as its own in a poll; up to half a `CRON_MAX_TIME` earlier.
    """

    name: str
    mark: datetime | None = None
    since: datetime | None = None
    back: datetime | None = None
    next: datetime | None = None
    paused: bool = False
    running: int = 0
    claims: int = 0
    failures: int = 0
    missed: int = 0
    schedule: str | None = None
    replaced: tuple[str, ...] = ()
    seen: datetime | None = None

    @property
    def floor(self) -> datetime | None:
        """The instant above which slots are due: the higher one of `mark` and `since`; None if there is neither."""
        return max(filter(None, (self.mark, self.since)), default=None)


LOST_AT_MOST = 3
"""A run that was lost so often has taken its workers with it: it is `failed`, and not pending again."""

BRIEFLY = 1000
"""Characters of the arguments of a run where only the beginning of them is asked for."""

LATEST = datetime(2255, 1, 1, tzinfo=UTC)
"""Instants before this one are kept exactly on every store: Lua numbers, on a Redis server, are exact up to 2^53."""

PRECISION = timedelta(microseconds=1)
"""The smallest step that instants keep."""
