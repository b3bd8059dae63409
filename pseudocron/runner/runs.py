"""One run of a cron, from its claim to its record: tried, tried again, its lease kept, its result stored."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from pseudocron.backends.records import Outcome, Result
from pseudocron.context import CurrentRun, Flag
from pseudocron.executors import Call, CutOff, Ended, execute
from pseudocron.hooks import EventKind
from pseudocron.hooks.factory import of_run
from pseudocron.log import logger
from pseudocron.runner.holding import Holding
from pseudocron.runner.pool import RECORD_WITHIN, Kind
from pseudocron.runner.recording import at_last

if TYPE_CHECKING:
    from pseudocron.backends.records import Claim
    from pseudocron.crons import Cron
    from pseudocron.runner.pool import Lifetime
    from pseudocron.runner.worker import Worker

RETRY_FIRST = 1.0
RETRY_CAP = 300.0
"""Seconds: the n-th retry waits a random part of `RETRY_FIRST * 2**n`, at most of `RETRY_CAP` (full jitter)."""

CUT_OFF = Result(outcome=Outcome.INTERRUPTED, error="the process was shut down")


class Runs:
    """Runs what was claimed, in the places of a pool.

    Args:
        worker: The process for which it does that.
    """

    def __init__(
        self,
        worker: Worker,
    ) -> None:
        self._worker = worker
        self._holding: Holding[Claim] = Holding(
            worker, renew=worker.backend.renew, release=worker.backend.release, identity="run_id", name="name"
        )
        self.keeper = self._holding.keeper

    def start(self, cron: Cron, claim: Claim, asked: float) -> asyncio.Task[Result]:
        """Start a run whose claim was asked for then; the task ends when its result is recorded."""
        lifetime = self._worker.lifetime()
        return self._worker.pool.start(
            self._run(cron, claim, self._holding.hold(claim, asked), lifetime), Kind.CRON, lifetime
        )

    async def _run(self, cron: Cron, claim: Claim, not_held: Exception | None, lifetime: Lifetime) -> Result:
        began = self._worker.host.monotonic()

        async def record(ended: Ended | CutOff) -> Result:
            return await self._end(cron, claim, ended, self._worker.host.monotonic() - began)

        return await self._holding.run(claim, not_held, self._attempts(cron, claim, lifetime), record)

    async def _end(self, cron: Cron, claim: Claim, ended: Ended | CutOff, duration: float) -> Result:
        within, result = None, CUT_OFF
        if isinstance(ended, CutOff):
            within = RECORD_WITHIN
        else:
            result = ended.result
        _report(claim, result, duration)
        with suppress(TimeoutError):  # then its lease ends, and the run is found lost
            async with asyncio.timeout(within):
                if await self._record(claim, result, keep_lease=ended.lingering is not None):
                    self._tell(cron, claim, result, duration)
        return result

    async def _attempts(self, cron: Cron, claim: Claim, lifetime: Lifetime) -> Ended:
        """Try, and try again while there are retries, inside the same claim."""
        self._worker.post.dispatch(cron._hooks, EventKind.STARTED, of_run(claim, self._worker.name))
        for retry in count():
            try:
                ended = await self._attempt(cron, claim, lifetime, retry)
            except CutOff as cut:
                if retry < cron.retries and not cut.lingering:
                    cut.ended = None  # it would have been tried again
                raise
            if ended.result.outcome is Outcome.SUCCEEDED or ended.lingering or retry == cron.retries:
                break
            pause = self._worker.host.random() * min(RETRY_FIRST * 2**retry, RETRY_CAP)
            logger.warning("%s: %s, trying again in %.1f s", cron.name, _last_line(ended.result), pause)
            tried = of_run(claim, self._worker.name, retry=retry, result=ended.result)
            self._worker.post.dispatch(cron._hooks, EventKind.RETRYING, tried)
            await self._worker.host.sleep(pause)
            if not self.keeper.holds(claim):
                break
        return ended

    def _tell(self, cron: Cron, claim: Claim, result: Result, duration: float) -> None:
        kind = EventKind.SUCCEEDED if result.outcome is Outcome.SUCCEEDED else EventKind.FAILED
        self._worker.post.dispatch(
            cron._hooks, kind, of_run(claim, self._worker.name, duration=duration, result=result)
        )

    async def _attempt(self, cron: Cron, claim: Claim, lifetime: Lifetime, retry: int) -> Ended:
        deadline = self._worker.host.now() + timedelta(seconds=cron.timeout) if cron.timeout else None
        run = CurrentRun(
            name=claim.name,
            slot=claim.slot,
            fence=claim.fence,
            attempt=claim.attempt + retry,
            run_id=claim.run_id,
            deadline=deadline,
            state=lifetime.state,
            cancelled=Flag(lambda: not self.keeper.holds(claim)),
        )
        return await execute(_call(cron), run)

    async def _record(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
        run = asyncio.current_task()

        def failed() -> None:
            if run is not None and not self.keeper.holds(claim):
                self._worker.pool.leave(run)

        finish = partial(self._worker.backend.finish, claim, result, keep_lease=keep_lease)
        own = await at_last(finish, self._worker.host, whose=claim.name, failed=failed)
        if not own:
            logger.warning("%s: the result of slot %s came after its lease", claim.name, claim.slot.isoformat())
        return own


def _call(cron: Cron) -> Call:
    return Call(
        target=cron.target,
        args=cron.args,
        kwargs=cron.kwargs,
        process=cron.process,
        timeout=cron.timeout,
        middlewares=cron._hooks.middlewares,
    )


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
