"""Jobs that are due: claimed in batches, run, tried again later, handed back at a shutdown."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pseudocron.backends.base import Outcome, Result
from pseudocron.backends.jobs import JobClaim, JobEnd, JobState
from pseudocron.context import CurrentRun
from pseudocron.errors import ArgumentError, PseudoCronError
from pseudocron.executors import Call, Ended, execute
from pseudocron.leases import Keeper
from pseudocron.pool import RECORD_WITHIN, Kind
from pseudocron.runs import RECORD_AGAIN, RETRY_CAP, RETRY_FIRST
from pseudocron.tasks import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.base import Backend
    from pseudocron.host import Host
    from pseudocron.pool import Pool
    from pseudocron.tasks import Task

logger = logging.getLogger("pseudocron")


_FOR_A_WEEK = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.REPLACED, JobState.EXPIRED)
KEEP = {**dict.fromkeys(_FOR_A_WEEK, timedelta(days=7)), JobState.FAILED: timedelta(days=30)}
"""How long jobs are kept after their end."""

PURGED, PURGE_AGAIN = 1000, 60.0
"""How many are forgotten in one look, and the seconds until there may be more."""


@dataclass(frozen=True, slots=True)
class StartedJob:
    """An attempt that a look has started; the task ends when its end is recorded, and tells the state."""

    claim: JobClaim
    task: asyncio.Task[JobState | None]


@dataclass(frozen=True, slots=True)
class LookedForJobs:
    """What a look for jobs did: what it started, when the next job is due, and whether it had to leave some."""

    started: Sequence[StartedJob]
    next: datetime | None
    crowded: bool


NO_JOBS = LookedForJobs((), None, crowded=False)


class JobRuns:
    """Runs due jobs in the places of a pool that the crons leave.

    Args:
        pool: The places.
        backend: The queue.
        host: Time, sleep, chance and threads.
        worker: Who this process is, for people to read.
        lease: Seconds for which a claim holds unless renewed.
        state: The application's lifespan state, for `current_run()`.
    """

    def __init__(
        self, pool: Pool, backend: Backend, *, host: Host, worker: str, lease: float, state: Mapping[str, Any]
    ) -> None:
        self._pool = pool
        self._backend = backend
        self._host = host
        self._worker = worker
        self._lease = lease
        self._state = state
        self._forget_again = -inf
        self.keeper = Keeper(backend.renew_jobs, lease, attrgetter("job_id"))

    async def look(self, tasks: Mapping[str, Task[..., Any]], *, beside: object) -> LookedForJobs:
        """Claim at most as many due jobs as there is room for, beside the crons, and start them."""
        await self._host.hop(self.keeper.renew)
        for job in await self._backend.reap_jobs():
            logger.error("%s: job %s of %s is lost, and now %s", job.task, job.job_id, job.worker, job.state)
        await self._forget()
        limits = {task.name: task.max_instances for task in tasks.values()}
        room = self._pool.room_for(Kind.JOB, beside=beside)
        claims = await self._backend.claim_jobs(limits, limit=room, worker=self._worker, lease=self._lease)
        started = [self._start(tasks[claim.task], claim) for claim in claims]
        upcoming = await self._backend.next_job(limits)
        # What is due and was not claimed waits for room, or for a job of its task or key: a run that ends tells.
        due = upcoming is not None and upcoming <= self._host.now()
        return LookedForJobs(started, None if due else upcoming, crowded=due)

    async def _forget(self) -> None:
        """Now and then purge jobs that ended long ago; as many as may stand still at once, so that nothing stalls."""
        if self._host.monotonic() < self._forget_again:
            return
        purged = await self._backend.purge(KEEP, limit=PURGED)
        self._forget_again = self._host.monotonic() + (PURGE_AGAIN if purged < PURGED else 0)

    def _start(self, task: Task[..., Any], claim: JobClaim) -> StartedJob:
        self.keeper.hold(claim)
        return StartedJob(claim, self._pool.start(self._run(task, claim), Kind.JOB))

    async def _run(self, task: Task[..., Any], claim: JobClaim) -> JobState | None:
        """One attempt from its claim to its record; whatever happens, it ends here."""
        began = self._host.monotonic()
        ended = await self._pool.execute(self._attempt(task, claim))
        if ended is not None and ended.lingering is not None:
            logger.warning("%s: still running after its timeout; a thread can't be stopped", task.name)
            await asyncio.wait([ended.lingering])
        end = self._verdict(task, claim, ended)
        self.keeper.end(claim)
        state = await self._record(claim, end, within=None if ended else RECORD_WITHIN)
        self.keeper.drop(claim)
        _report(claim, state, end, self._host.monotonic() - began)
        return state

    async def _attempt(self, task: Task[..., Any], claim: JobClaim) -> Ended:
        try:
            arguments = await self._host.hop(task.unpack, claim.arguments)
        except ArgumentError as error:
            return Ended(result=Result(outcome=Outcome.FAILED, error=str(error)), raised=error)
        call = Call(
            target=task.target,
            args=arguments.args,
            kwargs=arguments.kwargs,
            process=task.process,
            timeout=task.timeout,
        )
        deadline = self._host.now() + timedelta(seconds=task.timeout) if task.timeout else None
        run = CurrentRun(
            name=claim.task,
            slot=claim.due,
            fence=claim.fence,
            attempt=claim.attempt,
            run_id=claim.job_id,
            deadline=deadline,
            state=self._state,
        )
        return await execute(call, run)

    def _verdict(self, task: Task[..., Any], claim: JobClaim, ended: Ended | None) -> JobEnd:
        """What becomes of the job: done, tried again later, given up, or handed back by a shutdown."""
        if ended is None:
            return JobEnd(state=JobState.PENDING, due=self._host.now(), counts=False)
        if ended.result.outcome is Outcome.SUCCEEDED:
            return JobEnd(state=JobState.SUCCEEDED)
        error = ended.result.error
        if claim.attempt > task.retries or not _is_wanted_again(task, ended):
            return JobEnd(state=JobState.FAILED, error=error, reason=str(ended.result.outcome))
        return JobEnd(state=JobState.PENDING, due=self._host.now() + self._pause(claim, ended), error=error)

    def _pause(self, claim: JobClaim, ended: Ended) -> timedelta:
        """Exponential with full jitter, unless the task says when."""
        if isinstance(ended.raised, Retry) and ended.raised.after is not None:
            return ended.raised.after
        most = min(RETRY_FIRST * 2.0 ** min(claim.attempt, 30), RETRY_CAP)
        return timedelta(seconds=self._host.random() * most)

    async def _record(self, claim: JobClaim, end: JobEnd, *, within: float | None) -> JobState | None:
        """Record an end, again and again while the store is away; what outlasts its lease is refused there."""
        try:
            async with asyncio.timeout(within):
                return await self._record_at_last(claim, end)
        except TimeoutError:  # then its lease ends, and the job is found lost
            return None

    async def _record_at_last(self, claim: JobClaim, end: JobEnd) -> JobState | None:
        for failures in count():
            try:
                return (await self._backend.finish_jobs([(claim, end)]))[0]
            except PseudoCronError as error:
                if not failures:
                    logger.warning("%s: the result could not be recorded yet: %s", claim.task, error)
                await self._host.sleep(RECORD_AGAIN)
        return None


def _is_wanted_again(task: Task[..., Any], ended: Ended) -> bool:
    """Whether what went wrong may go right another time; of a child process that is not known."""
    if ended.raised is None or isinstance(ended.raised, Retry):
        return True
    return isinstance(ended.raised, task.retry_for) and not isinstance(ended.raised, ArgumentError)


def _report(claim: JobClaim, state: JobState | None, end: JobEnd, duration: float) -> None:
    """One line for each attempt, and the traceback of one that failed."""
    late = (claim.started - claim.due).total_seconds()
    logger.info(
        "%s: job %s, attempt %d, %.3f s late, took %.3f s: %s",
        claim.task,
        claim.job_id,
        claim.attempt,
        late,
        duration,
        state or "its result came after its lease",
    )
    if end.error:
        logger.error("%s: job %s\n%s", claim.task, claim.job_id, end.error)
