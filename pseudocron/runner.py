"""A look claims what is due and starts it; each run is then executed and recorded on its own."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from pseudocron.backends.base import Claim, Outcome, Proposal, Reason, Result
from pseudocron.context import CurrentRun
from pseudocron.errors import PseudoCronError
from pseudocron.executors import Call, Ended, execute
from pseudocron.hints import Hints
from pseudocron.leases import Keeper

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.base import Backend, Refusal, Run, Skip
    from pseudocron.crons import Cron, Crons
    from pseudocron.due import Due
    from pseudocron.host import Host

logger = logging.getLogger("pseudocron")

T = TypeVar("T")

RETRY_FIRST = 1.0
RETRY_CAP = 300.0
"""Seconds: the n-th retry waits a random part of `RETRY_FIRST * 2**n`, at most of `RETRY_CAP` (full jitter)."""

RECORD_AGAIN = 1.0
"""Seconds between attempts to record a result while the store is away."""

RECORD_WITHIN = 3.0
"""Seconds in which a drain has what it interrupted recorded."""


@dataclass(frozen=True, slots=True)
class Started:
    """A run that a look has started; the task ends when its result is recorded."""

    claim: Claim
    task: asyncio.Task[Result]


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look did: what it started, when the next is due, and whether slots were left for want of room."""

    started: Sequence[Started]
    next: datetime | None
    crowded: bool


