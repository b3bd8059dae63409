"""One run in this process, from its claim to its result: of a slot, of a job, or by hand."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.model import Kind, State
from pseudocron.context import CurrentRun, Flag
from pseudocron.errors import ArgumentError, PseudoCronError
from pseudocron.executors import Call, CutOff, Ended, execute
from pseudocron.hooks.events import Event, EventKind, of_claim
from pseudocron.jobs.propagation import detach
from pseudocron.log import logger
from pseudocron.worker.outcome import UnfitError, end_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from inspect import BoundArguments

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Claim, End
    from pseudocron.cron import Cron
    from pseudocron.executors import Lingering
    from pseudocron.hooks.dispatcher import Dispatcher
    from pseudocron.host import Host
    from pseudocron.jobs.tasks import Task
    from pseudocron.worker.leases import LeaseRenewer
    from pseudocron.worker.pool import Lifetime, Pool

UNPACKED_AT_ONCE = 4096
"""Characters of stored arguments that are decoded on the event loop, as that takes less than a hop to a thread."""

NO_CONTEXT: Mapping[str, str] = {}


class Worker(NamedTuple):
    """What the runs of one process and event loop have in common.

    Args:
        name: Which process (`host:pid`).
        backend: Where results are recorded.
        host: Time, sleep, chance and threads, by the store's clock.
        pool: Their capacity.
        leases: Renews their leases.
        dispatcher: Notifies hooks.
        record: Takes a run that has ended, to record its result.
        on_end: Called with each run whose result is recorded.
        freed: Called when code has ended that had outlasted its run.
    """

    name: str
    backend: Backend
    host: Host
    pool: Pool
    leases: LeaseRenewer
    dispatcher: Dispatcher
    record: Callable[[Run], None]
    on_end: Callable[[Run], None]
    freed: Callable[[], None]


class Run:
    """One claimed run on its way to its result.

    Args:
        worker: The process.
        target: The cron or task that is executed.
        claim: The claim.
        lifetime: The application's lifespan in which it runs.

    Attributes:
        end: How the attempt ended; None while it is executed.
        state: The state of the run after that, once it is recorded; None if the claim no longer held it.
        has_capacity: Whether it counts for the capacity of the process.
        is_over: Whether its result is recorded, or given up.
    """

    __slots__ = (
        "_began",
        "_is_executing",
        "_over",
        "_task",
        "claim",
        "duration",
        "end",
        "has_capacity",
        "is_job",
        "is_over",
        "lifetime",
        "state",
        "target",
        "worker",
    )

    def __init__(self, worker: Worker, target: Cron | Task[..., Any], claim: Claim, lifetime: Lifetime) -> None:
        self.worker = worker
        self.target = target
        self.claim = claim
        self.lifetime = lifetime
        self.is_job = claim.kind is Kind.JOB
        self.end: End | None = None
        self.state: State | None = None
        self.duration = 0.0
        self.has_capacity = self._is_executing = self.is_over = False
        self._over: asyncio.Future[State | None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, failure: Exception | None = None) -> None:
        """Start it; or let it fail at once, as its lease can't be renewed."""
        self.worker.pool.enter(self)
        self._began = self.worker.host.monotonic()
        if failure is None:
            self._task = asyncio.create_task(self._run())
        else:
            self._finish(_failed(failure))

    def over(self) -> asyncio.Future[State | None]:
        """Return a future of the state after its result is recorded, None if that was too late."""
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
            if self.is_over:
                self._over.set_result(self.state)
        return self._over

    def cut_off(self) -> None:
        """Cancel the execution, if it goes on."""
        if self._is_executing and self._task is not None:
            self._task.cancel()

    def abandon(self) -> None:
        """Wait for it no longer; its lease ends by itself."""
        if self._task is not None:
            self._task.cancel()
        self._close(None)

    async def _run(self) -> None:
        ended: Ended | CutOff = CutOff(None)
        if not self.worker.pool.is_cut_off:
            self._is_executing = True
            try:
                self._notify(EventKind.STARTED)
                ended = await self._execute()
            except CutOff as cut:
                _uncancel()
                ended = cut.ended or cut
            except asyncio.CancelledError:
                _uncancel()
            except Exception as error:  # noqa: BLE001 - a bug of ours, or of what is told of the run
                ended = _failed(error)
            finally:
                self._is_executing = False
        self._finish(ended)

    async def _execute(self) -> Ended:
        if self.is_job:
            return await self._execute_job()
        cron: Any = self.target
        return await self._call(cron.args, cron.kwargs, NO_CONTEXT)

    async def _execute_job(self) -> Ended:
        stored, context = detach(self.claim.arguments or "{}")
        try:
            arguments = await self._decode(stored)
        except ArgumentError as error:
            return Ended(State.FAILED, str(error), raised=UnfitError())
        return await self._call(arguments.args, arguments.kwargs, context)

    async def _decode(self, arguments: str) -> BoundArguments:
        task: Any = self.target
        if task._is_checked and len(arguments) <= UNPACKED_AT_ONCE:
            bound: BoundArguments = task._unpack(arguments)
            return bound
        decoded: BoundArguments = await self.worker.host.hop(task._unpack, arguments)
        return decoded

    async def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: Mapping[str, str]) -> Ended:
        target, claim, worker = self.target, self.claim, self.worker
        call = Call(
            target=target.target,
            args=args,
            kwargs=kwargs,
            process=target.process,
            timeout=target.timeout,
            middlewares=target._hooks.middlewares,
        )
        run = CurrentRun(
            name=claim.name,
            slot=claim.slot or claim.due,
            fence=claim.fence,
            attempt=claim.attempt,
            run_id=claim.run_id,
            deadline=worker.host.now() + timedelta(seconds=target.timeout) if target.timeout else None,
            is_job=self.is_job,
            state=self.lifetime.state,
            context=context,
            cancelled=Flag(self._is_lost),
        )
        return await execute(call, run)

    def _is_lost(self) -> bool:
        return not self.worker.leases.holds(self.claim)

    def _finish(self, ended: Ended | CutOff) -> None:
        worker = self.worker
        self.duration = worker.host.monotonic() - self._began
        self.end = end_of(self.target, self.claim, ended, now=worker.host.now(), random=worker.host.random)
        if ended.lingering is not None:
            self._outlast(ended.lingering)
        else:
            worker.leases.ended(self.claim)
        worker.record(self)

    def _outlast(self, lingering: Lingering) -> None:
        """Let others have the capacity of this run, but not its lease before its code has ended."""
        logger.warning("%s: still running after its end: a thread can't be stopped", self.claim.name)
        self.worker.leases.outlast(self.claim, lingering.is_over)
        self.worker.pool.outlast(self._linger(lingering), self.worker.freed)
        self.worker.pool.leave(self)

    async def _linger(self, lingering: Lingering) -> None:
        await asyncio.wait(
            list[asyncio.Future[Any]]([lingering.future, self.over()])
        )  # both: a record after the release would keep the lease
        self.worker.leases.drop(self.claim)
        try:
            await self.worker.backend.release([self.claim])
        except PseudoCronError as error:
            logger.debug("%s: lease not released, it ends by itself: %s", self.claim.name, error)

    def recorded(self, state: State | None) -> None:
        """Note that the result is recorded, and in which state the run is now; None if the claim no longer held it."""
        assert self.end is not None  # noqa: S101 - it has ended
        if not self.end.goes_on:
            self.worker.leases.drop(self.claim)
        self._close(state)
        _log(self, state)
        if state is not None:  # or else another process notifies
            self._notify(_KINDS.get(state, EventKind.FAILED))
        self.worker.on_end(self)

    def _close(self, state: State | None) -> None:
        self.state, self.is_over = state, True
        self.worker.pool.remove(self)
        if self._over is not None and not self._over.done():
            self._over.set_result(state)

    def _notify(self, kind: EventKind) -> None:
        self.worker.dispatcher.dispatch(self.target._hooks, kind, self._event)

    def _event(self, kind: EventKind) -> Event:
        duration = None if self.end is None else self.duration
        return of_claim(self.claim, self.worker.name, kind, end=self.end, state=self.state, duration=duration)


_KINDS = {State.SUCCEEDED: EventKind.SUCCEEDED, State.PENDING: EventKind.RETRYING}


def _failed(error: Exception) -> Ended:
    return Ended(State.FAILED, f"can't be run: {error!r}")


def _uncancel() -> None:
    """Note that only the execution is over, and not the task."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is a coroutine
    task.uncancel()


def _log(run: Run, state: State | None) -> None:
    """Log one line for each attempt, and the traceback of one that failed."""
    claim, end = run.claim, run.end
    assert end is not None  # noqa: S101 - it has ended
    if logger.isEnabledFor(logging.INFO):  # or else that is a good part of what a short job costs
        late = (claim.started - claim.due).total_seconds()
        said = state or "its result came after its lease"
        line = "%s: %s, attempt %d, %.3f s late, took %.3f s: %s"
        logger.info(line, claim.name, _words(claim), claim.attempt, late, run.duration, said)
    if end.error:
        logger.error("%s: %s %s\n%s", claim.name, _words(claim), end.outcome, end.error)


def _words(claim: Claim) -> str:
    return f"slot {claim.slot.isoformat()}" if claim.slot else f"job {claim.run_id}"
