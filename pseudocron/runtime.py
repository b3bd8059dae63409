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
from pseudocron.errors import BackendError, PseudoCronError
from pseudocron.host import spawn
from pseudocron.log import Complaints, logger
from pseudocron.polling import FREED, PollReason, Polls
from pseudocron.runner import Runner
from pseudocron.runner.looked import Looked, Started
from pseudocron.runner.pool import Lifetime
from pseudocron.scheduler import NoLook, Polled, Scheduler

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pseudocron.backends.jobs import JobState
    from pseudocron.host import Host
    from pseudocron.watch import Watch

POLL_WITHIN = 1.0
"""Seconds that a poll has to end in at shutdown; the claim of one that is cut off ends with its lease."""


class Runtime:
    """The scheduling of one configuration, on the event loop that it was made on.

    Args:
        watch: What the process has of the configuration, whatever the event loop.
        host: Time, sleep, chance and threads.
        has_entered: Whether a poll of this process has entered the gate and will never end.

    Attributes:
        jobs_ended: How many attempts of jobs have ended here, by the states that they left their jobs in.
        started: Where the runs that polls start are collected, if somebody wants that.
    """

    def __init__(self, watch: Watch, host: Host, *, has_entered: bool = False) -> None:
        self._watch = watch
        self._host = self._by = host
        self._loop = asyncio.get_running_loop()
        self._polls = Polls(self._poll, closed=lambda: Polled(NoLook.CLOSED))
        self._opening = asyncio.Lock()
        self._scheduler: Scheduler | None = None
        self._using: set[Scheduler] = set()
        self._lifetimes: list[Lifetime] = []
        self._ending: set[Lifetime] = set()  # of those the ones with which all is being closed
        self._executes: bool | None = None
        self._closed = False
        self._has_entered = has_entered
        self._wants_ticker = False
        self._ticker: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._letting_go: set[asyncio.Task[None]] = set()
        self.started: list[Started] | None = None
        self.complain = Complaints(host.monotonic).log
        self.jobs_ended: Counter[JobState | None] = Counter()

    # From the start of an application to its shutdown

    async def start(
        self, *, state: Mapping[str, Any] | None = None, ticker: bool = False, execute: bool = True
    ) -> Lifetime:
        """Open for the length of a lifespan, of which there may be several.

        Args:
            state: The application's lifespan state, for `current_run()`.
            ticker: Poll without being asked, exactly when the next poll is due.
            execute: Whether this process runs what it defers; without, it leaves that to others.

        Raises:
            PseudoCronError: The configuration or the store can't be used.
        """
        self._closed = False
        self._wants_ticker |= ticker and execute
        self._executes = self._executes or execute
        await self.open()
        lifetime = Lifetime({} if state is None else state)
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
        if self._scheduler is not None:
            await self._scheduler.runner.drain_of(lifetime, self._drain)

    def leave(self, lifetime: Lifetime) -> None:
        """End a lifespan that its application has broken off: requests go on, and so do their polls."""
        if lifetime in self._lifetimes:
            self._lifetimes.remove(lifetime)

    async def close(self) -> None:
        """Drain the runs and close the store. Nothing polls any more until it is started again."""
        self._closed, self._executes, self._wants_ticker = True, None, False
        # First of all: a lifespan that starts during the drain opens a scheduler of its own.
        scheduler, self._scheduler = self._scheduler, None
        for waiting in (self._ticker, self._again):
            if waiting is not None:
                waiting.cancel()
        self._ticker = self._again = None
        await self._polls.stop(POLL_WITHIN)
        if scheduler is not None:
            await scheduler.runner.drain(self._drain)
            letting_go = spawn(self._let_go(scheduler))
            self._letting_go.add(letting_go)
            letting_go.add_done_callback(self._letting_go.discard)
            if not scheduler.runner.lingering:
                await asyncio.wait([letting_go])
        self._watch.poll_is_due()

    @property
    def _drain(self) -> float:
        return self._watch.source.load().settings.drain

    async def _let_go(self, scheduler: Scheduler) -> None:
        """Close the store, but not while code that outlasts its run needs a lease."""
        while lingering := scheduler.runner.lingering:
            await asyncio.wait(lingering)
        self._using.discard(scheduler)
        await usage(scheduler.backend).end(scheduler, for_good=True)

    def forsake(self) -> bool:
        """Use the store no more, as the event loop is closed.

        Returns:
            Whether that was in the middle of a poll: the gate is fresh for nothing.
        """
        for scheduler in self._using:
            usage(scheduler.backend).forget(scheduler)
        return any(scheduler.has_entered for scheduler in self._using)

    # Polls

    def request_poll(self, reason: PollReason, *, ticker: bool = False) -> asyncio.Future[Polled]:
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
        return self._polls.request(reason)

    def next_poll(self) -> asyncio.Future[Polled]:
        """Return what comes of the next poll, without asking for one."""
        return self._polls.next()

    async def _poll(self, reasons: frozenset[PollReason]) -> Polled:
        if self._closed:
            return Polled(NoLook.CLOSED)
        # Asked here: a run may end before the poll that has started it has found what it leaves.
        if reasons <= FREED and not (self._has_left or (self._executes and PollReason.CAPACITY in reasons)):
            return Polled(NoLook.NOTHING_DUE)
        number, polled = self._watch.poll_began(), Polled(NoLook.ERROR)
        try:
            polled = await self._poll_open(reasons)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end what others rely on
            polled = self._failed(error, reasons)
        finally:
            self._watch.poll_ended(number, polled.again)
        self._follow(polled, reasons)
        return polled

    async def _poll_open(self, reasons: frozenset[PollReason]) -> Polled:
        scheduler = await self.open()
        if scheduler is None:
            return Polled(NoLook.DISABLED, again=inf)
        polled = await scheduler.poll(reasons)
        if self.started is not None and isinstance(polled.came_of_it, Looked):
            self.started += polled.came_of_it.started
        return polled

    @property
    def _has_left(self) -> bool:
        return self._scheduler is not None and self._scheduler.left

    def _failed(self, error: Exception, reasons: frozenset[PollReason]) -> Polled:
        ours = isinstance(error, PseudoCronError)
        if PollReason.TICK not in reasons:  # the command shows it
            self.complain(error if ours else repr(error), traceback=not ours)
        why = NoLook.BACKEND_DOWN if isinstance(error, BackendError) else NoLook.BAD_CONFIG if ours else NoLook.ERROR
        return Polled(why, left=self._has_left, error=error)

    def _follow(self, polled: Polled, reasons: frozenset[PollReason]) -> None:
        """Poll again later, though there may be no request: what is due must not be forgotten."""
        if (again := polled.follows_in(reasons)) is not None:
            if self._again is not None:
                self._again.cancel()
            self._again = self._loop.call_later(again, self.request_poll, PollReason.CAPACITY)

    def _on_capacity(self, others_waited: bool) -> None:  # noqa: FBT001 - a callback
        if not self._closed:
            self.request_poll(PollReason.CAPACITY if others_waited else PollReason.ENDED)

    def deferred(self, due: datetime) -> None:
        """A job was deferred in this process, from whatever thread: if it is due, poll without a request."""
        if self._executes and due <= self._by.now():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.request_poll, PollReason.DEFERRED)

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.wait([self.request_poll(PollReason.TICKER)])
            # Once: a request that has put the deadline off polls behind its response, which may take long.
            await self._host.sleep(max(0.0, self._watch.deadline - self._host.monotonic()))

    async def settle(self, seconds: float) -> None:
        """Wait until the polls and the runs that are under way are over, or the seconds are."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while busy := self.busy():
                    await asyncio.wait(busy)

    def busy(self) -> set[asyncio.Task[Any]]:
        """What is under way: the poll, the runs, and what attends to them."""
        return {*self.runs, *filter(None, [self._polls.task])}

    @property
    def stuck(self) -> bool:
        """Whether so many threads have outlasted their runs here that no further ones are started."""
        return self._scheduler is not None and self._scheduler.runner.stuck

    @property
    def runs(self) -> frozenset[asyncio.Task[Any]]:
        """The runs of this process, and what attends to them."""
        return self._scheduler.runner.busy if self._scheduler else frozenset()

    # The store

    async def open(self) -> Scheduler | None:
        """Load the configuration and reach the store, once; None if `PSEUDOCRON_ENABLED` says no."""
        async with self._opening:
            if self._scheduler is None:
                self._scheduler = await self._connect()
            if self._scheduler and self._wants_ticker and self._ticker is None:
                self._ticker = spawn(self._tick_for_ever())
            return self._scheduler

    async def _connect(self) -> Scheduler | None:
        crons = await self._host.hop(self._watch.reload)
        settings = crons.settings
        if not settings.enabled:
            logger.info("switched off by PSEUDOCRON_ENABLED")
            return None
        backend = await self._watch.connect(crons)
        self._by = self._host.by(lambda: backend.ahead)
        runner = Runner(
            backend,
            host=self._by,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            concurrency=settings.concurrency,
            lease=settings.lease,
            lifetime=lambda: self._lifetimes[-1] if self._lifetimes else Lifetime(),
            on_job_end=lambda _, state: self.jobs_ended.update([state]),
            on_capacity=self._on_capacity,
        )
        scheduler = Scheduler(self._watch.source, backend, runner, host=self._by, has_entered=self._has_entered)
        await usage(backend).begin(scheduler)
        self._using.add(scheduler)
        crons.on_deferred(self.deferred)
        return scheduler
