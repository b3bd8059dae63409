"""Jobs that are due: claimed in batches, run, tried again later, handed back at a shutdown."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from pseudocron.backends.job_rules import BATCH
from pseudocron.backends.jobs import JobClaim, JobEnd, JobState
from pseudocron.backends.records import Outcome, Result
from pseudocron.context import CurrentRun, Flag
from pseudocron.errors import ArgumentError
from pseudocron.executors import Call, CutOff, Ended, execute
from pseudocron.hooks import Happening
from pseudocron.hooks.happenings import kinds_of_lost, of_ended_job, of_job, of_lost_job
from pseudocron.jobs.carrying import parted
from pseudocron.log import logger
from pseudocron.runner.holding import Holding
from pseudocron.runner.pool import RECORD_WITHIN, Kind
from pseudocron.runner.recording import Clerk
from pseudocron.runner.verdicts import UnfitError, verdict
from pseudocron.targets import needs_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from inspect import BoundArguments

    from pseudocron.backends.base import Backend
    from pseudocron.hooks import Hooks
    from pseudocron.hooks.telling import Post
    from pseudocron.host import Host
    from pseudocron.jobs.tasks import Task
    from pseudocron.runner.pool import Lifetime, Pool


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
    """What a look for jobs did: what it started, when the next one is needed, and whether it had to leave some."""

    started: Sequence[StartedJob]
    next: datetime | None
    left: bool


class JobRuns:
    """Runs due jobs in the places of a pool that the crons leave.

    Args:
        pool: The places.
        backend: The queue.
        host: Time, sleep, chance and threads.
        worker: Who this process is, for people to read.
        post: Brings what happens to the hooks.
        lease: Seconds for which a claim holds unless renewed.
        lifetime: Of which application a run is that begins now.
        on_end: Told of each attempt whose end is recorded, and of the state its job is in then.
        on_refilled: Called when jobs are claimed without a look no more.
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
        lifetime: Callable[[], Lifetime],
        on_end: Callable[[JobClaim, JobState | None], None] = lambda *_: None,
        on_refilled: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._backend = backend
        self._host = host
        self._worker = worker
        self._post = post
        self._lease = lease
        self._lifetime = lifetime
        self._on_end = on_end
        self._on_refilled = on_refilled
        self._holding: Holding[JobClaim] = Holding(
            pool,
            renew=backend.renew_jobs,
            release=self._release,
            lease=lease,
            identity="job_id",
            name="task",
            pulse=host.pulse,
        )
        self.keeper = self._holding.keeper
        self._clerk = Clerk(backend, host=host, pool=pool, trusts=self.keeper.holds, refill=self.refill)
        self._tasks: Mapping[str, Task[..., Any]] = {}
        self._beside: object = None
        self._has_missed = False
        self._refill_until = -inf
        self._forget_again = -inf

    async def look(
        self, tasks: Mapping[str, Task[..., Any]], *, beside: object, until: datetime | None, hooks: Hooks
    ) -> LookedForJobs:
        """Claim at most as many due jobs as there is room for, beside the crons, and start them.

        Args:
            tasks: Those whose jobs may be claimed.
            beside: The crons, which must not starve.
            until: When crons need a look again; until then, but for `REFILL_FOR` at most, jobs follow others without.
            hooks: Who is told of jobs that were lost.
        """
        self._tasks, self._beside = tasks, beside
        self._has_missed, self._refill_until = False, -inf
        await self._host.hop(self.keeper.renew)
        await self._reap(hooks)
        await self._forget()
        room = self._room()
        started = await self._claim()
        upcoming = await self._backend.next_due(self._limits())
        now = self._host.now()
        is_due = upcoming is not None and upcoming <= now
        if is_due or started:
            seconds = REFILL_FOR if until is None else min(REFILL_FOR, (until - now).total_seconds())
            self._refill_until = self._host.monotonic() + seconds
        if self._has_missed:  # what has ended meanwhile has found that a look went on
            await self._fill()
        # One that claims less than it may has found nothing more for this process.
        return LookedForJobs(started, upcoming, left=is_due and len(started) >= min(room, BATCH))

    async def only_reap(self, hooks: Hooks) -> datetime | None:
        """End the leases that are over, for a process without tasks; when the store needs the next look."""
        upcoming = await self._backend.next_due({})
        if upcoming is None or upcoming > self._host.now():
            return upcoming
        await self._reap(hooks)
        return await self._backend.next_due({})

    async def _reap(self, hooks: Hooks) -> None:
        for job in await self._backend.reap_jobs():
            logger.error("%s: job %s of %s is lost, and now %s", job.task, job.job_id, job.worker, job.state)
            for kind in kinds_of_lost(job):
                self._post.tell(hooks, kind, of_lost_job(job))

    @property
    def refills(self) -> bool:
        """Whether jobs are claimed into free places without a look."""
        return self._host.monotonic() < self._refill_until

    async def refill(self) -> None:
        """Places are free: claim others into them, unless a look goes on, which does."""
        if self._pool.claiming.locked():
            self._has_missed = True
            return
        async with self._pool.claiming:
            try:
                await self._fill()
            except Exception as error:  # noqa: BLE001 - the next look will say so, if it is to be said
                logger.debug("no job could be claimed into the place of another: %r", error)
                self._look_next()

    async def _fill(self) -> None:
        """Claim into free places, until nothing more is due or the time for that is over."""
        if not self.refills or (self._room() and not await self._claim()):
            self._look_next()

    def refill_soon(self) -> None:
        """A place has become free; unless jobs are being recorded, whose places are refilled together."""
        if not self._clerk.writes:
            self._pool.attend(self.refill())

    def _look_next(self) -> None:
        """Claim nothing more without a look."""
        self._refill_until = -inf
        self._on_refilled()

    def _room(self) -> int:
        return self._pool.room_for(Kind.JOB, beside=self._beside)

    def _limits(self, *, threads: bool = True) -> dict[str, int | None]:
        tasks = (one for one in self._tasks.values() if threads or not needs_thread(one.target, process=one.process))
        return {task.name: task.max_instances for task in tasks}

    async def _claim(self) -> list[StartedJob]:
        tasks = self._limits(threads=self._pool.has_threads)
        asked = self.keeper.asked()
        claims = await self._backend.claim_jobs(tasks, limit=self._room(), worker=self._worker, lease=self._lease)
        # Whatever a store hands out, nothing is called but what is registered.
        return [self._start(self._tasks[claim.task], claim, asked) for claim in claims if claim.task in self._tasks]

    async def _forget(self) -> None:
        """Now and then purge jobs that ended long ago; as many as may stand still at once, so that nothing stalls."""
        if self._host.monotonic() < self._forget_again:
            return
        purged = await self._backend.purge(KEEP, limit=PURGED)
        self._forget_again = self._host.monotonic() + (PURGE_AGAIN if purged < PURGED else 0)

    def _start(self, task: Task[..., Any], claim: JobClaim, asked: float) -> StartedJob:
        lifetime = self._lifetime()
        run = self._run(task, claim, self._holding.hold(claim, asked), lifetime)
        return StartedJob(claim, self._pool.start(run, Kind.JOB, lifetime))

    async def _run(
        self, task: Task[..., Any], claim: JobClaim, not_held: Exception | None, lifetime: Lifetime
    ) -> JobState | None:
        began = self._host.monotonic()

        async def record(ended: Ended | CutOff) -> JobState | None:
            return await self._end(task, claim, ended, self._host.monotonic() - began)

        return await self._holding.run(claim, not_held, self._attempt(task, claim, lifetime), record)

    async def _release(self, claim: JobClaim) -> None:
        await self._backend.release_jobs([claim])

    async def _end(
        self, task: Task[..., Any], claim: JobClaim, ended: Ended | CutOff, duration: float
    ) -> JobState | None:
        end = verdict(task, claim, ended, now=self._host.now(), random=self._host.random)
        if isinstance(ended, CutOff):
            outcome, within = Outcome.INTERRUPTED, RECORD_WITHIN
        else:
            outcome, within = ended.result.outcome, None
        state = await self._record(claim, end, within=within)
        _report(claim, state, end, duration)
        if state is not None:  # or else it was another's, and that one tells
            happened = of_ended_job(claim, self._worker, duration=duration, outcome=outcome, end=end, state=state)
            self._post.tell(task.hooks, *happened)
        self._on_end(claim, state)
        return state

    async def _attempt(self, task: Task[..., Any], claim: JobClaim, lifetime: Lifetime) -> Ended:
        self._post.tell(task.hooks, Happening.STARTED, of_job(claim, self._worker))
        stored, context = parted(claim.arguments)
        try:
            arguments = await self._unpack(task, stored)
        except ArgumentError as error:
            return Ended(result=Result(outcome=Outcome.FAILED, error=str(error)), raised=UnfitError())
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
            state=lifetime.state,
            context=context,
            cancelled=Flag(lambda: not self.keeper.holds(claim)),
        )
        return await execute(call, run)

    async def _unpack(self, task: Task[..., Any], arguments: str) -> BoundArguments:
        if task.is_checked and len(arguments) <= UNPACKED_AT_ONCE:
            return task.unpack(arguments)
        return await self._host.hop(task.unpack, arguments)

    async def _record(self, claim: JobClaim, end: JobEnd, *, within: float | None) -> JobState | None:
        run = asyncio.current_task()
        assert run is not None  # noqa: S101 - a coroutine of a pool's
        if within is None:
            return await self._clerk.record(run, claim, end)
        with suppress(TimeoutError):  # then its lease ends, and the job is found lost
            async with asyncio.timeout(within):
                return await self._clerk.record(run, claim, end)
        return None


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
