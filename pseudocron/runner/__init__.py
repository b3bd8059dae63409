"""A look asks what is due, claims it, and starts it; each run then goes on by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from pseudocron.backends.records import Claim, Proposal, Reason, Refusal
from pseudocron.hooks import Happening
from pseudocron.hooks.happenings import of_lost_run, of_refusal, of_skip
from pseudocron.hooks.telling import Post
from pseudocron.log import logger
from pseudocron.runner.advice import Adviser
from pseudocron.runner.due import Absence
from pseudocron.runner.hints import Hints
from pseudocron.runner.job_runs import NO_JOBS, JobRuns
from pseudocron.runner.pool import Kind, Pool
from pseudocron.runner.runs import Runs
from pseudocron.runner.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.base import Backend
    from pseudocron.backends.jobs import JobClaim, JobState
    from pseudocron.backends.records import Reaped, Result, Run, Skip
    from pseudocron.crons import Cron, Crons
    from pseudocron.hooks import Hooks
    from pseudocron.host import Host
    from pseudocron.runner.due import Due
    from pseudocron.runner.job_runs import LookedForJobs, StartedJob


@dataclass(frozen=True, slots=True)
class Started:
    """A run that a look has started; the task ends when its result is recorded."""

    claim: Claim
    task: asyncio.Task[Result]


@dataclass(frozen=True, slots=True)
class Refused:
    """A slot that a look wanted and did not get."""

    name: str
    slot: datetime
    why: Refusal


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look did: what it started, when the next is due, and whether slots were left for want of room.

    `skips` is what it recorded as missed, `refused` what it asked for in vain.
    """

    started: Sequence[Started]
    next: datetime | None
    crowded: bool
    jobs: Sequence[StartedJob] = ()
    skips: Sequence[Skip] = ()
    refused: Sequence[Refused] = ()


