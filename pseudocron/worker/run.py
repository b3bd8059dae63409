"""One run in this process, from its claim to its result: of a slot, of a job, or by hand."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.model import Kind, State
from pseudocron.context import CurrentRun, Flag
from pseudocron.errors import ArgumentError, PseudoCronError
from pseudocron.executors import Call, CutOff, Ended, Execution
from pseudocron.executors.call import impossible
from pseudocron.executors.capture import Output
from pseudocron.hooks.events import Event, EventKind, of_claim
from pseudocron.host import spawn
from pseudocron.jobs.propagation import detach
from pseudocron.log import logger
from pseudocron.worker.decoding import decode_aside, is_quick
from pseudocron.worker.outcome import UnfitError, end_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from inspect import BoundArguments

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.questions import Claim, End
    from pseudocron.cron import Cron
    from pseudocron.executors import Lingering
    from pseudocron.hooks.dispatcher import Dispatcher
    from pseudocron.host import Host
    from pseudocron.jobs.tasks import Task
    from pseudocron.worker.leases import LeaseRenewer
    from pseudocron.worker.pool import Lifetime, Pool

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
        output: What its code has printed and logged in this process; None if nothing.
    """

    __slots__ = (
        "_began",
        "_context",
        "_current_run",
        "_decoding",
        "_execution",
        "_is_cut_off",
        "_over",
        "claim",
        "duration",
        "end",
        "has_capacity",
        "is_job",
        "is_over",
        "lifetime",
        "output",
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
        self.output: Output | None = None
        self.state: State | None = None
        self.duration = 0.0
        self.has_capacity = self.is_over = self._is_cut_off = False
        self._over: asyncio.Future[State | None] | None = None
        self._context = NO_CONTEXT
        self._current_run: CurrentRun | None = None
        self._execution: Execution | None = None
        self._decoding: asyncio.Task[None] | None = None

    def start(self, failure: Exception | None = None) -> None:
        """Start it; or let it fail at once, as its lease can't be renewed."""
        worker = self.worker
        worker.pool.enter(self)
        self._began = worker.host.monotonic()
        if failure is not None:
            self._finish(impossible(failure))
        elif worker.pool.is_cut_off:
            self._finish(CutOff(None))
        else:
            try:
                self._start()
            except Exception as error:  # noqa: BLE001 - a bug of ours, or of what is told of the run
                self._finish(impossible(error))

    def _start(self) -> None:
        self._notify(EventKind.STARTED)
        target: Any = self.target
        if not self.is_job:
            self._execute(target.args, target.kwargs)
            return
        stored, self._context = detach(self.claim.arguments or "{}")
        if is_quick(target, stored):
            self._decoded(target._unpack, stored)
        else:
            self._decoding = spawn(self._decode_aside(stored))

    async def _decode_aside(self, stored: str) -> None:
        target: Any = self.target
        decoded = await decode_aside(self.worker.host, target, stored)
        if self._is_cut_off:
            self._finish(CutOff(None))
        else:
            self._decoded(decoded)

    def _decoded(self, decode: Callable[..., BoundArguments], *stored: str) -> None:
        """Execute a job with the arguments that `decode` returns."""
        try:
            arguments = decode(*stored)
        except ArgumentError as error:
            self._finish(Ended(State.FAILED, str(error), raised=UnfitError()))
        else:
            self._execute(arguments.args, arguments.kwargs)

    def _execute(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        target: Any = self.target
        surroundings = () if self.is_job else (target.env, target.cwd)
        how = target.process, target.timeout, target._hooks.middlewares, *surroundings
        call = Call(target.target, args, kwargs, *how)
        self._execution = Execution(call, self, self._finish)
        self._execution.start()

    def over(self) -> asyncio.Future[State | None]:
        """Return a future of the state after its result is recorded, None if that was too late."""
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
            if self.is_over:
                self._over.set_result(self.state)
        return self._over

    def cut_off(self) -> None:
        """Cancel the execution, if it goes on."""
        self._is_cut_off = True
        if self._execution is not None:
            self._execution.cut_off()

    def abandon(self) -> None:
        """Wait for it no longer; its lease ends by itself."""
        self._close(None)

    @property
    def name(self) -> str:
        """The name of the cron or task."""
        return self.claim.name

    def _current(self) -> CurrentRun:
        """Return what `current_run()` is in its code."""
        if self._current_run is None:
            claim, timeout, host = self.claim, self.target.timeout, self.worker.host
            left = None if timeout is None else timeout - (host.monotonic() - self._began)
            self._current_run = CurrentRun(
                name=claim.name,
                slot=claim.slot or claim.due,
                fence=claim.fence,
                attempt=claim.attempt,
                run_id=claim.run_id,
                deadline=None if left is None else host.now() + timedelta(seconds=left),
                is_job=self.is_job,
                state=self.lifetime.state,
                context=self._context,
                cancelled=Flag(self._is_lost),
            )
        return self._current_run

    def _write(self, text: str) -> None:
        if self.end is None:  # code that outlasts its run writes for nobody
            self.output = self.output or Output()
            self.output.write(text)

    def _is_lost(self) -> bool:
        return not self.worker.leases.holds(self.claim)

    def _finish(self, ended: Ended | CutOff) -> None:
        worker = self.worker
        if isinstance(ended, CutOff):
            ended = ended.ended or ended
        self.duration = worker.host.monotonic() - self._began
        self.end = end_of(self.target, self.claim, ended, now=worker.host.now(), random=worker.host.random)
        if self.output is not None:
            self.end = self.output.added_to(self.end)
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
        if self.target._hooks.of_kind(kind):
            self.worker.dispatcher.dispatch(self.target._hooks, kind, self._event)

    def _event(self, kind: EventKind) -> Event:
        duration = None if self.end is None else self.duration
        return of_claim(self.claim, self.worker.name, kind, end=self.end, state=self.state, duration=duration)


_KINDS = {State.SUCCEEDED: EventKind.SUCCEEDED, State.PENDING: EventKind.RETRYING}


def _log(run: Run, state: State | None) -> None:
    """Log one line for each attempt, and the traceback of one that failed."""
    claim, end = run.claim, run.end
    assert end is not None  # noqa: S101 - it has ended
    level = logging.INFO if state else logging.WARNING
    if logger.isEnabledFor(level):  # or else that is a good part of what a short job costs
        late = (claim.started - claim.due).total_seconds()
        said = state or "its result came after its lease"
        line = "%s: %s, attempt %d, %.3f s late, took %.3f s: %s"
        logger.log(level, line, claim.name, _words(claim), claim.attempt, late, run.duration, said)
    if end.error:
        logger.error("%s: %s %s\n%s", claim.name, _words(claim), end.outcome, end.error)


def _words(claim: Claim) -> str:
    return f"slot {claim.slot.isoformat()}" if claim.slot else f"job {claim.run_id}"
