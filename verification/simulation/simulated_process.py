"""A simulated process: the real runtime and its visitors, the code that it runs, and people who use it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pseudocron.backends.model import State
from pseudocron.backends.questions import Where
from pseudocron.by_hand import start_now, tick_now
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.errors import PseudoCronError
from pseudocron.host import Host, Pulse
from pseudocron.polling import PollReason
from pseudocron.process import Process
from verification.simulation.event_loops import Loop, off_the_loop
from verification.simulation.lossy_store import LossyStore
from verification.simulation.scenario import Fault, Kind
from verification.simulation.simulated_threads import Going

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from pseudocron.backends.contract import Backend
    from verification.simulation.machine import Machine
    from verification.simulation.scenario import Cron, Job
    from verification.simulation.world import World


class SimulatedProcess:
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
        self._threads = self.loop.threads = Loop(world.agenda)
        self._role = chance.choices(("web", "work", "tick"), weights=(7, 2, 1))[0]
        self._choose()
        self.store = self._lossy_store()
        self._crons = self._configured()
        self._process = Process(self._crons, self._host())
        self._hand_in(self._crons)
        if self._executes:
            self.loop.call_later(chance.random(), self._come_by)
        else:
            self.loop.spawn(self._open())
        if self._jobs:
            self.loop.call_later(chance.random(), self._come_with_a_job)

    def _choose(self) -> None:
        """Decide what this process has of the application."""
        chance, all_of_it, is_plain = self._chance, self._world.application, self.machine.is_plain
        self._executes = is_plain or chance.random() >= all_of_it.idle
        lacks_one = not is_plain and chance.random() < all_of_it.older
        self._jobs, self._specs = all_of_it.jobs[:-1] if lacks_one else all_of_it.jobs, all_of_it.crons
        if not is_plain and chance.random() < all_of_it.partial:
            only_crons = chance.random() < 0.5
            self._jobs, self._specs = ((), self._specs) if only_crons else (self._jobs, ())
        is_other = not is_plain and chance.random() < 0.5
        self._max_time = all_of_it.other_max_time if is_other else all_of_it.cron_max_time
        names = tuple(job.name for job in self._jobs), tuple(cron.name for cron in self._specs)
        self._tell("able", (*names, self._executes, self._max_time))

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
        await self._process.runtime().close()

    def die(self) -> None:
        """At once: nothing of it reaches the store any more."""
        self.loop.end()
        self._threads.end()

    def die_after(self, steps: int, at_last: Callable[[], None]) -> None:
        """Die so many steps of its event loop later."""
        self.loop.at_last, self.loop.steps_left = at_last, steps

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
        """Beat as a thread does: while the event loop is blocked, and not while the process is stopped."""
        stopped = False

        def once() -> None:
            if not stopped and off_the_loop(work):
                self._threads.call_later(seconds, once)

        def stop() -> None:
            nonlocal stopped
            stopped = True

        self._threads.call_later(seconds, once)
        return stop

    def _lossy_store(self) -> LossyStore:
        return LossyStore(
            self._world.store,
            cron_max_time=self._max_time,
            machine=self.machine,
            agenda=self._world.agenda,
            net=self._world.net,
            chance=self._chance,
            tell=self._tell,
            alive=lambda: self.alive,
        )

    def _hand_in(self, crons: Crons) -> None:
        """Let the application's own manager have the simulated store."""
        manager: Any = crons._manager
        manager.host = self._host()  # from the beginning: in a thread of its own nothing happens in one order

        def connect(given: Host | None = None) -> Backend:
            assert crons.settings.enabled  # they are gathered off the loop, as ever
            manager.host, manager._backend, manager.settled = given or manager.host, self.store, True
            return cast("Backend", self.store)

        manager.connect = connect

    def _configured(self) -> Crons:
        all_of_it = self._world.application
        crons = Crons(
            backend="memory:",
            cron_max_time=self._max_time,
            lease=all_of_it.lease,
            concurrency=all_of_it.concurrency,
            drain=all_of_it.drain,
        )
        for cron in self._specs:
            crons.add(cron.name, self._code(cron), cron.every, **cron.options)
        for job in self._jobs:
            crons.task(job.name, **job.options)(self._code(job))
        return crons

    def _code(self, spec: Cron | Job) -> Callable[..., Any]:
        def begin() -> Going:
            run = current_run()
            self._tell("began", (spec.name, run.run_id, run.fence))
            fails = self._chance.random() < spec.fails and not self._world.is_quiet
            seconds = self._chance.expovariate(1 / (0.01 if self._world.is_quiet else spec.takes))

            def end() -> None:
                if fails:
                    self._tell("did_fail", (spec.name, run.run_id, run.fence))
                    raise RuntimeError("as it happens")
                self._tell("did", (spec.name, run.run_id, run.fence))

            return Going(seconds, end)

        async def code() -> None:
            going = begin()
            await asyncio.sleep(going.seconds)
            going.end()

        return begin if spec.is_thread else code

    def _tell(self, what: str, given: tuple[Any, ...] = (), got: Any = None) -> None:
        self._world.tell(self.number, what, given, got)

    # Visitors

    def _come_by(self) -> None:
        """Serve a request, the ticker's first poll, or the system's crontab."""
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
        if self._world.agenda.now >= self._process.deadline:
            self._process.request_polls()
            self._process.runtime().request_poll(PollReason.REQUEST, ticker=self._role == "work")

    async def _open(self) -> None:
        """Open the lifespan of an application that leaves runs to other processes."""
        with suppress(PseudoCronError):
            await self._process.runtime().start(execute=False)

    async def _tick(self) -> None:
        try:
            async for _ in tick_now(self._process):
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

    # People

    async def act(self, fault: Fault) -> None:
        """Do what a person does with this process."""
        with suppress(PseudoCronError):
            if fault.kind is Kind.RETRY:
                await self._retry()
            elif self._specs:
                await self._act_on(self._specs[fault.steps % len(self._specs)].name, fault)

    async def _act_on(self, name: str, fault: Fault) -> None:
        async with await self._crons._manager.opened() as backend:
            if fault.kind is Kind.MANUAL:
                if self._executes:
                    await start_now(self._process, name)
            elif fault.kind is Kind.RESET:
                await backend.reset(name, self._world.clock() + timedelta(seconds=fault.size / 4))
            else:
                await backend.pause(name, True)
                await asyncio.sleep(fault.size)
                await backend.pause(name, False)

    async def _retry(self) -> None:
        async with await self._crons._manager.opened() as backend:
            failed = await backend.runs(Where(states=(State.FAILED, State.TIMED_OUT)), limit=3)
            for run in failed:
                await backend.retry(run.run_id)
