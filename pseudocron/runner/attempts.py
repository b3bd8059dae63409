"""One attempt of a job, from its claim to its record: unpacked, executed, judged, recorded with others."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pseudocron.backends.records import Outcome, Result
from pseudocron.context import CurrentRun, Flag
from pseudocron.errors import ArgumentError
from pseudocron.executors import Call, CutOff, Ended, execute
from pseudocron.hooks import EventKind
from pseudocron.hooks.factory import of_ended_job, of_job
from pseudocron.jobs.propagation import detach
from pseudocron.log import logger
from pseudocron.runner.holding import Holding
from pseudocron.runner.pool import RECORD_WITHIN, Kind
from pseudocron.runner.recording import Clerk
from pseudocron.runner.verdicts import UnfitError, verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from inspect import BoundArguments

    from pseudocron.backends.jobs import JobClaim, JobEnd, JobState
    from pseudocron.jobs.tasks import Task
    from pseudocron.runner.pool import Lifetime
    from pseudocron.runner.worker import Worker

UNPACKED_AT_ONCE = 4096
"""Characters of stored arguments that are unpacked on the event loop, as that takes less than a hop to a thread."""


@dataclass(frozen=True, slots=True)
class StartedJob:
    """An attempt that a look has started; the task ends when its end is recorded, and tells the state."""

    claim: JobClaim
    task: asyncio.Task[JobState | None]


class Attempts:
    """Runs what was claimed, in the places of a pool.

    Args:
        worker: The process for which it does that.
        on_end: Told of each attempt whose end is recorded, and of the state its job is in then.
        refill: Called each time when places have become free.

    Attributes:
        keeper: Renews the leases.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        on_end: Callable[[JobClaim, JobState | None], None],
        refill: Callable[[], Awaitable[None]],
    ) -> None:
        self._worker = worker
        self._on_end = on_end
        self._holding: Holding[JobClaim] = Holding(
            worker, renew=worker.backend.renew_jobs, release=self._release, identity="job_id", name="task"
        )
        self.keeper = self._holding.keeper
        self._clerk = Clerk(worker, trusts=self.keeper.holds, refill=refill)

    @property
    def are_recorded(self) -> bool:
        """Whether ends are being recorded, after which places are refilled."""
        return self._clerk.writes

    def start(self, task: Task[..., Any], claim: JobClaim, asked: float) -> StartedJob:
        """Start an attempt whose claim was asked for then."""
        lifetime = self._worker.lifetime()
        run = self._run(task, claim, self._holding.hold(claim, asked), lifetime)
        return StartedJob(claim, self._worker.pool.start(run, Kind.JOB, lifetime))

    async def _run(
        self, task: Task[..., Any], claim: JobClaim, not_held: Exception | None, lifetime: Lifetime
    ) -> JobState | None:
        began = self._worker.host.monotonic()

        async def record(ended: Ended | CutOff) -> JobState | None:
            return await self._end(task, claim, ended, self._worker.host.monotonic() - began)

        return await self._holding.run(claim, not_held, self._attempt(task, claim, lifetime), record)

    async def _release(self, claim: JobClaim) -> None:
        await self._worker.backend.release_jobs([claim])

    async def _end(
        self, task: Task[..., Any], claim: JobClaim, ended: Ended | CutOff, duration: float
    ) -> JobState | None:
        end = verdict(task, claim, ended, now=self._worker.host.now(), random=self._worker.host.random)
        if isinstance(ended, CutOff):
            outcome, within = Outcome.INTERRUPTED, RECORD_WITHIN
        else:
            outcome, within = ended.result.outcome, None
        state = await self._record(claim, end, within=within)
        _report(claim, state, end, duration)
        if state is not None:  # or else it was another's, and that one tells
            happened = of_ended_job(claim, self._worker.name, duration=duration, outcome=outcome, end=end, state=state)
            self._worker.post.dispatch(task._hooks, *happened)
        self._on_end(claim, state)
        return state

    async def _attempt(self, task: Task[..., Any], claim: JobClaim, lifetime: Lifetime) -> Ended:
        self._worker.post.dispatch(task._hooks, EventKind.STARTED, of_job(claim, self._worker.name))
        stored, context = detach(claim.arguments)
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
            middlewares=task._hooks.middlewares,
        )
        deadline = self._worker.host.now() + timedelta(seconds=task.timeout) if task.timeout else None
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
        if task._is_checked and len(arguments) <= UNPACKED_AT_ONCE:
            return task._unpack(arguments)
        return await self._worker.host.hop(task._unpack, arguments)

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
