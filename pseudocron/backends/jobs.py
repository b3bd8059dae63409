"""The contract of a backend's queue of jobs: the second half of `Backend`, under the same law as the first.

Atomicity, ordering, clocks and errors are those of `backends.base`. A job is in one state at a time:

    pending -> running -> succeeded | failed            and back to pending, to be tried again
    pending -> cancelled | replaced | expired           never started any more
    running -> cancelled | replaced                     it failed, or its worker did, and it is not wanted back

The states behind which nothing comes are final: only `retry` brings a job back from `failed`.

When an attempt ends without success, is lost or is handed back, its job is `cancelled` if `cancel` has marked it, else
`replaced` if a job that is pending and has not expired has its key now, else in the state that the end gives.

A lease may outlive the record of its attempt (`JobEnd.goes_on`). Such a *kept* lease is living as any other: it counts
for the key, for the limit of the task, and for the next claim of the same job.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.job_rules import Claims


class JobState(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    EXPIRED = "expired"


class Conflict(StrEnum):
    """What becomes of a job whose key another pending job of its task has."""

    REPLACE = "replace"  # the newest wins; the older one ends as replaced
    KEEP = "keep"  # the older one stays; the new one is not stored
    RAISE = "raise"  # `JobConflictError`, and nothing of the call is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What is to be stored.

    Args:
        job_id: Made by the caller, and unique, so that a call whose answer was lost may be repeated.
        task: The name of the registered task.
        arguments: What it is called with, as JSON.
        due: Not before this instant.
        key: Unique among the pending jobs of the task, if given.
        on_conflict: What becomes of the key's other pending job.
        priority: Of the jobs that are due, the highest starts first.
        expires: Not after this instant, if given.
    """

    job_id: str
    task: str
    arguments: str
    due: datetime
    key: str | None = None
    on_conflict: Conflict = Conflict.REPLACE
    priority: int = 0
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One stored job.

    `attempts` counts its claims, `lost` those whose lease ended under them. `error` is of the latest attempt that
    failed, its last 64 KiB; `reason` says in a word or two why it is in a final state other than succeeded. `worker`,
    `started` and `ended` are of the latest attempt; a job that ends without one more has `ended` then. If the arguments
    did not fit the task at the latest attempt (`JobEnd.unfit`), `unfit_since` says when that was first found.
    """

    job_id: str
    task: str
    arguments: str
    state: JobState
    due: datetime
    created: datetime
    key: str | None = None
    priority: int = 0
    expires: datetime | None = None
    attempts: int = 0
    lost: int = 0
    fence: int = 0
    worker: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    error: str | None = None
    reason: str | None = None
    unfit_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClaim:
    """The exclusive right to run a job, until its lease is over.

    `fence` grows with every claim of the same job; `attempt` counts its claims, from 1. `unfit_since` is that of the
    job.
    """

    job_id: str
    task: str
    arguments: str
    key: str | None
    due: datetime
    fence: int
    attempt: int
    started: datetime
    unfit_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """How an attempt ended: in a final state, or in `PENDING` to be tried again at `due` (None: at once).

    A job that is handed back by a shutdown is `PENDING`, due at once, and does not count as an attempt (`counts`).
    `goes_on`: the attempt is recorded, but its code still runs (a thread can't be killed). Its lease is kept, to be
    renewed, until `release_jobs` or the end of the lease. `unfit`: the stored arguments do not fit the task as it is
    here, as of a job that a newer version deferred.
    """

    state: JobState
    due: datetime | None = None
    error: str | None = None
    reason: str | None = None
    counts: bool = True
    goes_on: bool = False
    unfit: bool = False


class Queue(ABC):
    """One application's jobs, shared by every process that names the same store."""

    @property
    def ahead(self) -> timedelta:
        """How far the backend's clock is ahead of this host's, as last heard; nothing where they are the same clock."""
        return timedelta()

    cron_max_time: float = 60.0
    """The configured `CRON_MAX_TIME` in seconds; set again when a changed configuration is read."""

    lost_at_most: ClassVar[int] = 3
    """A job that was lost so often has killed its workers, and is `failed` instead of pending again."""

    @abstractmethod
    async def defer(self, jobs: Sequence[NewJob], *, max_age: float) -> Sequence[str]:
        """Store jobs, all of them or none; for each the id of the job that stands for it now.

        Then let the gate turn stale when the first of them is due, as `Backend.lower` does with `max_age`. Jobs
        that are stored stay so if that fails: it is logged, not raised.

        That is its own, or with `Conflict.KEEP` that of the pending job with its key. A job whose id is stored
        already, in whatever state, is not stored again. Of two jobs of one call with the same key the later is the
        newer. A pending job with the key that has expired is recorded as `expired` first, so that the key is free.

        Raises:
            JobConflictError: A key is taken and `on_conflict` says so; names the task and the key.
        """

    @abstractmethod
    async def cancel(self, *, job_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """Cancel one job by its id, or else the pending and running ones with this task and key (both are given).

        True if one was still pending: it will never start. One that is running is marked: unless it succeeds it
        ends as `cancelled`. The mark is gone when that attempt has ended.
        """

    @abstractmethod
    async def claim_jobs(self, tasks: Mapping[str, int | None], *, limit: int, worker: str, lease: float) -> Claims:
        """Claim at most `limit` due jobs, of the highest priority first, then those due the longest, then stored first.

        Args:
            tasks: The tasks that may be claimed, each with how many living leases of it there may be (None: any
                number). Jobs of other tasks stay pending and stand in nobody's way, nor do those of a task at its
                limit, nor those whose key a living lease of the same task has, nor those that have a kept lease.
            limit: How many.
            worker: Who asks, for people to read (`host:pid`).
            lease: Seconds for which the claims hold unless renewed.

        A due job that has expired is recorded as `expired` instead. The cost grows neither with the jobs that are
        not due nor with those that are: of each task a claim sees at most so many that have come due since the last
        one, the earliest first, and ends after so many that have expired (`job_rules.BATCH`); the claims say so then.

        The gate is brought forward to the end of the leases. With a `limit` of at least 1 the tasks are *in use* from
        now on: a task is in use if a claim has named it, or `defer` was given a job of it, within the last
        2 x `cron_max_time`. The store writes that at once for a new name, else at most once in a quarter of that time.
        """

    @abstractmethod
    async def next_due(self, tasks: Mapping[str, int | None]) -> datetime | None:
        """Return when the store needs the next poll, None if nothing is known to come due.

        That is the least of

        - the due time of each pending job that may start: its task is in `tasks`, with fewer living leases than given
          there, or it is in use (see `claim_jobs`) by another process; no living lease of the same task has its key;
          it has no kept lease itself. One that has expired counts, as it is to be recorded;
        - the end of each living lease, of runs and of jobs.

        If something is due it is an instant in the past, of any of it. What the store holds back does not count: the
        verb that sets it free brings the gate forward. The cost does not grow with the number of pending jobs.

        Args:
            tasks: The tasks of this process, each with its limit as for `claim_jobs`.
        """

    @abstractmethod
    def renew_jobs(self, claims: Sequence[JobClaim], lease: float) -> Collection[str]:
        """Let the living leases of these claims end `lease` seconds from now; the ids still living.

        A lease that is over but that nobody has reaped is living. Blocks; may be called from any thread.
        """

    @abstractmethod
    async def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
        """Record how attempts ended; for each the state its job is in then, None if it was no longer the claim's own.

        It is the claim's own until it is reaped or finished, even if its lease is over. The gate is brought forward
        to when the first pending job of these tasks is due that may start (see `next_due`), whatever their limits.
        """

    @abstractmethod
    async def release_jobs(self, claims: Sequence[JobClaim]) -> None:
        """End leases that `finish_jobs` has kept, and bring the gate forward as that does.

        The lease of an attempt that is not finished stays.
        """

    @abstractmethod
    async def reap_jobs(self) -> Sequence[Job]:
        """End the leases that are over: their jobs are pending again and due at once, `lost` one higher.

        One that was lost for the `lost_at_most`-th time is `failed`. A kept lease ends without a loss. The gate is
        brought forward as by `finish_jobs`. Returns what was lost, in its new state.
        """

    @abstractmethod
    async def waiting_tasks(self) -> Collection[str]:
        """The names of the tasks of which jobs are pending. The cost does not grow with how many jobs."""

    @abstractmethod
    async def count_jobs(self, *, at_most: int = 10_000) -> Mapping[JobState, int]:
        """How many jobs are in each of all states; none is counted beyond `at_most`, so that the cost is bounded."""

    @abstractmethod
    async def job(self, job_id: str) -> Job | None:
        """One job, None if there is none of this id (any more)."""

    @abstractmethod
    async def jobs(
        self,
        *,
        states: Collection[JobState] = (),
        task: str | None = None,
        key: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Job]:
        """Jobs, the latest stored first; those stored before the job `before`, to read on page by page.

        There are none before a job that is not stored (any more).

        Args:
            states: Only those in one of these states; in any, if empty.
            task: Only those of this task.
            key: Only those with this key.
            limit: How many.
            before: The last job of the page before.
        """

    @abstractmethod
    async def retry(self, job_id: str) -> bool:
        """Let a `failed` job be pending again and due now, whenever it expires; False if it is not failed.

        Its attempts and losses are counted anew. It is left alone too (False) if another pending job of its task
        has its key; one that has expired is first recorded as `expired`. The gate is brought forward to now.
        """

    @abstractmethod
    async def purge(self, keep: Mapping[JobState, timedelta], *, limit: int = 1000) -> int:
        """Forget at most `limit` jobs in final states that ended longer ago than `keep` says; how many there were.

        A job that has a kept lease is not forgotten.
        """