class Runner:
    """Runs the due crons of one process, as many at once as `concurrency` says.

    Args:
        backend: The memory that all processes share.
        host: Time, sleep, chance and threads.
        worker: Who this process is, for people to read.
        concurrency: How many runs this process has at once.
        lease: Seconds for which a claim holds unless renewed.
        state: The application's lifespan state, for `current_run()`.
        on_job_end: Told of each attempt of a job that has ended, and of the state the job is in then.

    Attributes:
        waits: What holds this process up.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        host: Host,
        worker: str,
        concurrency: int,
        lease: float,
        state: Mapping[str, Any],
        on_job_end: Callable[[JobClaim, JobState | None], None] = lambda *_: None,
    ) -> None:
        self._backend = backend
        self._host = host
        self._worker = worker
        self._lease = lease
        self._hints = Hints()
        self.waits = Waits()
        self._pool = Pool(concurrency, freed=lambda: self.waits.freed(host.now()))
        self._post = Post()
        self._runs = Runs(self._pool, backend, host=host, worker=worker, post=self._post, lease=lease, state=state)
        self._adviser = Adviser(backend, host)
        self._jobs = JobRuns(
            self._pool,
            backend,
            host=host,
            worker=worker,
            post=self._post,
            lease=lease,
            state=state,
            on_end=on_job_end,
        )

        self._filling: frozenset[asyncio.Task[Any]] = frozenset()
        """The runs that the last look has found or started; they may be over by now."""

    @property
    def runs(self) -> frozenset[asyncio.Task[Any]]:
        """The runs that go on in this process, and who attends to them."""
        return self._pool.runs

    @property
    def busy(self) -> frozenset[asyncio.Task[Any]]:
        """The same, and those who tell hooks of them."""
        return self.runs | self._post.delivering

    @property
    def full(self) -> bool:
        """Whether this process may start nothing more now."""
        return not self._pool.room

    async def look(self, crons: Crons, *, absence: Absence = Absence()) -> Looked:  # noqa: B008  frozen
        """Ask what is due, claim at most what this process has room for, and start it."""
        self.waits.look(self._host.now())
        async with self._pool.claiming:
            found = self.runs
            looked = await self._look(crons, absence)
            self._filling = found | {run.task for run in looked.started} | {job.task for job in looked.jobs}
            return looked

    async def _look(self, crons: Crons, absence: Absence) -> Looked:
        reaped = await self._reap(crons.hooks_of)
        now = self._host.now()
        states = await self._backend.states(await self._host.hop(self._hints.ask, crons, now))
        # The clock anew: what others have claimed meanwhile must not seem to lie in the future.
        plans = await self._host.hop(self._hints.plan, crons, states, self._host.now(), absence)
        skips = [skip for plan in plans for skip in plan.skips]
        if skips:
            await self._backend.skip(skips)
            self._remember(skips)
            self._tell_of_skips(crons.hooks, skips)
            _warn_of_the_clock(skips)
        wanted = deque(_wanted(plans, [run for run in reaped.orphans if run.name in crons and crons[run.name].enabled]))
        tried: list[Started | Refused] = []
        while wanted and self._pool.room_for(Kind.CRON, beside=crons.tasks):
            slot, name, orphan = wanted.popleft()
            tried.append(await self._start(crons[name], slot, orphan))
        if wanted or any(plan.waiting for plan in plans) or not self._pool.room_for(Kind.CRON, beside=crons.tasks):
            self.waits.place(self._host.now())
        await self._adviser.tell(crons.tasks)
        jobs = await self._look_for_jobs(crons, refill=not wanted)
        upcoming = (*(plan.next for plan in plans), self._hints.next(crons), jobs.next)
        soonest = min((instant for instant in upcoming if instant is not None), default=None)
        waiting = bool(wanted) or jobs.crowded or any(plan.waiting for plan in plans)
        return Looked(
            started=[one for one in tried if isinstance(one, Started)],
            next=soonest,
            crowded=waiting,
            jobs=jobs.started,
            skips=skips,
            refused=[one for one in tried if isinstance(one, Refused)],
        )

    async def _look_for_jobs(self, crons: Crons, *, refill: bool) -> LookedForJobs:
        if not crons.tasks:
            return NO_JOBS
        return await self._jobs.look(crons.tasks, beside=len(crons), refill=refill, hooks=crons.hooks)

    async def room(self) -> bool:
        """Wait until another look may start what the last one left; False if nothing has run here since.

        That is when a run has ended, and no further job is claimed into its place.
        """
        runs, self._filling = self._filling | self.runs, frozenset()
        if not runs:
            return False
        await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
        await self._jobs.refilled()
        return True

    async def idle(self) -> None:
        """Wait until nothing runs here, and all is told."""
        while busy := self.busy:
            await asyncio.wait(busy)

    def _tell_of_skips(self, hooks: Hooks, skips: Iterable[Skip]) -> None:
        for skip in skips:
            self._post.tell(hooks, Happening.SKIPPED, of_skip(skip, self._worker))

    def _remember(self, skips: Iterable[Skip]) -> None:
        for skip in skips:
            if skip.reason is not Reason.CLOCK_BACK:
                self._hints.grew(skip.name, skip.slot)

    async def run_once(self, cron: Cron) -> Started | Refusal:
        """Start a run by hand, outside of the schedule but recorded like any other; or why that is refused."""
        await self._reap(lambda _: cron.hooks)
        return await self._claim(cron, self._host.now(), manual=True)

    async def drain(self, seconds: float) -> None:
        """Wait for the runs that go on; those that outlast the seconds are cancelled and recorded `interrupted`."""
        await self._pool.drain(seconds)
        await self._post.drain()
        self._runs.keeper.close()
        self._jobs.keeper.close()

    async def _reap(self, hooks: Callable[[str], Hooks]) -> Reaped:
        """Tell what was lost; what there is to recover, and when to ask again."""
        # After a step of the clock, or a sleep of the whole machine, our own leases look as if they were over.
        await self._host.hop(self._runs.keeper.renew)
        reaped = await self._backend.reap()
        for run in reaped.lost:
            logger.error("%s: the run of slot %s by %s is lost", run.name, run.slot.isoformat(), run.worker)
            self._post.tell(hooks(run.name), Happening.LOST, of_lost_run(run))
        return reaped

    async def _start(self, cron: Cron, slot: datetime, orphan: Run | None) -> Started | Refused:
        recovers = orphan.run_id if orphan else None
        started = await self._claim(cron, slot, recover=cron.recover, recovers=recovers)
        if started is not Refusal.EARLY:
            self._hints.grew(cron.name, slot)
        if isinstance(started, Started):
            return started
        logger.debug("%s: slot %s is not ours: %s", cron.name, slot.isoformat(), started)
        return Refused(cron.name, slot, started)

    async def _claim(
        self, cron: Cron, slot: datetime, *, recover: bool = False, recovers: str | None = None, manual: bool = False
    ) -> Started | Refusal:
        asked = self._runs.keeper.asked()
        proposal = Proposal(
            name=cron.name,
            slot=slot,
            worker=self._worker,
            lease=self._lease,
            max_instances=cron.max_instances,
            recover=recover,
            recovers=recovers,
            manual=manual,
            waited=None if manual or recovers else self.waits.of(cron.wake(slot)),
        )
        claim = await self._backend.claim(proposal)
        if isinstance(claim, Claim):
            return Started(claim, self._runs.start(cron, claim, asked))
        if skipped := of_refusal(proposal, claim):
            self._post.tell(cron.hooks, Happening.SKIPPED, skipped)
        return claim


def _wanted(plans: Iterable[Due], orphans: Iterable[Run]) -> list[tuple[datetime, str, Run | None]]:
    """The slots to claim, by the names of their crons, the oldest first, and the run that each one recovers."""
    slots = [(slot, plan.cron.name, None) for plan in plans for slot in plan.slots]
    return sorted([*slots, *((run.slot, run.name, run) for run in orphans)], key=itemgetter(0))


def _warn_of_the_clock(skips: Iterable[Skip]) -> None:
    again = [skip for skip in skips if skip.reason is Reason.CLOCK_BACK]
    if again:
        last = max(again, key=attrgetter("slot"))
        logger.warning(
            "the clock was set back: crons that wait until it is past what they have run: %d, the longest %s, until %s",
            len(again),
            last.name,
            last.slot.isoformat(),
        )
