"""One run of a cron, from its claim to its record: tried, tried again, its lease kept, its result stored."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pseudocron.backends.records import Outcome, Result
from pseudocron.context import CurrentRun, Flag
from pseudocron.errors import PseudoCronError
from pseudocron.executors import Call, Ended, execute
from pseudocron.hooks import Happening
from pseudocron.hooks.happenings import of_run
from pseudocron.log import logger
from pseudocron.runner.leases import Keeper
from pseudocron.runner.pool import RECORD_WITHIN, Kind
from pseudocron.runner.recording import at_last

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pseudocron.backends.base import Backend
    from pseudocron.backends.records import Claim
    from pseudocron.crons import Cron
    from pseudocron.hooks.telling import Post
    from pseudocron.host import Host
    from pseudocron.runner.pool import Pool

RETRY_FIRST = 1.0
RETRY_CAP = 300.0
"""Seconds: the n-th retry waits a random part of `RETRY_FIRST * 2**n`, at most of `RETRY_CAP` (full jitter)."""


class Runs:
    """Runs what was claimed, in the places of a pool.

    Args:
        pool: The places.
        backend: Where results are recorded.
        host: Time, sleep, chance and threads.
        worker: Who this process is, for people to read.
        post: Brings what happens to the hooks.
        lease: Seconds for which a claim holds unless renewed.
        state: The application's lifespan state, for `current_run()`.
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
    ) -> None:
        self._pool = pool
        self._backend = backend
        self._host = host
        self._worker = worker
        self._post = post
        self._state = state
        self.keeper = Keeper(backend.renew, lease, attrgetter("run_id"), pulse=host.pulse)

    def start(self, cron: Cron, claim: Claim, asked: float) -> asyncio.Task[Result]:
        """Start a run whose claim was asked for then; the task ends when its result is recorded."""
        self.keeper.hold(claim, asked)
        return self._pool.start(self._run(cron, claim), Kind.CRON)

    async def _run(self, cron: Cron, claim: Claim) -> Result:
        """One run from its claim to its record; whatever happens, it ends here."""
        began = self._host.monotonic()
        self._post.tell(cron.hooks, Happening.STARTED, of_run(claim, self._worker))
        ended = await self._pool.execute(self._attempts(cron, claim))
        patience = None if ended else RECORD_WITHIN
        ended = ended or Ended(result=Result(outcome=Outcome.INTERRUPTED, error="the process was shut down"))
        duration = self._host.monotonic() - began
        _report(claim, ended.result, duration)
        if ended.lingering is None:
            self.keeper.end(claim)
        with suppress(TimeoutError):  # then its lease ends, and the run is found lost
            async with asyncio.timeout(patience):
                if await self._record(claim, ended.result, keep_lease=ended.lingering is not None):
                    self._tell(cron, claim, ended.result, duration)
        if ended.lingering is None:
            self.keeper.drop(claim)
        else:
            self._pool.leave_behind(self._linger(claim, ended.lingering.future))
        return ended.result

    async def _attempts(self, cron: Cron, claim: Claim) -> Ended:
        """Try, and try again while there are retries, inside the same claim."""
        for retry in count():
            ended = await self._attempt(cron, claim, retry)
            if ended.result.outcome is Outcome.SUCCEEDED or ended.lingering or retry == cron.retries:
                break
            pause = self._host.random() * min(RETRY_FIRST * 2**retry, RETRY_CAP)
            logger.warning("%s: %s, trying again in %.1f s", cron.name, _last_line(ended.result), pause)
            tried = of_run(claim, self._worker, retry=retry, result=ended.result)
            self._post.tell(cron.hooks, Happening.RETRYING, tried)
            await self._host.sleep(pause)
            if not self.keeper.holds(claim):
                break
        return ended

    def _tell(self, cron: Cron, claim: Claim, result: Result, duration: float) -> None:
        kind = Happening.SUCCEEDED if result.outcome is Outcome.SUCCEEDED else Happening.FAILED
        self._post.tell(cron.hooks, kind, of_run(claim, self._worker, duration=duration, result=result))

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
            cancelled=Flag(lambda: not self.keeper.holds(claim)),
        )
        return await execute(_call(cron), run)

    async def _record(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
        own = await at_last(
            lambda: self._backend.finish(claim, result, keep_lease=keep_lease), self._host, whose=claim.name
        )
        if not own:
            logger.warning("%s: the result of slot %s came after its lease", claim.name, claim.slot.isoformat())
        return own

    async def _linger(self, claim: Claim, thread: asyncio.Future[None]) -> None:
        """Keep the lease of a run that timed out until its thread returns, so that it never overlaps itself."""
        logger.warning("%s: still running after its timeout; a thread can't be stopped", claim.name)
        await asyncio.wait([thread])
        self.keeper.drop(claim)
        with suppress(PseudoCronError):  # then the lease ends by itself
            await self._backend.release(claim)


def _call(cron: Cron) -> Call:
    return Call(
        target=cron.target,
        args=cron.args,
        kwargs=cron.kwargs,
        process=cron.process,
        timeout=cron.timeout,
        arounds=cron.hooks.arounds,
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
