"""A look claims what is due and starts it; each run is then executed and recorded on its own."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from pseudocron.backends.base import Claim, Outcome, Proposal, Reason, Result
from pseudocron.context import CurrentRun
from pseudocron.due import due
from pseudocron.errors import PseudoCronError
from pseudocron.executors import Call, Ended, execute
from pseudocron.leases import Keeper

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.base import Backend, Run
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
        now = self._host.now()
        entries = {cron.name: cron for cron in crons}
        states = await self._backend.states({cron.name: cron.first_mark(now) for cron in crons})
        plans = [due(cron, states[cron.name], now, missed=missed) for cron in crons]
        started = await self._recover(entries)
        await self._skip(plans)
        wanted = deque(sorted(_wanted(plans), key=itemgetter(0)))
        while wanted and not self.full:
            slot, cron = wanted.popleft()
            started += await self._start(cron, slot)
        upcoming = min((plan.next for plan in plans if plan.next is not None), default=None)
        return Looked(started, upcoming, crowded=bool(wanted))

    async def drain(self, seconds: float) -> None:
        """Wait for the runs that go on; those that outlast the seconds are cancelled and recorded `interrupted`."""
        await _wait(self._runs, seconds)
        for execution in tuple(self._executions):
            execution.cancel()
        await _wait(self._runs, RECORD_WITHIN)
        for task in (*self._runs, *self._behind):
            task.cancel()
        self._keeper.close()

    async def _skip(self, plans: Iterable[Due]) -> None:
        skips = [skip for plan in plans for skip in plan.skips]
        if skips:
            await self._backend.skip(skips)

    async def _recover(self, entries: Mapping[str, Cron]) -> list[Started]:
        """Take over the slots of runs that were lost or interrupted and are to be recovered."""
        reaped = await self._backend.reap()
        for run in reaped.lost:
            logger.error("%s: the run of slot %s by %s is lost", run.name, run.slot.isoformat(), run.worker)
        started: list[Started] = []
        for orphan in reaped.orphans:
            if orphan.name in entries and not self.full:
                started += await self._start(entries[orphan.name], orphan.slot, orphan)
        return started

    async def _start(self, cron: Cron, slot: datetime, orphan: Run | None = None) -> list[Started]:
        claim = await self._backend.claim(
            Proposal(
                name=cron.name,
                slot=slot,
                worker=self._worker,
                lease=self._lease,
                max_instances=cron.max_instances,
                recover=cron.recover,
                recovers=orphan.run_id if orphan else None,
            )
        )
        if not isinstance(claim, Claim):
            logger.debug("%s: slot %s is not ours: %s", cron.name, slot.isoformat(), claim)
            return []
        self._keeper.hold(claim)
        return [Started(claim, _spawn(self._runs, self._run(cron, claim)))]

    async def _run(self, cron: Cron, claim: Claim) -> Result:
        """One run from its claim to its record; whatever happens, it ends here."""
        began = self._host.monotonic()
        execution = _spawn(self._executions, self._attempts(cron, claim))
        try:
            ended = await execution
        except asyncio.CancelledError:
            ended = Ended(result=Result(outcome=Outcome.INTERRUPTED, error="the process was shut down"))
        _report(claim, ended.result, self._host.monotonic() - began)
        if ended.lingering is None:
            await self._record(claim, ended.result)
            self._keeper.drop(claim)
        else:
            await self._record(claim, ended.result, keep_lease=True)
            _spawn(self._behind, self._linger(claim, ended.lingering))
        return ended.result

    async def _attempts(self, cron: Cron, claim: Claim) -> Ended:
        """Try, and try again while there are retries, inside the same claim."""
        for retry in range(cron.retries):
            ended = await self._attempt(cron, claim, retry)
            if ended.result.outcome is Outcome.SUCCEEDED or ended.lingering or not self._keeper.holds(claim):
                return ended
            pause = self._host.random() * min(RETRY_FIRST * 2**retry, RETRY_CAP)
            logger.warning("%s: %s, trying again in %.1f s", cron.name, _last_line(ended.result), pause)
            await self._host.sleep(pause)
        return await self._attempt(cron, claim, cron.retries)

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
        while True:
            try:
                own = await self._backend.finish(claim, result, keep_lease=keep_lease)
            except PseudoCronError as error:
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


def _wanted(plans: Iterable[Due]) -> Iterator[tuple[datetime, Cron]]:
    return ((slot, plan.cron) for plan in plans for slot in plan.slots)


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
