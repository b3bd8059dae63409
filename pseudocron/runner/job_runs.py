"""Jobs that are due: claimed in batches, run, tried again later, handed back at a shutdown."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pseudocron.backends.jobs import JobClaim, JobEnd, JobState
from pseudocron.backends.records import Outcome, Result
from pseudocron.context import CurrentRun, Flag
from pseudocron.errors import ArgumentError
from pseudocron.executors import Call, Ended, execute
from pseudocron.hooks import Happening
from pseudocron.hooks.happenings import kinds_of_lost, of_ended_job, of_job, of_lost_job
from pseudocron.jobs.carrying import parted
from pseudocron.jobs.tasks import Retry
from pseudocron.log import logger
from pseudocron.runner.leases import Keeper
from pseudocron.runner.pool import RECORD_WITHIN, Kind
from pseudocron.runner.recording import Clerk
from pseudocron.runner.runs import RETRY_CAP, RETRY_FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from inspect import BoundArguments

    from pseudocron.backends.base import Backend
    from pseudocron.hooks import Hooks
    from pseudocron.hooks.telling import Post
    from pseudocron.host import Host
    from pseudocron.jobs.tasks import Task
    from pseudocron.runner.pool import Pool


_FOR_A_WEEK = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.REPLACED, JobState.EXPIRED)
KEEP = {**dict.fromkeys(_FOR_A_WEEK, timedelta(days=7)), JobState.FAILED: timedelta(days=30)}
"""How long jobs are kept after their end."""

REFILL_FOR = 1.0
"""Seconds after a look in which jobs that end are followed by others at once; then the next whole look is due."""

UNPACKED_AT_ONCE = 4096
"""Characters of stored arguments that are unpacked on the event loop, as that takes less than a hop to a thread."""

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


DONE = JobEnd(state=JobState.SUCCEEDED)
NO_JOBS = LookedForJobs((), None, crowded=False)


class JobRuns:
    """Runs due jobs in the places of a pool that the crons leave.

    Args:
        pool: The places.
        backend: The queue.
        host: Time, sleep, chance and threads.
        worker: Who this process is, for people to read.
        post: Brings what happens to the hooks.
        lease: Seconds for which a claim holds unless renewed.
        state: The application's lifespan state, for `current_run()`.
        on_end: Told of each attempt whose end is recorded, and of the state its job is in then.
    """

    def __init__(
        self,
        pool: Pool,
        backend: Backend,
        *,
        host: Host,
        worker: str,
        post: Post,
        lease: float,
        state: Mapping[str, Any],
        on_end: Callable[[JobClaim, JobState | None], None] = lambda *_: None,
    ) -> None:
        self._pool = pool
        self._backend = backend
        self._host = host
        self._worker = worker
        self._post = post
        self._lease = lease
        self._state = state
        self._on_end = on_end
        self._clerk = Clerk(backend, host=host, pool=pool, refill=self._refill)
        self._tasks: Mapping[str, Task[..., Any]] = {}
        self._beside: object = None
        self._refill_until = -inf
        self._refilled = asyncio.Event()
        self._forget_again = -inf
        self.keeper = Keeper(backend.renew_jobs, lease, attrgetter("job_id"), pulse=host.pulse)

    async def look(
        self, tasks: Mapping[str, Task[..., Any]], *, beside: object, refill: bool, hooks: Hooks
    ) -> LookedForJobs:
        """Claim at most as many due jobs as there is room for, beside the crons, and start them.

        Args:
            tasks: Those whose jobs may be claimed.
            beside: The crons, which must not starve.
            refill: Whether jobs that end may be followed by others for `REFILL_FOR`, without a further look.
            hooks: Who is told of jobs that were lost.
        """
        self._tasks, self._beside = tasks, beside
        await self._host.hop(self.keeper.renew)
        for job in await self._backend.reap_jobs():
            logger.error("%s: job %s of %s is lost, and now %s", job.task, job.job_id, job.worker, job.state)
            for kind in kinds_of_lost(job):
                self._post.tell(hooks, kind, of_lost_job(job))
        await self._forget()
        started = await self._claim()
        upcoming = await self._backend.next_due({task.name: task.max_instances for task in tasks.values()})
        # What is due and was not claimed waits for room, or for a job of its task or key: a run that ends tells.
        due = upcoming is not None and upcoming <= self._host.now()
        self._refill_until = self._host.monotonic() + REFILL_FOR if due and refill else -inf
        self._refilled.clear()
        await self._fill()  # what has ended meanwhile has found that a look went on
        return LookedForJobs(started, None if due else upcoming, crowded=due)

    async def refilled(self) -> None:
        """Wait until jobs are claimed without a look no more."""
        while (left := self._refill_until - self._host.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._refilled.wait()

    async def _refill(self) -> None:
        """Jobs have ended: claim others into their places, unless a look goes on, which does."""
        if self._pool.claiming.locked():
            return
        async with self._pool.claiming:
            try:
                await self._fill()
            except Exception as error:  # noqa: BLE001 - the next look will say so, if it is to be said
                logger.debug("no job could be claimed into the place of another: %r", error)
                self._look_next()

    async def _fill(self) -> None:
        """Claim into free places, until nothing more is due or the time for that is over."""
        over = self._host.monotonic() >= self._refill_until
        if over or (self._room() and not await self._claim()):
            self._look_next()

    def _look_next(self) -> None:
        """Claim nothing more without a look."""
        self._refill_until = -inf
        self._refilled.set()

    def _room(self) -> int:
        return self._pool.room_for(Kind.JOB, beside=self._beside)

    async def _claim(self) -> list[StartedJob]:
        limits = {task.name: task.max_instances for task in self._tasks.values()}
        asked = self.keeper.asked()
        claims = await self._backend.claim_jobs(limits, limit=self._room(), worker=self._worker, lease=self._lease)
        # Whatever a store hands out, nothing is called but what is registered.
        return [self._start(self._tasks[claim.task], claim, asked) for claim in claims if claim.task in self._tasks]

    async def _forget(self) -> None:
        """Now and then purge jobs that ended long ago; as many as may stand still at once, so that nothing stalls."""
        if self._host.monotonic() < self._forget_again:
            return
        purged = await self._backend.purge(KEEP, limit=PURGED)
        self._forget_again = self._host.monotonic() + (PURGE_AGAIN if purged < PURGED else 0)

    def _start(self, task: Task[..., Any], claim: JobClaim, asked: float) -> StartedJob:
        self.keeper.hold(claim, asked)
        return StartedJob(claim, self._pool.start(self._run(task, claim), Kind.JOB))

    async def _run(self, task: Task[..., Any], claim: JobClaim) -> JobState | None:
        """One attempt from its claim to its record; whatever happens, it ends here."""
        began = self._host.monotonic()
        self._post.tell(task.hooks, Happening.STARTED, of_job(claim, self._worker))
        ended = await self._pool.execute(self._attempt(task, claim))
        if ended is not None and ended.lingering is not None:
            logger.warning("%s: still running after its timeout; a thread can't be stopped", task.name)
            await asyncio.wait([ended.lingering.future])
        end = self._verdict(task, claim, ended)
        self.keeper.end(claim)
        state = await self._record(claim, end, within=None if ended else RECORD_WITHIN)
        self.keeper.drop(claim)
        duration = self._host.monotonic() - began
        _report(claim, state, end, duration)
        if state is not None:  # or else it was another's, and that one tells
            happened = of_ended_job(claim, self._worker, duration=duration, ended=ended, end=end, state=state)
            self._post.tell(task.hooks, *happened)
        self._on_end(claim, state)
        return state

    async def _attempt(self, task: Task[..., Any], claim: JobClaim) -> Ended:
        stored, context = parted(claim.arguments)
        try:
            arguments = await self._unpack(task, stored)
        except ArgumentError as error:
            return Ended(result=Result(outcome=Outcome.FAILED, error=str(error)), raised=error)
        call = Call(
            target=task.target,
            args=arguments.args,
            kwargs=arguments.kwargs,
            process=task.process,
            timeout=task.timeout,
            arounds=task.hooks.arounds,
        )
        deadline = self._host.now() + timedelta(seconds=task.timeout) if task.timeout else None
        run = CurrentRun(
            name=claim.task,
            slot=claim.due,
            fence=claim.fence,
            attempt=claim.attempt,
            run_id=claim.job_id,
            deadline=deadline,
            is_job=True,
            state=self._state,
            context=context,
            cancelled=Flag(lambda: not self.keeper.holds(claim)),
        )
        return await execute(call, run)

    async def _unpack(self, task: Task[..., Any], arguments: str) -> BoundArguments:
        if task.is_checked and len(arguments) <= UNPACKED_AT_ONCE:
            return task.unpack(arguments)
        return await self._host.hop(task.unpack, arguments)

    def _verdict(self, task: Task[..., Any], claim: JobClaim, ended: Ended | None) -> JobEnd:
        """What becomes of the job: done, tried again later, given up, or handed back by a shutdown."""
        if ended is None:
            return JobEnd(state=JobState.PENDING, due=self._host.now(), counts=False)
        if ended.result.outcome is Outcome.SUCCEEDED:
            return DONE
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
        run = asyncio.current_task()
        assert run is not None  # noqa: S101 - a coroutine of a pool's
        if within is None:
            return await self._clerk.record(run, claim, end)
        with suppress(TimeoutError):  # then its lease ends, and the job is found lost
            async with asyncio.timeout(within):
                return await self._clerk.record(run, claim, end)
        return None


def _is_wanted_again(task: Task[..., Any], ended: Ended) -> bool:
    """Whether what went wrong may go right another time; of a child process that is not known."""
    if ended.raised is None or isinstance(ended.raised, Retry):
        return True
    return isinstance(ended.raised, task.retry_for) and not isinstance(ended.raised, ArgumentError)


def _report(claim: JobClaim, state: JobState | None, end: JobEnd, duration: float) -> None:
    """One line for each attempt, and the traceback of one that failed."""
    if logger.isEnabledFor(logging.INFO):  # or else that is a good part of what a short job costs
        late = (claim.started - claim.due).total_seconds()
        said = state or "its result came after its lease"
        logger.info(
            "%s: job %s, attempt %d, %.3f s late, took %.3f s: %s",
            *(claim.task, claim.job_id, claim.attempt, late, duration, said),
        )
    if end.error:
        logger.error("%s: job %s\n%s", claim.task, claim.job_id, end.error)
