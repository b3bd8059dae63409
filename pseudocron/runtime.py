"""The scheduling of one configuration on one event loop, from opening to draining, one look at a time."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from pseudocron.errors import BackendError, ConfigError, PseudoCronError
from pseudocron.host import spawn
from pseudocron.log import logger
from pseudocron.runner import Runner, Started
from pseudocron.scheduler import READ_AGAIN, NoLook, Scheduler, Visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from pseudocron.backends.base import Backend
    from pseudocron.backends.jobs import JobState
    from pseudocron.backends.records import Claim, Refusal, Result, State
    from pseudocron.config.source import Source
    from pseudocron.crons import Crons
    from pseudocron.host import Host

COMPLAIN_AGAIN = 60.0
"""Seconds between two log lines about the same trouble."""

LOOK_WITHIN = 1.0
"""Seconds that a look has to end in at shutdown; the claim of one that is cut off ends with its lease."""


class Process(Protocol):
    """What a runtime needs of its process, which may have several; `Watch` is it."""

    deadline: float

    @property
    def source(self) -> Source:
        """Where the configuration comes from."""

    def reload(self) -> Crons:
        """The configuration as it is now. Blocks."""

    async def connect(self, runtime: Runtime, crons: Crons) -> Backend:
        """The store, open, and held open for this runtime."""

    async def disconnect(self, runtime: Runtime) -> None:
        """This runtime needs the store no more."""


class Runtime:
    """The scheduling of one configuration, on the event loop that it was made on.

    Args:
        watch: What the process has of the configuration, whatever the event loop.
        host: Time, sleep, chance and threads.
    """

    def __init__(self, watch: Process, host: Host) -> None:
        self._watch = watch
        self._host = self._by = host
        self._scheduler: Scheduler | None = None
        self._looking: asyncio.Task[Visit] | None = None
        self._following: asyncio.Task[asyncio.Task[Visit] | None] | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._hurrying: asyncio.Task[asyncio.Task[Visit]] | None = None
        self._loop = asyncio.get_running_loop()
        self.jobs_ended: Counter[JobState | None] = Counter()
        """How many attempts of jobs have ended in this process, by the states that they left their jobs in."""
        self._lifespans = 0
        self._guests = 0
        self._door = asyncio.Lock()
        self._closed = False
        self._complained = -inf
        self._skipped = 0

    async def start(self, *, state: Mapping[str, Any] | None = None, ticker: bool = False) -> None:
        """Open for the length of a lifespan, of which there may be several; `PseudoCronError` if that can't be done.

        Args:
            state: The application's lifespan state, for `current_run()`.
            ticker: Look without being asked, exactly when the next look is due.
        """
        self._closed = False
        await self._open(state=state, ticker=ticker)
        self._lifespans += 1

    async def stop(self) -> None:
        """The end of a lifespan; with the last one, close."""
        self._lifespans -= 1
        if not self._lifespans:
            await self.close()

    def leave(self) -> None:
        """The end of a lifespan that its application has broken off: requests go on, and so do their looks."""
        self._lifespans -= 1

    async def close(self) -> None:
        """Drain the runs and let go of the store. Nothing looks any more until it is started again."""
        self._closed = True
        for task in filter(None, (self._ticker, self._following)):
            task.cancel()
        self._ticker = self._following = None
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=LOOK_WITHIN)
            self._looking.cancel()
        if self._scheduler is not None:
            await self._scheduler.runner.drain(self._watch.source.load().settings.drain)
            self._scheduler = None
        await self._watch.disconnect(self)
        self._watch.deadline = -inf

    def visit(self, *, ticker: bool = False) -> asyncio.Task[Visit]:
        """Somebody came by: see in the background whether a look is due, unless that is being seen already."""
        if self._looking is None or self._looking.done():
            self._looking = spawn(self._visit(ticker=ticker))
        return self._looking

    @property
    def runs(self) -> frozenset[asyncio.Task[Any]]:
        """The runs that go on in this process, and who attends to them."""
        return self._scheduler.runner.busy if self._scheduler else frozenset()

    async def settle(self, seconds: float) -> None:
        """Wait until the look and the runs that go on are over, or the seconds are."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while busy := self._busy():
                    await asyncio.wait(busy)

    async def tick(self) -> AsyncIterator[tuple[Claim, Result]]:
        """Look, whatever the gate says, until nothing is due any more; each run as it is over."""
        scheduler = await self._open()
        if scheduler is not None:
            async for ended in scheduler.tick():
                yield ended

    async def run_once(self, name: str) -> Result | Refusal:
        """Run a cron now, whatever its schedule says, and wait for it; or why its claim is refused.

        Raises:
            UnknownCronError: There is no such cron.
            ConfigError: `PSEUDOCRON_ENABLED` says that nothing is run.
        """
        started = await self.start_once(name)
        return await asyncio.shield(started.task) if isinstance(started, Started) else started

    async def start_once(self, name: str) -> Started | Refusal:
        """The same, without waiting for the run."""
        scheduler = await self._open()
        if scheduler is None:
            raise ConfigError("$PSEUDOCRON_ENABLED: False: everything is switched off")
        return await scheduler.runner.run_once(self._watch.source.load()[name])

    async def states(self) -> tuple[Crons, Mapping[str, State]]:
        """The crons as they are now, and what the store knows of them; nothing is run."""
        async with self.store() as (crons, backend):
            now = self._host.now() + backend.ahead
            return crons, await backend.states({cron.name: cron.first_mark(now) for cron in crons})

    async def read(self) -> tuple[Crons, str | None]:
        """The crons as they are now, and why the latest edit was not taken over, in one line."""
        return await self._host.hop(self._watch.reload), self._watch.source.error

    @asynccontextmanager
    async def store(self) -> AsyncIterator[tuple[Crons, Backend]]:
        """The crons as they are now, and their store, open; nothing is run."""
        crons, _ = await self.read()
        async with self.opened(crons) as backend:
            yield crons, backend

    @asynccontextmanager
    async def opened(self, crons: Crons) -> AsyncIterator[Backend]:
        """The store of the crons, open; nothing is run."""
        backend = await self._enter(crons)
        try:
            yield backend
        finally:
            await asyncio.shield(asyncio.ensure_future(self._leave()))

    async def _enter(self, crons: Crons) -> Backend:
        # One at a time: what one is closing, another must not take for open.
        async with self._door:
            backend = await self._watch.connect(self, crons)
            self._guests += 1
            return backend

    async def _leave(self) -> None:
        async with self._door:
            self._guests -= 1
            if not self._guests and self._scheduler is None:
                await self._watch.disconnect(self)

    def deferred(self, due: datetime) -> None:
        """A job has been deferred in this process, from whatever thread: if it is due, look without a visitor."""
        if due <= self._by.now():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._hurry)

    def _hurry(self) -> None:
        if self._hurrying is None or self._hurrying.done():
            self._hurrying = spawn(self._visit_anew())

    def complain(self, trouble: object, *, traceback: bool = False) -> None:
        """Log what keeps this process from looking, once a minute, and how many looks were skipped since."""
        self._skipped += 1
        if self._host.monotonic() - self._complained >= COMPLAIN_AGAIN:
            self._complained = self._host.monotonic()
            more = f" ({self._skipped} looks were skipped)" if self._skipped > 1 else ""
            logger.error("no look: %s%s", trouble, more, exc_info=traceback)
            self._skipped = 0

    async def _open(self, *, state: Mapping[str, Any] | None = None, ticker: bool = False) -> Scheduler | None:
        """Load the configuration and reach the store, once; None if `PSEUDOCRON_ENABLED` says no."""
        if self._scheduler is None:
            self._scheduler = await self._connect({} if state is None else state)
        if self._scheduler is None:
            self._watch.deadline = inf
        elif ticker and self._ticker is None:
            self._ticker = spawn(self._tick_for_ever())
        return self._scheduler

    async def _connect(self, state: Mapping[str, Any]) -> Scheduler | None:
        crons = await self._host.hop(self._watch.reload)
        settings = crons.settings
        if not settings.enabled:
            logger.info("switched off by PSEUDOCRON_ENABLED")
            return None
        async with self._door:
            backend = await self._watch.connect(self, crons)
        if self._scheduler is not None:  # somebody else was quicker
            return self._scheduler
        self._by = self._host.by(lambda: backend.ahead)
        runner = Runner(
            backend,
            host=self._by,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            concurrency=settings.concurrency,
            lease=settings.lease,
            state=state,
            on_job_end=lambda _, state: self.jobs_ended.update([state]),
        )
        self._watch.deadline = -inf
        crons.on_deferred(self.deferred)
        return Scheduler(self._watch.source, backend, runner, host=self._by)

    async def _visit(self, *, ticker: bool) -> Visit:
        if self._closed:
            return Visit(NoLook.CLOSED)
        again, visit = READ_AGAIN, Visit(NoLook.ERROR)
        try:
            scheduler = await self._open(ticker=ticker)
            again = await scheduler.pass_gate() if scheduler else inf
            visit = self._visited(scheduler)
        except PseudoCronError as error:
            self.complain(error)
            visit = Visit(NoLook.BACKEND_DOWN if isinstance(error, BackendError) else NoLook.BAD_CONFIG)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end what others rely on
            self.complain(repr(error), traceback=True)
        self._watch.deadline = self._host.monotonic() + again
        return visit

    def _visited(self, scheduler: Scheduler | None) -> Visit:
        if scheduler is None:
            return Visit(NoLook.DISABLED)
        if scheduler.crowded and not self._following:
            self._following = spawn(self._follow(scheduler))
        return Visit(scheduler.came_of_it, self._following if scheduler.crowded else None)

    async def _follow(self, scheduler: Scheduler) -> asyncio.Task[Visit] | None:
        """When a run of ours makes room for what a look had to leave, look again; nobody may come by so soon."""
        try:
            more = await scheduler.room()
        except PseudoCronError as error:
            self.complain(error)
            more = False
        self._following = None
        return await self._visit_anew() if more else None

    async def _visit_anew(self) -> asyncio.Task[Visit]:
        """Look once more, though a look goes on: it may already have passed by what is due now."""
        if self._looking is not None:
            await asyncio.wait([self._looking])
        return self.visit()

    def _busy(self) -> set[asyncio.Task[Any]]:
        looks: set[asyncio.Task[Any]] = {look for look in (self._looking, self._following) if look and not look.done()}
        return looks | self.runs

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.wait([self.visit()])
            await self._host.sleep(max(0.0, self._watch.deadline - self._host.monotonic()))
