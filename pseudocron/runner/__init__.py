"""A look asks what is due, claims it, and starts it; each run then goes on by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pseudocron.backends.records import Claim, Proposal, Reason, Refusal
from pseudocron.hooks import EventKind
from pseudocron.hooks.dispatcher import Dispatcher
from pseudocron.hooks.factory import of_lost_run, of_refusal, of_skip
from pseudocron.log import logger
from pseudocron.runner.advice import Adviser
from pseudocron.runner.due import Absence
from pseudocron.runner.hints import Hints
from pseudocron.runner.job_runs import JobRuns, LookedForJobs
from pseudocron.runner.looked import AGAIN, Looked, Refused, Started, wanted_slots, warn_of_the_clock
from pseudocron.runner.pool import Kind, Lifetime, Pool
from pseudocron.runner.runs import Runs
from pseudocron.runner.waits import Waits
from pseudocron.runner.worker import Worker
from pseudocron.targets import needs_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from pseudocron.backends.base import Backend
    from pseudocron.backends.jobs import JobClaim, JobState
    from pseudocron.backends.records import Reaped, Run, Skip
    from pseudocron.crons import Cron, Crons
    from pseudocron.hooks import Hooks
    from pseudocron.host import Host
    from pseudocron.runner.looked import Wanted


class Runner:
    """Runs the due crons of one process, as many at once as `concurrency` says.

    Args:
        backend: The memory that all processes share.
        host: Time, sleep, chance and threads.
        worker: Who this process is, for people to read.
        concurrency: How many runs this process has at once.
        lease: Seconds for which a claim holds unless renewed.
        lifetime: Of which application a run is that begins now.
        on_job_end: Told of each attempt of a job that has ended, and of the state the job is in then.
        on_capacity: Called when a run has ended, and no job is claimed into its place without a look; with whether
            others may have waited for that.

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
        lifetime: Callable[[], Lifetime] = Lifetime,
        on_job_end: Callable[[JobClaim, JobState | None], None] = lambda *_: None,
        on_capacity: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._hints = Hints()
        self._holds_back = False
        self.waits = Waits()
        self._on_capacity = on_capacity
        self._pool = Pool(concurrency, freed=self._freed)
        self._post = Dispatcher()
        self._worker = Worker(
            name=worker,
            backend=backend,
            host=host,
            pool=self._pool,
            post=self._post,
            lease=lease,
            lifetime=lifetime,
        )
        self._backend, self._host = backend, host
        self._runs = Runs(self._worker)
        self._adviser = Adviser(backend, host)
        self._jobs = JobRuns(self._worker, on_end=on_job_end, on_refilled=lambda: on_capacity(True))

    @property
    def runs(self) -> frozenset[asyncio.Task[Any]]:
        """The runs that go on in this process, and who attends to them."""
        return self._pool.runs

    @property
    def busy(self) -> frozenset[asyncio.Task[Any]]:
        """The same, and those who tell hooks of them."""
        return self.runs | self._post.delivering

    @property
    def lingering(self) -> frozenset[asyncio.Task[None]]:
        """What waits for code that has outlasted its run."""
        return self._pool.lingering

    @property
    def stuck(self) -> bool:
        """Whether this process starts no further threads, as too many have outlasted their runs."""
        return not self._pool.has_threads

    @property
    def full(self) -> bool:
        """Whether this process may start nothing more now."""
        return not self._pool.room

    async def look(self, crons: Crons, *, absence: Absence = Absence()) -> Looked:  # noqa: B008  frozen
        """Ask what is due, claim at most what this process has room for, and start it."""
        self.waits.look(self._host.now())
        async with self._pool.claiming:
            return await self._look(crons, absence)

    async def _look(self, crons: Crons, absence: Absence) -> Looked:
        reaped = await self._reap(crons._hooks_of)
        self._hints.forget(reaped.reset)
        now = self._host.now()
        states = await self._backend.states(await self._host.hop(self._hints.ask, crons, now))
        # The clock anew: what others have claimed meanwhile must not seem to lie in the future.
        plans = await self._host.hop(self._hints.plan, crons, states, self._host.now(), absence)
        skips = [skip for plan in plans for skip in plan.skips]
        if skips:
            await self._backend.skip(skips)
            self._remember(skips)
            self._tell_of_skips(crons._hooks, skips)
            warn_of_the_clock(skips)
        orphans = [run for run in reaped.orphans if run.name in crons and crons[run.name].enabled]
        tried, wanted = await self._try(crons, wanted_slots(plans, orphans))
        self._holds_back = any(plan.waiting for plan in plans)
        if wanted or self._holds_back or not self._pool.room_for(Kind.CRON, beside=crons.tasks):
            self.waits.place(self._host.now())
        await self._adviser.tell(crons.tasks)
        upcoming = _first(*(plan.next for plan in plans), self._hints.next(crons))
        if wanted:  # the gate stays stale: others may take it
            upcoming = now
        elif self._holds_back:  # of this the store does not know when it may start
            upcoming = _first(upcoming, now + AGAIN)
        jobs = await self._look_for_jobs(crons, until=upcoming)
        return Looked(
            started=[one for one in tried if isinstance(one, Started)],
            next=_first(upcoming, jobs.next),
            left=bool(wanted) or self._holds_back or jobs.left,
            remains=bool(wanted) or jobs.remains,
            jobs=jobs.started,
            skips=skips,
            refused=[one for one in tried if isinstance(one, Refused)],
        )

    async def _try(
        self, crons: Crons, wanted: Sequence[Wanted]
    ) -> tuple[Sequence[Started | Refused], Sequence[Wanted]]:
        """Claim as many slots as there is room for; what came of each, and those that were left."""
        tried: list[Started | Refused] = []
        left: list[Wanted] = []
        for one in wanted:
            slot, name, orphan = one
            if self._may_start(crons, crons[name]):
                tried.append(await self._start(crons[name], slot, orphan))
            else:
                left.append(one)
        return tried, left

    def _may_start(self, crons: Crons, cron: Cron) -> bool:
        """Whether there is a place for a cron now, and a thread if it needs one."""
        has_place = self._pool.room_for(Kind.CRON, beside=crons.tasks) > 0
        return has_place and (self._pool.has_threads or not needs_thread(cron.target, process=cron.process))

    async def _look_for_jobs(self, crons: Crons, *, until: datetime | None) -> LookedForJobs:
        if not crons.tasks:
            return await self._jobs.only_reap(crons._hooks)
        return await self._jobs.look(crons.tasks, beside=len(crons), until=until, hooks=crons._hooks)

    def _freed(self, kind: Kind | None, others_waited: bool) -> None:  # noqa: FBT001 - a callback
        """A place has become free: a job takes it at once, or else a poll is requested."""
        self.waits.freed(self._host.now())
        may_start = self._holds_back and kind is not Kind.JOB  # a slot may have waited for this run of its cron
        if self._jobs.refills and not may_start:
            self._jobs.refill_soon()
        else:
            self._on_capacity(others_waited)

    async def idle(self) -> None:
        """Wait until nothing runs here, and all is told."""
        while busy := self.busy:
            await asyncio.wait(busy)

    def _tell_of_skips(self, hooks: Hooks, skips: Iterable[Skip]) -> None:
        for skip in skips:
            self._post.dispatch(hooks, EventKind.SKIPPED, of_skip(skip, self._worker.name))

    def _remember(self, skips: Iterable[Skip]) -> None:
        for skip in skips:
            if skip.reason is not Reason.CLOCK_BACK:
                self._hints.grew(skip.name, skip.slot)

    async def run_once(self, cron: Cron) -> Started | Refusal:
        """Start a run by hand, outside of the schedule but recorded like any other; or why that is refused."""
        await self._reap(lambda _: cron._hooks)
        return await self._claim(cron, self._host.now(), manual=True)

    async def drain_of(self, lifetime: Lifetime, seconds: float) -> None:
        """Wait for the runs of one application while those of others go on, and cut off what outlasts the seconds."""
        await self._pool.drain_of(lifetime, seconds)

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
            self._post.dispatch(hooks(run.name), EventKind.LOST, of_lost_run(run))
        return reaped

    async def _start(self, cron: Cron, slot: datetime, orphan: Run | None) -> Started | Refused:
        recovers = orphan.run_id if orphan else None
        started = await self._claim(cron, slot, recover=cron.at_least_once, recovers=recovers)
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
            worker=self._worker.name,
            lease=self._worker.lease,
            max_instances=cron.max_instances,
            recover=recover,
            recovers=recovers,
            manual=manual,
            waited=None if manual or recovers else self.waits.of(cron._wake(slot)),
        )
        claim = await self._backend.claim(proposal)
        if isinstance(claim, Claim):
            return Started(claim, self._runs.start(cron, claim, asked))
        if skipped := of_refusal(proposal, claim):
            self._post.dispatch(cron._hooks, EventKind.SKIPPED, skipped)
        return claim


def _first(*instants: datetime | None) -> datetime | None:
    return min((instant for instant in instants if instant is not None), default=None)
