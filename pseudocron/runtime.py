"""The scheduling of one configuration on one event loop, from opening to draining, one look at a time."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from pseudocron.errors import ConfigError, PseudoCronError
from pseudocron.runner import Runner, Started
from pseudocron.scheduler import READ_AGAIN, Scheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping
    from datetime import datetime

    from pseudocron.backends.base import Backend
    from pseudocron.backends.records import Claim, Refusal, Result, State
    from pseudocron.config import Source
    from pseudocron.crons import Crons
    from pseudocron.host import Host

logger = logging.getLogger("pseudocron")

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
        self._looking: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._hurrying: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
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

    def visit(self, *, ticker: bool = False) -> asyncio.Task[None]:
        """Somebody came by: see in the background whether a look is due, unless that is being seen already."""
        if self._looking is None or self._looking.done():
            self._looking = _spawn(self._visit(ticker=ticker))
        return self._looking

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

    @asynccontextmanager
    async def store(self) -> AsyncIterator[tuple[Crons, Backend]]:
        """The crons as they are now, and their store, open; nothing is run."""
        crons = await self._host.hop(self._watch.reload)
        backend = await self._enter(crons)
        try:
            yield crons, backend
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
            self._hurrying = _spawn(self._visit_anew())

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
            self._ticker = _spawn(self._tick_for_ever())
        return self._scheduler

    async def _connect(self, state: Mapping[str, Any]) -> Scheduler | None:
        crons = await self._host.hop(self._watch.reload)
        settings = crons.settings
        if not settings.enabled:
            logger.info("switched off by PSEUDOCRON_ENABLED")
            return None
        async with self._door:
            backend = await self._watch.connect(self, crons)
        self._by = self._host.by(lambda: backend.ahead)
        runner = Runner(
            backend,
            host=self._by,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            concurrency=settings.concurrency,
            lease=settings.lease,
            state=state,
        )
        self._watch.deadline = -inf
        crons.on_deferred(self.deferred)
        return Scheduler(self._watch.source, backend, runner, host=self._by)

    async def _visit(self, *, ticker: bool) -> None:
        if self._closed:
            return
        again = READ_AGAIN
        try:
            scheduler = await self._open(ticker=ticker)
            again = await scheduler.pass_gate() if scheduler else inf
            if scheduler and scheduler.crowded and not self._following:
                self._following = _spawn(self._follow(scheduler))
        except PseudoCronError as error:
            self.complain(error)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end what others rely on
            self.complain(repr(error), traceback=True)
        self._watch.deadline = self._host.monotonic() + again

    async def _follow(self, scheduler: Scheduler) -> None:
        """When a run of ours makes room for what a look had to leave, look again; nobody may come by so soon."""
        try:
            more = await scheduler.room()
        except PseudoCronError as error:
            self.complain(error)
            more = False
        self._following = None
        if more:
            await self._visit_anew()

    async def _visit_anew(self) -> None:
        """Look once more, though a look goes on: it may already have passed by what is due now."""
        if self._looking is not None:
            await asyncio.wait([self._looking])
        self.visit()

    def _busy(self) -> set[asyncio.Task[Any]]:
        runs: set[asyncio.Task[Any]] = set(self._scheduler.runner.busy) if self._scheduler else set()
        looks = {look for look in (self._looking, self._following) if look and not look.done()}
        return runs | looks

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.wait([self.visit()])
            await self._host.sleep(max(0.0, self._watch.deadline - self._host.monotonic()))


def _spawn(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that inherits no context variables from the request that happened to start it."""
    # Created inside of the context, the task copies it; not every task factory can be given one.
    return Context().run(asyncio.get_running_loop().create_task, coroutine)