class Runner:
    """Runs the due crons of one process, as many at once as `concurrency` says.

    Args:
        backend: The memory that all processes share.
        host: Time, sleep, chance and threads.
        worker: Who this process is, for people to read.
        concurrency: How many runs this process has at once.
        lease: Seconds for which a claim holds unless renewed.
        state: The application's lifespan state, for `current_run()`.
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
    ) -> None:
        self._backend = backend
        self._host = host
        self._worker = worker
        self._concurrency = concurrency
        self._lease = lease
        self._state = state
        self._keeper = Keeper(backend, lease)
        self._hints = Hints()
        self._runs: set[asyncio.Task[Result]] = set()
        self._executions: set[asyncio.Task[Ended]] = set()
        self._behind: set[asyncio.Task[None]] = set()

    @property
    def runs(self) -> frozenset[asyncio.Task[Result]]:
        """The runs that go on in this process."""
        return frozenset(self._runs)

    @property
    def full(self) -> bool:
        """Whether this process may start nothing more now."""
        return len(self._runs) >= self._concurrency

    async def look(self, crons: Crons, *, missed: Reason = Reason.NO_TRAFFIC) -> Looked:
        """Ask what is due, claim at most what this process has room for, and start it."""
        orphans = await self._reap()
        now = self._host.now()
        states = await self._backend.states(await self._host.hop(self._hints.ask, crons, now))
        # The clock anew: what others have claimed meanwhile must not seem to lie in the future.
        plans = await self._host.hop(self._hints.plan, crons, states, self._host.now(), missed)
        skips = [skip for plan in plans for skip in plan.skips]
        if skips:
            await self._backend.skip(skips)
            _warn_of_the_clock(skips)
        wanted = deque(_wanted(plans, [run for run in orphans if run.name in crons and crons[run.name].enabled]))
        started: list[Started] = []
        while wanted and not self.full:
            slot, name, orphan = wanted.popleft()
            started += await self._start(crons[name], slot, orphan)
        upcoming = (*(plan.next for plan in plans), self._hints.next(crons))
        soonest = min((instant for instant in upcoming if instant is not None), default=None)
        return Looked(started, soonest, crowded=bool(wanted) or any(plan.waiting for plan in plans))

    async def run_once(self, cron: Cron) -> Started | Refusal:
        """Start a run by hand, outside of the schedule but recorded like any other; or why that is refused."""
        await self._reap()
        return await self._claim(cron, self._host.now(), manual=True)

    async def drain(self, seconds: float) -> None:
        """Wait for the runs that go on; those that outlast the seconds are cancelled and recorded `interrupted`."""
        await _wait(self._runs, seconds)
        for execution in tuple(self._executions):
            execution.cancel()
        await _wait(self._runs, RECORD_WITHIN)
        for task in (*self._runs, *self._behind):
            task.cancel()
        self._keeper.close()

    async def _reap(self) -> Sequence[Run]:
        """Tell what was lost; the runs whose slots are to be claimed anew."""
        # After a step of the clock, or a sleep of the whole machine, our own leases look as if they were over.
        await self._host.hop(self._keeper.renew)
        reaped = await self._backend.reap()
        for run in reaped.lost:
            logger.error("%s: the run of slot %s by %s is lost", run.name, run.slot.isoformat(), run.worker)
        return reaped.orphans

    async def _start(self, cron: Cron, slot: datetime, orphan: Run | None) -> list[Started]:
        recovers = orphan.run_id if orphan else None
        started = await self._claim(cron, slot, recover=cron.recover, recovers=recovers)
        if isinstance(started, Started):
            return [started]
        logger.debug("%s: slot %s is not ours: %s", cron.name, slot.isoformat(), started)
        return []

    async def _claim(
        self, cron: Cron, slot: datetime, *, recover: bool = False, recovers: str | None = None, manual: bool = False
    ) -> Started | Refusal:
        claim = await self._backend.claim(
            Proposal(
                name=cron.name,
                slot=slot,
                worker=self._worker,
                lease=self._lease,
                max_instances=cron.max_instances,
                recover=recover,
                recovers=recovers,
                manual=manual,
            )
        )
        if not isinstance(claim, Claim):
            return claim
        self._keeper.hold(claim)
        return Started(claim, _spawn(self._runs, self._run(cron, claim)))

    async def _run(self, cron: Cron, claim: Claim) -> Result:
        """One run from its claim to its record; whatever happens, it ends here."""
        began = self._host.monotonic()
        execution = _spawn(self._executions, self._attempts(cron, claim))
        patience: float | None = None
        try:
            ended = await execution
        except asyncio.CancelledError:
            ended = Ended(result=Result(outcome=Outcome.INTERRUPTED, error="the process was shut down"))
            patience = RECORD_WITHIN
        _report(claim, ended.result, self._host.monotonic() - began)
        if ended.lingering is None:
            self._keeper.end(claim)
        with suppress(TimeoutError):  # then its lease ends, and the run is found lost
            async with asyncio.timeout(patience):
                await self._record(claim, ended.result, keep_lease=ended.lingering is not None)
        if ended.lingering is None:
            self._keeper.drop(claim)
        else:
            _spawn(self._behind, self._linger(claim, ended.lingering))
        return ended.result

    async def _attempts(self, cron: Cron, claim: Claim) -> Ended:
        """Try, and try again while there are retries, inside the same claim."""
        for retry in count():
            ended = await self._attempt(cron, claim, retry)
            if ended.result.outcome is Outcome.SUCCEEDED or ended.lingering or retry == cron.retries:
                break
            pause = self._host.random() * min(RETRY_FIRST * 2**retry, RETRY_CAP)
            logger.warning("%s: %s, trying again in %.1f s", cron.name, _last_line(ended.result), pause)
            await self._host.sleep(pause)
            if not self._keeper.holds(claim):
                break
        return ended

    async def _attempt(self, cron: Cron, claim: Claim, retry: int) -> Ended:
        deadline = self._host.now() + timedelta(seconds=cron.timeout) if cron.timeout else None
        run = CurrentRun(
            name=claim.name,
            slot=claim.slot,
            fence=claim.fence,
            attempt=claim.attempt + retry,
            run_id=claim.run_id,
            deadline=deadline,
            state=self._state,
        )
        return await execute(_call(cron), run)

    async def _record(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> None:
        """Record a result, again and again while the store is away; what outlasts its lease is refused there."""
        for failures in count():
            try:
                own = await self._backend.finish(claim, result, keep_lease=keep_lease)
            except PseudoCronError as error:
                if not failures:
                    logger.warning("%s: the result could not be recorded yet: %s", claim.name, error)
                await self._host.sleep(RECORD_AGAIN)
            else:
                break
        if not own:
            logger.warning("%s: the result of slot %s came after its lease", claim.name, claim.slot.isoformat())

    async def _linger(self, claim: Claim, thread: asyncio.Future[None]) -> None:
        """Keep the lease of a run that timed out until its thread returns, so that it never overlaps itself."""
        logger.warning("%s: still running after its timeout; a thread can't be stopped", claim.name)
        await asyncio.wait([thread])
        self._keeper.drop(claim)
        await self._backend.release(claim)


def _spawn(tasks: set[asyncio.Task[T]], coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task and keep a hard reference: one that nobody holds may be collected."""
    task = asyncio.create_task(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def _wait(tasks: Collection[asyncio.Task[Result]], seconds: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)


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


def _call(cron: Cron) -> Call:
    return Call(target=cron.target, args=cron.args, kwargs=cron.kwargs, process=cron.process, timeout=cron.timeout)


def _last_line(result: Result) -> str:
    return (result.error or result.outcome).strip().rsplit("\n", 1)[-1]


def _report(claim: Claim, result: Result, duration: float) -> None:
    """One line for each run, and the traceback of one that failed."""
    late = (claim.started - claim.slot).total_seconds()
    logger.info(
        "%s: slot %s, %.3f s late, took %.3f s: %s",
        claim.name,
        claim.slot.isoformat(),
        late,
        duration,
        result.outcome,
    )
    if result.outcome is not Outcome.SUCCEEDED:
        logger.error("%s: slot %s %s\n%s", claim.name, claim.slot.isoformat(), result.outcome, result.error)
