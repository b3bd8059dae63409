"""The runs of one process and event loop: their capacity, leases and results, from claim to drain."""

from __future__ import annotations

import asyncio
import sys
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.model import Kind
from pseudocron.backends.questions import Manual, Refusal, Take
from pseudocron.executors.capture import install, installed
from pseudocron.hooks.dispatcher import Dispatcher
from pseudocron.host import spawn
from pseudocron.targets import needs_thread
from pseudocron.worker.leases import LeaseRenewer
from pseudocron.worker.pool import Lifetime, Pool
from pseudocron.worker.results import ResultWriter
from pseudocron.worker.run import Run, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.questions import Claim, Finished
    from pseudocron.crons import Cron, Crons
    from pseudocron.host import Host
    from pseudocron.jobs.tasks import Task


class _Limits(NamedTuple):
    """What the processes of a configuration may claim, computed once."""

    of: Crons
    version: int
    aside: frozenset[str]
    tasks: Mapping[str, int | None]
    crons: Mapping[str, int]


class Runs:
    """Claims for the free capacity of a process, and executes what was claimed.

    Args:
        backend: The store, open.
        host: Time, sleep, chance and threads, by the store's clock.
        worker: Which process this is, for people to read (`host:pid`).
        concurrency: How many runs the process has at once.
        lease: Seconds for which a claim holds unless renewed.
        lifetimes: The applications that are running; a run belongs to the one that started last.
        on_end: Called with each run whose result is recorded.
        on_recorded: Called after results are recorded, with the seconds until the gate turns stale; with 0 also when
            code has ended that had outlasted its run. Not called while runs that end are followed by others.

    Attributes:
        aside: The crons that this process leaves to a newer version of the application.
        left: Whether the last claim left something due that this process may start when it has capacity again.
        refill_until: Until when, by the monotonic clock, runs that end are followed by others in the same transaction.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        host: Host,
        worker: str,
        concurrency: int,
        lease: float,
        lifetimes: Sequence[Lifetime] = (),
        on_end: Callable[[Run], None] = lambda _: None,
        on_recorded: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.name = worker
        self.pool = Pool(concurrency)
        self.dispatcher = Dispatcher()
        self.leases = LeaseRenewer(backend.renew, lease, pulse=host.pulse)
        self.aside: frozenset[str] = frozenset()
        self.left = False
        self.refill_until = -inf
        self._backend, self._host, self._lease = backend, host, lease
        self._lifetimes = lifetimes
        self._on_recorded = on_recorded
        self._writer = ResultWriter(self, backend, host)
        self._worker = Worker(
            worker, backend, host, self.pool, self.leases, self.dispatcher, self._writer.record, on_end, self._freed
        )
        self._crons: Crons | None = None
        self._limits: _Limits | None = None

    def take(self, crons: Crons, *, ending: int = 0) -> Take:
        """Reserve the free capacity, and return what may be claimed for it.

        Args:
            crons: The configuration.
            ending: How many jobs end in the same transaction, and free their capacity.
        """
        self._crons = crons
        limits = self._limits
        if limits is None or limits[:3] != (crons, crons._version, self.aside):
            limits = self._limits = _Limits(
                crons,
                crons._version,
                self.aside,
                {name: task.max_instances for name, task in crons.tasks.items()},
                {cron.name: cron.max_instances for cron in crons if cron.enabled and cron.name not in self.aside},
            )
        capacity = self.pool.reserve(has_crons=bool(limits.crons), has_tasks=bool(limits.tasks), ending=ending)
        resting = () if self.pool.has_threads else _in_threads(crons)
        return Take(limits.tasks, limits.crons, capacity, self.name, self._lease, resting)

    def start(self, take: Take, claims: Sequence[Claim], asked: float) -> list[Run]:
        """Give back what `take` has reserved, and start what was claimed.

        Args:
            take: What was asked for.
            claims: The claims that came of it.
            asked: When they were asked for, by the clock of the leases.
        """
        self.pool.give_back(take.capacity)
        return self._start(claims, asked) if claims else []

    def _start(self, claims: Sequence[Claim], asked: float) -> list[Run]:
        if sys.stdout is not installed["stdout"] or sys.stderr is not installed["stderr"]:
            install()
        # Whatever a store hands out, nothing is called but what is registered.
        runs: list[Run] = []
        held: list[Claim] = []
        lifetime = self._lifetimes[-1] if self._lifetimes else Lifetime()
        for claim in claims:
            if (target := self._of(claim)) is not None:
                runs.append(Run(self._worker, target, claim, lifetime))
                held.append(claim)
        failure: Exception | None = None
        try:
            self.leases.hold(held, asked, asyncio.get_running_loop().is_closed)
        except Exception as error:  # noqa: BLE001 - the failure of these runs, such as no further thread to be had
            failure = error
        for run in runs:
            run.start(failure)
        return runs

    def _of(self, claim: Claim) -> Cron | Task[..., Any] | None:
        if self._crons is None:
            return None
        if claim.kind is Kind.JOB:
            return self._crons.tasks.get(claim.name)
        return self._crons[claim.name] if claim.name in self._crons else None  # noqa: SIM401 - no mapping

    async def start_by_hand(self, crons: Crons, name: str) -> Run | Refusal:
        """Start a run outside of the schedule, recorded like any other; or return why that is refused.

        The run inherits no context variables from the caller, and starts even if the caller is cancelled after the
        claim.
        """
        starting = spawn(self._start_by_hand(crons, name))
        await asyncio.wait([starting])
        return starting.result()

    async def _start_by_hand(self, crons: Crons, name: str) -> Run | Refusal:
        self._crons, cron, asked = crons, crons[name], self.leases.asked()
        claim = await self._backend.start(Manual(name, self.name, self._lease, cron.max_instances))
        return claim if isinstance(claim, Refusal) else self._start([claim], asked)[0]

    # Results

    def refill(self, ending: Sequence[Run]) -> Take | None:
        """Reserve the capacity that these runs free, for what is claimed in the transaction of their ends."""
        if self._crons is None or self._host.monotonic() >= self.refill_until:
            return None
        jobs = 0
        for run in ending:  # a generator would be most of what a single end costs here
            jobs += run.is_job and run.has_capacity
        return self.take(self._crons, ending=jobs)

    def recorded(self, ended: Sequence[Run], finished: Finished) -> None:
        """Note the answer of the store to the results of these runs."""
        self.left = self.left or finished.left  # a poll may have left slots, of which an end says nothing
        # What follows a job has its end in turn; a slot may have waited for the end of a run of its cron.
        if not finished.claims or not all(run.is_job for run in ended):
            self._on_recorded(finished.fresh_for)

    def _freed(self) -> None:
        self._on_recorded(0.0)

    # The end

    def busy(self) -> list[asyncio.Future[Any]]:
        """Return what goes on: runs until they are recorded, and the notification of hooks."""
        return [*(run.over() for run in self.pool.runs), *self.dispatcher.delivering]

    async def idle(self) -> None:
        """Wait until nothing runs here, and hooks are notified."""
        while busy := self.busy():
            await asyncio.wait(busy)

    async def drain(self, seconds: float) -> None:
        """Wait for the runs; those that outlast the seconds are cut off, and recorded so."""
        await self.pool.drain(seconds)
        self._writer.close()
        await self.dispatcher.drain()
        self.leases.close()


def _in_threads(crons: Crons) -> Sequence[tuple[Kind, str]]:
    """Return the crons and tasks that need a thread."""
    slots = [(Kind.SLOT, cron.name) for cron in crons if needs_thread(cron.target, process=cron.process)]
    tasks = crons.tasks.items()
    jobs = [(Kind.JOB, name) for name, task in tasks if needs_thread(task.target, process=task.process)]
    return [*slots, *jobs]
