"""One process's scheduling of one configuration: when to look, one look at a time, from opening to draining."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from contextvars import Context
from datetime import timedelta
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pseudocron.backends import connect
from pseudocron.backends.base import Reason
from pseudocron.config import open_source
from pseudocron.errors import BackendError, PseudoCronError
from pseudocron.host import Host
from pseudocron.runner import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Hashable, Mapping

    from pseudocron.backends.base import Backend, Claim, Result, State
    from pseudocron.config import Source
    from pseudocron.crons import Crons
    from pseudocron.runner import Looked

logger = logging.getLogger("pseudocron")

READ_AGAIN = 1.0
"""Seconds after which a fresh gate is read again: another process may have pulled it forward."""

COMPLAIN_AGAIN = 60.0
"""Seconds between two log lines about the same trouble."""


class Runtime:
    """The scheduling itself, bound to the event loop that it was made on.

    Args:
        watch: What survives a change of the event loop.
        host: Time, sleep, chance and threads.
    """

    def __init__(self, watch: Watch, host: Host) -> None:
        self._watch = watch
        self._host = host
        self._crons: Crons | None = None
        self._backend: Backend | None = None
        self._runner: Runner | None = None
        self._looking: asyncio.Task[None] | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._closed = False
        self._missed = Reason.NO_TRAFFIC
        self._complained = -inf

    async def open(self, *, state: Mapping[str, Any] | None = None, ticker: bool = False) -> bool:
        """Load the configuration and reach the store, once; `PseudoCronError` in one line if that can't be done.

        Args:
            state: The application's lifespan state, for `current_run()`.
            ticker: Look without being asked, exactly when the next look is due.

        Returns:
            Whether anything is to be scheduled: not if `PSEUDOCRON_ENABLED` says no.
        """
        self._closed = False
        if self._runner is None:
            await self._open(state if state is not None else {})
        if self._runner is None:
            self._watch.deadline = inf
        elif ticker and self._ticker is None:
            self._ticker = _spawn(self._tick_for_ever())
        return self._runner is not None

    async def close(self) -> None:
        """Drain the runs and let go of the store. Nothing looks any more until it is opened again."""
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self._looking is not None:
            await asyncio.wait([self._looking])
        if self._runner and self._crons and self._backend:
            await self._runner.drain(self._crons.settings.drain)
            await self._backend.close()
        self._runner = None
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
                while self._runner and self._runner.runs:
                    await asyncio.wait(self._runner.runs)

    async def states(self) -> tuple[Crons, Mapping[str, State]]:
        """The crons, and what the store knows of them; nothing is run."""
        crons = await self._host.hop(self._watch.load)
        backend = self._watch.connect(crons)
        await backend.open()
        return crons, await backend.states({cron.name: cron.first_mark(self._host.now()) for cron in crons})

    async def tick(self) -> AsyncIterator[tuple[Claim, Result]]:
        """Look, whatever the gate says, until nothing is due any more; each run as it is over."""
        if not await self.open() or self._backend is None or self._runner is None or self._crons is None:
            return
        await self._backend.enter(self._crons.settings.cron_max_time)
        crowded = True
        while crowded:
            looked = await self._look(self._backend, self._runner)
            crowded = looked.crowded
            for started in looked.started:
                yield started.claim, await started.task

    async def _open(self, state: Mapping[str, Any]) -> None:
        crons = await self._host.hop(self._watch.load)
        settings = crons.settings
        if not settings.enabled:
            logger.info("switched off by PSEUDOCRON_ENABLED")
            return
        backend = self._watch.connect(crons)
        await backend.open()
        self._crons, self._backend = crons, backend
        self._runner = Runner(
            backend,
            host=self._host,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            concurrency=settings.concurrency,
            lease=settings.lease,
            state=state,
        )

    async def _visit(self, *, ticker: bool) -> None:
        again = READ_AGAIN
        try:
            if self._closed or not await self.open(ticker=ticker):
                return
            again = min(await self._pass_gate(), READ_AGAIN)
        except PseudoCronError as error:
            self._complain(error)
        except Exception:
            logger.exception("a look failed")
        self._watch.deadline = self._host.monotonic() + again

    async def _pass_gate(self) -> float:
        """Look if the gate is stale and we are the one who enters; seconds until it should be read again."""
        if self._backend is None or self._runner is None or self._crons is None or self._runner.full:
            return READ_AGAIN
        max_age = self._crons.settings.cron_max_time
        fresh = await self._backend.fresh_for(max_age)
        if fresh > 0:
            return fresh
        if await self._backend.enter(max_age):
            await self._look(self._backend, self._runner)
        return await self._backend.fresh_for(max_age)

    async def _look(self, backend: Backend, runner: Runner) -> Looked:
        self._crons = crons = await self._host.hop(self._watch.source.reload)
        soon = self._host.now() + timedelta(seconds=READ_AGAIN)
        max_age = crons.settings.cron_max_time
        try:
            looked = await runner.look(crons, missed=self._missed)
        except Exception:
            with suppress(PseudoCronError):
                await backend.lower(soon, max_age)
            raise
        self._missed = Reason.NO_TRAFFIC
        due = soon if looked.crowded else looked.next
        if due is not None:
            await backend.lower(due, max_age)
        return looked

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.wait([self.visit()])
            await self._host.sleep(max(0.0, self._watch.deadline - self._host.monotonic()))

    def _complain(self, error: PseudoCronError) -> None:
        if isinstance(error, BackendError):
            self._missed = Reason.BACKEND_DOWN
        if self._host.monotonic() - self._complained >= COMPLAIN_AGAIN:
            self._complained = self._host.monotonic()
            logger.error("no look: %s", error)


class Watch:
    """What all middlewares of one configuration share in a process, whatever event loop they are on.

    `deadline` is the moment, by `time.monotonic`, until which no request needs to do anything.

    Args:
        ref: The configuration, as the middleware takes it. It is not looked at before `source` is asked for.
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
        """Where the configuration comes from. Blocks when first asked for, as everything of it does."""
        return open_source(self._ref)

    def load(self) -> Crons:
        """The configuration, read once; `PseudoCronError` if it is wrong. Blocks."""
        return self.source.load()

    def runtime(self) -> Runtime:
        """The scheduling on the running event loop; made anew when the loop has changed, as test clients do."""
        loop = asyncio.get_running_loop()
        if self._bound is None or self._bound[0] is not loop:
            self._bound = (loop, Runtime(self, self._host))
        return self._bound[1]

    def connect(self, crons: Crons) -> Backend:
        """The store that the configuration names, the same object for the life of the process."""
        if self._backend is None:
            settings = crons.settings
            self._backend = connect(
                settings.backend,
                app=settings.app,
                folder=settings.folder,
                keep=settings.history,
                host=self._host,
            )
        return self._backend


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
