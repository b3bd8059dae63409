"""A simulated host, with its clock and its line, and the process on it: the real runtime and its visitors."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from pseudocron.by_hand import tick_now
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.errors import PseudoCronError
from pseudocron.host import Host, Pulse
from pseudocron.polling import PollReason
from pseudocron.watch import Watch
from verification.simulation.event_loops import Loop, off_the_loop
from verification.simulation.history import BEGINNING
from verification.simulation.lossy_store import LossyStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from pseudocron.backends.base import Backend
    from verification.simulation.scenario import Cron, Job
    from verification.simulation.world import World


@dataclass(slots=True)
class Machine:
    """A host, which outlives its processes: how far its clock is off, and until when its line does not do well."""

    time: Callable[[], float]
    off: float = 0.0
    is_plain: bool = False
    """Whether each process on it executes, and has all tasks."""

    cut_until: float = 0.0
    lossy_until: float = 0.0
    slow_until: float = 0.0

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.time() + self.off)


class Process:
    """A process from its start to its death.

    Args:
        world: Where it lives.
        number: Who it is, for the history.
        machine: Where it runs.
        chance: All chance of this process.
    """

    def __init__(self, world: World, number: int, machine: Machine, chance: Random) -> None:
        self.number = number
        self.machine = machine
        self._world = world
        self._chance = chance
        self.loop = Loop(world.agenda, latency=lambda: chance.random() * 0.003)
        self._threads = Loop(world.agenda)
        self._role = chance.choices(("web", "work", "tick"), weights=(7, 2, 1))[0]
        said = world.application
        executes = machine.is_plain or chance.random() >= said.idle
        lacks_one = not machine.is_plain and chance.random() < said.older
        self._executes, self._jobs = executes, said.jobs[:-1] if lacks_one else said.jobs
        self._tell("able", (tuple(job.name for job in self._jobs), executes))
        self._crons = self._application()
        self._watch = Watch(self._crons, self._host())
        self._hand_in(self._crons)
        if executes:
            self.loop.call_later(chance.random(), self._come_by)
        else:
            self.loop.spawn(self._open())
        if self._jobs:
            self.loop.call_later(chance.random(), self._come_with_a_job)

    # Its life

    @property
    def alive(self) -> bool:
        return not self.loop.ended and self.loop._rites is None

    def pause(self, seconds: float) -> None:
        """As SIGSTOP does, and SIGCONT some time later."""
        self.block(seconds)
        self._threads.awake_at = self.loop.awake_at

    def block(self, seconds: float) -> None:
        """Its event loop waits for something."""
        self.loop.awake_at = self._world.agenda.now + seconds

    def wake(self) -> None:
        self.loop.awake_at = self._threads.awake_at = self._world.agenda.now

    async def stop(self) -> None:
        """As a server does at SIGTERM."""
        await self._watch.runtime().close()

    def die(self) -> None:
        """At once: nothing of it reaches the store any more."""
        self.loop.end()
        self._threads.end()

    # What it is made of

    def _host(self) -> Host:
        time = self._world.agenda

        def monotonic() -> float:
            return time.now

        return Host(
            now=self.machine.now,
            monotonic=monotonic,
            random=self._chance.random,
            hop=lambda fn, *args: asyncio.get_running_loop().run_in_executor(None, fn, *args),
            pulse=Pulse(monotonic=monotonic, beat=self._beat),
        )

    def _beat(self, seconds: float, work: Callable[[], bool]) -> Callable[[], None]:
        """A thread: it goes on while the event loop is blocked, and not while the process is stopped."""
        stopped = False

        def once() -> None:
            if not stopped and off_the_loop(work):
                self._threads.call_later(seconds, once)

        def stop() -> None:
            nonlocal stopped
            stopped = True

        self._threads.call_later(seconds, once)
        return stop

    def _hand_in(self, crons: Crons) -> None:
        """Let the application's own desk have the simulated store."""
        store = LossyStore(
            self._world.store(),
            machine=self.machine,
            agenda=self._world.agenda,
            net=self._world.net,
            chance=self._chance,
            tell=self._tell,
            alive=lambda: self.alive,
        )
        desk: Any = crons._manager
        desk.host = host = self._host()  # from the beginning: in a thread of its own nothing happens in one order

        def connect(given: Host | None = None) -> Backend:
            assert crons.settings.enabled  # they are gathered off the loop, as ever
            desk.host, desk._backend, desk.settled = given or host, store, True
            return cast("Backend", store)

        desk.connect = connect

    def _application(self) -> Crons:
        said = self._world.application
        crons = Crons(
            backend="memory:", cron_max_time=said.cron_max_time, lease=said.lease, concurrency=said.concurrency
        )
        for cron in said.crons:
            crons.add(cron.name, self._code(cron), cron.every, **cron.options)
        for job in self._jobs:
            crons.task(job.name, **job.options)(self._code(job))
        return crons

    def _code(self, spec: Cron | Job) -> Callable[..., Awaitable[None]]:
        chance, world = self._chance, self._world

        async def code() -> None:
            run = current_run()
            self._tell("began", (spec.name, run.run_id, run.fence))
            await asyncio.sleep(chance.expovariate(1 / (0.01 if world.is_quiet else spec.takes)))
            if chance.random() < spec.fails and not world.is_quiet:
                raise RuntimeError("as it happens")
            self._tell("did", (spec.name, run.run_id, run.fence))

        return code

    def _tell(self, what: str, given: tuple[Any, ...] = (), got: Any = None) -> None:
        self._world.tell(self.number, what, given, got)

    # Who comes

    def _come_by(self) -> None:
        """A visitor, the ticker's first, or the system's crontab."""
        quiet = self._world.is_quiet
        crowd = max(1.0, self._world.scenario.processes / 30)
        calm = self._world.scenario.seconds + crowd - self._world.agenda.now
        pause = crowd if quiet else min(calm, self._chance.expovariate(1 / self._world.application.visits))
        self.loop.call_later(pause, self._come_by)
        if self._role == "tick" and not quiet:
            if self._chance.random() < 0.1:
                self.loop.spawn(self._tick())
            return
        self._tell("visit", (self._role == "work",))
        if self._world.agenda.now >= self._watch.deadline:
            self._watch.request_polls()
            self._watch.runtime().request_poll(PollReason.REQUEST, ticker=self._role == "work")

    async def _open(self) -> None:
        """The lifespan of an application that leaves runs to other processes."""
        with suppress(PseudoCronError):
            await self._watch.runtime().start(execute=False)

    async def _tick(self) -> None:
        try:
            async for _ in tick_now(self._watch):
                pass
        except PseudoCronError:
            return

    def _come_with_a_job(self) -> None:
        if not self._world.is_quiet:
            self.loop.call_later(self._chance.expovariate(1 / self._world.application.defers), self._come_with_a_job)
            self.loop.spawn(self._defer())

    async def _defer(self) -> None:
        chance = self._chance
        job = chance.choice(self._jobs)
        task = self._crons.tasks[job.name]
        key = f"key {chance.randrange(job.keys)}" if job.keys else None
        later = task.options(
            key=key,
            on_conflict=chance.choice(("replace", "replace", "keep", "raise")),
            delay=chance.random() * job.delay,
            priority=chance.randrange(2),
            expires=chance.choice((None, None, 30.0)),
        )
        try:
            handle = await later.defer()
            self._tell("deferred", (handle.id,))
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 10)
                await (task.cancel(key=key) if key and chance.random() < 0.5 else handle.cancel())
        except PseudoCronError:
            return
