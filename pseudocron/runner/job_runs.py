"""Jobs that are due: claimed in batches into the places that are free, and behind a look for a second more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from pseudocron.backends.job_rules import BATCH
from pseudocron.backends.jobs import JobState
from pseudocron.hooks.factory import kinds_of_lost, of_lost_job
from pseudocron.log import logger
from pseudocron.runner.attempts import Attempts
from pseudocron.runner.pool import Kind
from pseudocron.targets import needs_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.job_rules import Claims
    from pseudocron.backends.jobs import JobClaim
    from pseudocron.hooks import Hooks
    from pseudocron.jobs.tasks import Task
    from pseudocron.runner.attempts import StartedJob
    from pseudocron.runner.worker import Worker


_FOR_A_WEEK = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.REPLACED, JobState.EXPIRED)
KEEP = {**dict.fromkeys(_FOR_A_WEEK, timedelta(days=7)), JobState.FAILED: timedelta(days=30)}
"""How long jobs are kept after their end."""

REFILL_FOR = 1.0
"""Seconds after a look in which jobs that end are followed by others at once; then the next whole look is due."""

EXPIRE_FOR = 1.0
"""Seconds for which one look records jobs that have expired, some at a time, before it leaves the rest to the next."""

PURGED, PURGE_AGAIN = 1000, 60.0
"""How many are forgotten in one look, and the seconds until there may be more."""


@dataclass(frozen=True, slots=True)
class LookedForJobs:
    """What a look for jobs did.

    Args:
        next: When the store needs the next one.
        started: The attempts that it has started.
        left: Whether jobs were left that this process takes when it has capacity again.
        remains: Whether something due remains, for whichever process.
    """

    next: datetime | None
    started: Sequence[StartedJob] = ()
    left: bool = False
    remains: bool = False


class JobRuns:
    """Runs due jobs in the places of a pool that the crons leave.

    Args:
        worker: The process for which it does that.
        on_end: Told of each attempt whose end is recorded, and of the state its job is in then.
        on_refilled: Called when jobs are claimed without a look no more.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        on_end: Callable[[JobClaim, JobState | None], None] = lambda *_: None,
        on_refilled: Callable[[], None] = lambda: None,
    ) -> None:
        self._worker = worker
        self._on_refilled = on_refilled
        self._attempts = Attempts(worker, on_end=on_end, refill=self.refill)
        self.keeper = self._attempts.keeper
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
        await self._worker.host.hop(self.keeper.renew)
        await self._reap(hooks)
        await self._forget()
        room = self._room()
        started = await self._claim()
        upcoming = await self._worker.backend.next_due(self._limits())
        now = self._worker.host.now()
        is_due = upcoming is not None and upcoming <= now
        if is_due or started:
            seconds = REFILL_FOR if until is None else min(REFILL_FOR, (until - now).total_seconds())
            self._refill_until = self._worker.host.monotonic() + seconds
        if self._has_missed:  # what has ended meanwhile has found that a look went on
            await self._fill()
        # One that claims less than it may has found nothing more for this process.
        left = is_due and len(started) >= min(room, BATCH)
        return LookedForJobs(upcoming, started, left=left, remains=is_due)

    async def only_reap(self, hooks: Hooks) -> LookedForJobs:
        """End the leases that are over, for a process without tasks."""
        upcoming = await self._worker.backend.next_due({})
        if upcoming is not None and upcoming <= self._worker.host.now():
            await self._reap(hooks)
            upcoming = await self._worker.backend.next_due({})
        return LookedForJobs(upcoming, remains=upcoming is not None and upcoming <= self._worker.host.now())

    async def _reap(self, hooks: Hooks) -> None:
        for job in await self._worker.backend.reap_jobs():
            logger.error("%s: job %s of %s is lost, and now %s", job.task, job.job_id, job.worker, job.state)
            for kind in kinds_of_lost(job):
                self._worker.post.dispatch(hooks, kind, of_lost_job(job))

    @property
    def refills(self) -> bool:
        """Whether jobs are claimed into free places without a look."""
        return self._worker.host.monotonic() < self._refill_until

    async def refill(self) -> None:
        """Places are free: claim others into them, unless a look goes on, which does."""
        if self._worker.pool.claiming.locked():
            self._has_missed = True
            return
        async with self._worker.pool.claiming:
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
        if not self._attempts.are_recorded:
            self._worker.pool.attend(self.refill())

    def _look_next(self) -> None:
        """Claim nothing more without a look."""
        self._refill_until = -inf
        self._on_refilled()

    def _room(self) -> int:
        return self._worker.pool.room_for(Kind.JOB, beside=self._beside)

    def _limits(self, *, threads: bool = True) -> dict[str, int | None]:
        tasks = (one for one in self._tasks.values() if threads or not needs_thread(one.target, process=one.process))
        return {task.name: task.max_instances for task in tasks}

    async def _claim(self) -> list[StartedJob]:
        """Claim and start what there is room for; for a second also what is behind jobs that have expired."""
        until = self._worker.host.monotonic() + EXPIRE_FOR
        started: list[StartedJob] = []
        while True:
            claims = await self._claim_once(started)
            if not claims.is_cut_short or self._worker.host.monotonic() >= until:
                return started

    async def _claim_once(self, started: list[StartedJob]) -> Claims:
        tasks = self._limits(threads=self._worker.pool.has_threads)
        asked = self.keeper.asked()
        claims = await self._worker.backend.claim_jobs(
            tasks, limit=self._room(), worker=self._worker.name, lease=self._worker.lease
        )
        # Whatever a store hands out, nothing is called but what is registered.
        known = [(self._tasks[claim.task], claim) for claim in claims if claim.task in self._tasks]
        started += [self._attempts.start(task, claim, asked) for task, claim in known]
        return claims

    async def _forget(self) -> None:
        """Now and then purge jobs that ended long ago; as many as may stand still at once, so that nothing stalls."""
        if self._worker.host.monotonic() < self._forget_again:
            return
        purged = await self._worker.backend.purge(KEEP, limit=PURGED)
        self._forget_again = self._worker.host.monotonic() + (PURGE_AGAIN if purged < PURGED else 0)
