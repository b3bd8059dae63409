"""The scheduling of one configuration on one event loop, from opening to draining, one poll at a time."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

from pseudocron.backends.usage import usage
from pseudocron.errors import BackendAwayError
from pseudocron.executors.capture import install
from pseudocron.host import spawn
from pseudocron.log import Complaints, logger
from pseudocron.polling import NoPoll, PollReason, PollResult, Polls, failed
from pseudocron.worker.announcement import announce
from pseudocron.worker.poll import Poller
from pseudocron.worker.pool import Lifetime
from pseudocron.worker.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pseudocron.backends.model import State
    from pseudocron.host import Host
    from pseudocron.process import Process
    from pseudocron.server_grace import Grace
    from pseudocron.worker.run import Run

POLL_WITHIN = 1.0
"""Seconds that a poll has to end in at shutdown; the claim of one that is cut off ends with its lease."""


class Runtime:
    """The scheduling of one configuration, on the event loop that it was made on.

    Args:
        process: What the process has of the configuration, whatever the event loop.
        host: Time, sleep, chance and threads.

    Attributes:
        jobs_ended: How many attempts of jobs have ended here, by the states that they left their jobs in.
        polls: What asks for polls.
        started: Where the runs that polls start are collected, if somebody wants that.
    """

    def __init__(self, process: Process, host: Host) -> None:
        self._process = process
        self._host = self._by = host
        self._loop = asyncio.get_running_loop()
        self.polls = Polls(self._poll, closed=lambda: PollResult(NoPoll.CLOSED))
        self._opening = asyncio.Lock()
        self._poller: Poller | None = None
        self._using: set[Poller] = set()
        self._lifetimes: list[Lifetime] = []
        self._ending: set[Lifetime] = set()  # of those the ones with which all is being closed
        self._executes: bool | None = None
        self._closed = self._has_polled = self._wants_ticker = False
        self._ticker: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._letting_go: set[asyncio.Task[None]] = set()
        self.started: list[Run] | None = None
        self._grace: Grace | None = None
        self.complain = Complaints(host.monotonic).log
        self.jobs_ended: Counter[State | None] = Counter()

    # From the start of an application to its shutdown

    async def start(
        self,
        *,
        state: Mapping[str, Any] | None = None,
        ticker: bool = False,
        execute: bool = True,
        grace: Grace | None = None,
    ) -> Lifetime:
        """Open for the length of a lifespan, of which there may be several.

        A store that is away at the moment is logged, and opened by a later poll.

        Args:
            state: The application's lifespan state, for `current_run()`.
            ticker: Poll without being asked, exactly when the next poll is due.
            execute: Whether this process runs what it defers; without, it leaves that to others.
            grace: How long the server lets the process live when it is to end, if that is known.

        Raises:
            PseudoCronError: The configuration or the store can't be used, nor will it be.
        """
        self._closed = False
        self._wants_ticker |= ticker and execute
        self._executes = self._executes or execute
        self._grace = grace
        poller = None
        try:
            poller = await self.open()
        except BackendAwayError as error:
            self.complain(error)
            if self._wants_ticker and self._ticker is None:
                self._ticker = spawn(self._tick_for_ever())
        if poller is not None and not self._lifetimes:
            source = self._process.source
            await announce(source.where, source.load(), poller.backend, self._host, ticker=self._wants_ticker)
        lifetime = Lifetime(state)
        self._lifetimes.append(lifetime)
        return lifetime

    async def stop(self, lifetime: Lifetime) -> None:
        """End a lifespan: its runs are drained, and with the last one all is closed."""
        if all(one in {lifetime, *self._ending} for one in self._lifetimes):
            self._ending.add(lifetime)
            try:
                await self.close()  # a poll that is under way may still start runs, with its state
            finally:
                self._ending.discard(lifetime)
                self.leave(lifetime)
            return
        self.leave(lifetime)
        if self._poller is not None:
            await self._poller.runs.pool.drain_of(lifetime, self._drain)

    def leave(self, lifetime: Lifetime) -> None:
        """End a lifespan that its application has broken off: requests go on, and so do their polls."""
        if lifetime in self._lifetimes:
            self._lifetimes.remove(lifetime)

    async def close(self) -> None:
        """Drain the runs and close the store. Nothing polls any more until it is started again."""
        self._closed, self._executes, self._wants_ticker = True, None, False
        # First of all: a lifespan that starts during the drain opens a poller of its own.
        poller, self._poller = self._poller, None
        for waiting in (self._ticker, self._again):
            if waiting is not None:
                waiting.cancel()
        self._ticker = self._again = None
        await self.polls.stop(POLL_WITHIN)
        if poller is not None:
            await poller.runs.drain(self._drain)
            letting_go = spawn(self._let_go(poller))
            self._letting_go.add(letting_go)
            letting_go.add_done_callback(self._letting_go.discard)
            if not poller.runs.pool.lingering:
                await asyncio.wait([letting_go])
        self._process.bring_forward()

    @property
    def _drain(self) -> float:
        drain = self._process.source.load().settings.drain
        return drain if self._grace is None else self._grace.allowed(drain)

    async def _let_go(self, poller: Poller) -> None:
        """Close the store, but not while code that outlasts its run needs a lease."""
        while lingering := poller.runs.pool.lingering:
            await asyncio.wait(lingering)
        self._using.discard(poller)
        await usage(poller.backend).end(poller, for_good=True)

    def forsake(self) -> None:
        """Use the store no more, as the event loop is closed."""
        for poller in self._using:
            usage(poller.backend).forget(poller)

    # Polls

    def request_poll(self, reason: PollReason, *, ticker: bool = False) -> asyncio.Future[PollResult]:
        """Poll in the background, the only way to do it; all that ask during a poll get exactly one more.

        Args:
            reason: Why.
            ticker: Whether the process is to poll without being asked from now on.

        Returns:
            What comes of it; to be waited for by `asyncio.wait`, as others may wait for the same.
        """
        self._wants_ticker |= ticker
        if reason is PollReason.REQUEST or (reason is PollReason.URL and self._executes is None):
            self._executes = True  # also in a process without a lifespan
        self._has_polled = True
        return self.polls.request(reason)

    async def _poll(self, reasons: frozenset[PollReason]) -> PollResult:
        if self._closed:
            return PollResult(NoPoll.CLOSED)
        number, polled = self._process.poll_began(), PollResult(NoPoll.ERROR)
        try:
            polled = await self._poll_open(reasons)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end what others rely on
            polled = failed(error)
            if PollReason.TICK not in reasons:  # the command shows it
                self.complain(error)
        finally:
            self._process.poll_ended(number, polled.again)
        self._follow(polled, reasons)
        return polled

    async def _poll_open(self, reasons: frozenset[PollReason]) -> PollResult:
        poller = await self.open()
        if poller is None:
            return PollResult(NoPoll.DISABLED, again=inf)
        polled = await poller.poll(reasons)
        if self.started is not None and not isinstance(polled.came_of_it, NoPoll):
            self.started += polled.came_of_it.started
        return polled

    def _follow(self, polled: PollResult, reasons: frozenset[PollReason]) -> None:
        """Poll again later, though there may be no request: what is due must not be forgotten."""
        if polled.follows(reasons, left=self._poller is not None and self._poller.runs.left):
            if self._again is not None:
                self._again.cancel()
            self._again = self._loop.call_later(polled.again, self.request_poll, PollReason.CAPACITY)

    def _on_recorded(self, fresh_for: float) -> None:
        if self._closed:
            return
        if fresh_for <= 0 and self._has_polled:  # a process that only runs crons by hand leaves the rest to others
            self.request_poll(PollReason.CAPACITY)
        else:
            self._process.bring_forward(fresh_for)

    def deferred(self, due: datetime) -> None:
        """Poll without a request if a job is due that was deferred in this process, from whatever thread."""
        if self._executes and due <= self._by.now():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.request_poll, PollReason.DEFERRED)

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.wait([self.request_poll(PollReason.TICKER)])
            # Once: a request that has put the deadline off polls behind its response, which may take long.
            await self._host.sleep(max(0.0, self._process.deadline - self._host.monotonic()))

    async def settle(self, seconds: float) -> None:
        """Wait until the polls and the runs that are under way are over, or the seconds are."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while busy := self.busy():
                    await asyncio.wait(busy)

    def busy(self) -> set[asyncio.Future[Any]]:
        """Return what is under way: the poll, and the runs until they are recorded."""
        return {*self.runs, *filter(None, [self.polls.task])}

    @property
    def stuck(self) -> bool:
        """Whether so many threads have outlasted their runs here that no further ones are started."""
        return self._poller is not None and not self._poller.runs.pool.has_threads

    @property
    def runs(self) -> frozenset[asyncio.Future[Any]]:
        """Futures of the runs of this process until they are recorded, and what notifies hooks."""
        return frozenset(self._poller.runs.busy()) if self._poller else frozenset()

    # The store

    async def open(self) -> Poller | None:
        """Load the configuration and reach the store, once; None if `PSEUDOCRON_ENABLED` says no."""
        async with self._opening:
            if self._poller is None:
                self._poller = await self._connect()
            if self._poller is not None and self._wants_ticker and self._ticker is None:
                self._ticker = spawn(self._tick_for_ever())
            return self._poller

    async def _connect(self) -> Poller | None:
        self._process.warn_of_environment()
        crons = await self._host.hop(self._process.reload)
        settings = crons.settings
        if not settings.enabled:
            logger.info("switched off by PSEUDOCRON_ENABLED: nothing runs, deferred jobs are kept in this process only")
            return None
        backend = await self._process.connect(crons)
        install()
        if self._grace is not None and (advice := self._grace.advice(settings.drain)):
            logger.warning(advice)
        self._by = self._host.by(lambda: backend.ahead) if backend.has_own_clock else self._host
        runs = Runs(
            backend,
            host=self._by,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            concurrency=settings.concurrency,
            lease=settings.lease,
            lifetimes=self._lifetimes,
            on_end=self._on_end,
            on_recorded=self._on_recorded,
        )
        poller = Poller(self._process.source, backend, self._by, runs)
        await usage(backend).begin(poller)
        self._using.add(poller)
        crons.on_deferred(self.deferred)
        return poller

    def _on_end(self, run: Run) -> None:
        if run.is_job:
            self.jobs_ended[run.state] += 1
