"""One process's scheduling of one configuration, from opening to draining, one look at a time."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from contextvars import Context
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pseudocron.backends import connect
from pseudocron.config import open_source
from pseudocron.errors import PseudoCronError
from pseudocron.host import Host
from pseudocron.runner import Runner
from pseudocron.scheduler import READ_AGAIN, Scheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Hashable, Mapping

    from pseudocron.backends.base import Backend, Claim, Result, State
    from pseudocron.config import Source
    from pseudocron.crons import Crons

logger = logging.getLogger("pseudocron")

COMPLAIN_AGAIN = 60.0
"""Seconds between two log lines about the same trouble."""


class Runtime:
    """The scheduling of one configuration, bound to the event loop that it was made on.

    Args:
        watch: What survives a change of the event loop.
        host: Time, sleep, chance and threads.
    """

    def __init__(self, watch: Watch, host: Host) -> None:
        self._watch = watch
        self._host = host
        self._scheduler: Scheduler | None = None
        self._looking: asyncio.Task[None] | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._closed = False
        self._complained = -inf

    async def open(self, *, state: Mapping[str, Any] | None = None, ticker: bool = False) -> Scheduler | None:
        """Load the configuration and reach the store, once; `PseudoCronError` in one line if that can't be done.

        Args:
            state: The application's lifespan state, for `current_run()`.
            ticker: Look without being asked, exactly when the next look is due.

        Returns:
            None if nothing is to be scheduled, because `PSEUDOCRON_ENABLED` says so.
        """
        self._closed = False
        if self._scheduler is None:
            self._scheduler = await self._open({} if state is None else state)
        if self._scheduler is None:
            self._watch.deadline = inf
        elif ticker and self._ticker is None:
            self._ticker = _spawn(self._tick_for_ever())
        return self._scheduler

    async def close(self) -> None:
        """Drain the runs and let go of the store. Nothing looks any more until it is opened again."""
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self._looking is not None:
            await asyncio.wait([self._looking])
        if self._scheduler is not None:
            await self._scheduler.runner.drain(self._watch.source.load().settings.drain)
            self._scheduler = None
        await self._watch.disconnect()
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
                if self._looking is not None:
                    await asyncio.wait([self._looking])
                while self._scheduler and self._scheduler.runner.runs:
                    await asyncio.wait(self._scheduler.runner.runs)

    async def tick(self) -> AsyncIterator[tuple[Claim, Result]]:
        """Look, whatever the gate says, until nothing is due any more; each run as it is over."""
        scheduler = await self.open()
        if scheduler is not None:
            async for ended in scheduler.tick():
                yield ended

    async def states(self) -> tuple[Crons, Mapping[str, State]]:
        """The crons as they are now, and what the store knows of them; nothing is run."""
        crons = await self._host.hop(self._watch.reload)
        backend = await self._watch.connect(crons)
        return crons, await backend.states({cron.name: cron.first_mark(self._host.now()) for cron in crons})

    async def _open(self, state: Mapping[str, Any]) -> Scheduler | None:
        crons = await self._host.hop(self._watch.reload)
        settings = crons.settings
        if not settings.enabled:
            logger.info("switched off by PSEUDOCRON_ENABLED")
            return None
        backend = await self._watch.connect(crons)
        runner = Runner(
            backend,
            host=self._host,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            concurrency=settings.concurrency,
            lease=settings.lease,
            state=state,
        )
        self._watch.deadline = -inf
        return Scheduler(self._watch.source, backend, runner, host=self._host)

    async def _visit(self, *, ticker: bool) -> None:
        if self._closed:
            return
        again = READ_AGAIN
        try:
            scheduler = await self.open(ticker=ticker)
            again = await scheduler.pass_gate() if scheduler else inf
        except PseudoCronError as error:
            self._complain(error)
        except Exception:
            logger.exception("a look failed")
        self._watch.deadline = self._host.monotonic() + again

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.wait([self.visit()])
            await self._host.sleep(max(0.0, self._watch.deadline - self._host.monotonic()))

    def _complain(self, error: PseudoCronError) -> None:
        if self._host.monotonic() - self._complained >= COMPLAIN_AGAIN:
            self._complained = self._host.monotonic()
            logger.error("no look: %s", error)


class Watch:
    """What all middlewares of one configuration share in a process, whatever event loop they are on.

    `deadline` is the moment, by `time.monotonic`, until which no request needs to do anything.

    Args:
        ref: The configuration, as the middleware takes it. It is not looked at before it is loaded.
        host: Time, sleep, chance and threads.
    """

    def __init__(self, ref: object, host: Host | None = None) -> None:
        self.deadline = -inf
        self._ref = ref
        self._host = host or Host()
        self._backend: Backend | None = None
        self._bound: tuple[asyncio.AbstractEventLoop, Runtime] | None = None

    @cached_property
    def source(self) -> Source:
        """Where the configuration comes from. Blocks when first asked for."""
        return open_source(self._ref)

    def reload(self) -> Crons:
        """The configuration as it is now; `PseudoCronError` if it has never been right. Blocks."""
        return self.source.reload()

    def runtime(self) -> Runtime:
        """The scheduling on the running event loop; made anew when the loop has changed, as test clients do."""
        loop = asyncio.get_running_loop()
        if self._bound is None or self._bound[0] is not loop:
            self._bound = (loop, Runtime(self, self._host))
        return self._bound[1]

    async def connect(self, crons: Crons) -> Backend:
        """The store that the configuration names, open, and the same object for the life of the process."""
        if self._backend is None:
            settings = crons.settings
            self._backend = connect(
                settings.backend,
                app=settings.app,
                folder=settings.folder,
                keep=settings.history,
                host=self._host,
            )
        await self._backend.open()
        return self._backend

    async def disconnect(self) -> None:
        """Let go of the store, if it was ever reached; it may be opened again."""
        if self._backend is not None:
            await self._backend.close()


_watches: WeakValueDictionary[Hashable, Watch] = WeakValueDictionary()


def watch(ref: object) -> Watch:
    """The one watch of this process over the configuration that `ref` means."""
    key = os.fspath(ref) if isinstance(ref, str | os.PathLike) else id(ref)
    found = _watches.get(key)
    if found is None:
        found = _watches[key] = Watch(ref)
    return found


def _spawn(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that inherits no context variables from the request that happened to start it."""
    return asyncio.get_running_loop().create_task(coroutine, context=Context())
