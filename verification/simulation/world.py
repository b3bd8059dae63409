"""The run of one scenario: processes on hosts, the weather, and then a quiet time in which all comes to its end."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pseudocron import host
from pseudocron.backends.model import Kind as RunKind
from pseudocron.backends.model import State
from pseudocron.backends.questions import Where
from verification.simulation.event_loops import Agenda, Loop
from verification.simulation.history import BEGINNING, Event, History
from verification.simulation.machine import ON_A_LINE, Machine
from verification.simulation.scenario import Fault, Kind, Scenario, application
from verification.simulation.shared_store import SharedStore, at_once
from verification.simulation.simulated_process import SimulatedProcess
from verification.simulation.simulated_threads import simulated_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from pseudocron.backends.model import Run

QUIET_FOR = 900.0
"""Seconds within which all has to come to its end when nothing goes wrong any more."""

CHANGES = frozenset(
    {
        *("poll", "torn", "finish", "release", "renew", "defer", "start", "cancel", "retry", "pause", "reset"),
        "stepped",
    }
)
"""After what the gate is read."""

AT_ONCE = timedelta(seconds=5)
"""For how long a run may go on in the quiet time."""

PEOPLE = frozenset({Kind.HOLD, Kind.RESET, Kind.RETRY, Kind.MANUAL})
"""What people do: it goes wrong by itself only."""

POLL_STEPS = 20
"""Steps of an event loop that a poll takes, more or less."""

STOP_WITHIN = 15.0
"""Seconds until a process that is shut down is killed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario: what happened, in how many simulated seconds."""

    scenario: Scenario
    history: History
    seconds: float


class World:
    """Everything that a scenario names."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.application = application(scenario)
        self.agenda = Agenda()
        self.net = Loop(self.agenda)
        self.is_quiet = False
        self.history = History()
        self._stepped = 0.0
        self.store = SharedStore(self.clock)
        self._observer = self.store.backend(self.application.cron_max_time)
        self._born = 0
        chance = scenario.chance("skew")
        self._machines = [
            Machine(lambda: self.agenda.now, off=chance.uniform(-1, 1) * self.application.skew, is_plain=not number)
            for number in range(scenario.processes)
        ]
        self._processes: list[SimulatedProcess] = []

    def clock(self) -> datetime:
        """Return the clock that the store reports."""
        return BEGINNING + timedelta(seconds=self.agenda.now + self._stepped)

    def tell(self, who: int, what: str, given: tuple[Any, ...] = (), got: Any = None) -> None:
        self.history.add(Event(self.agenda.now, self.clock(), who, what, given, got))
        if what in CHANGES:
            self.history.add(Event(self.agenda.now, self.clock(), who, "gate", (self.store.dated(),)))

    def run(self) -> Outcome:
        """Let it all happen."""
        with _chance_from(self.scenario.chance("identities")), _silence(), simulated_threads(), _hops():
            self._processes = [self._start(machine) for machine in self._machines]
            for fault in self.scenario.faults:
                self.net.call_at(fault.at, self._strike, fault)
            self.agenda.run(self.scenario.seconds)
            self._calm()
            settled = self._settle()
            self.tell(-1, "left", (), {run.run_id: run.state for run in self._runs()})
            self.tell(-1, "settled", (), settled)
            for process in self._processes:
                self._bury(process)
        return Outcome(self.scenario, self.history, self.agenda.now)

    def _calm(self) -> None:
        self.is_quiet = True
        self.tell(-1, "quiet")
        for cron in self.application.crons:
            at_once(self._observer.pause(cron.name, False))
            self.tell(-1, "pause", (cron.name, False))
        for machine in self._machines:
            machine.cut_until = machine.lossy_until = machine.slow_until = 0.0
        for process in self._processes:
            process.wake()

    def _settle(self) -> bool:
        """Wait until nothing is left to do; False if it takes too long."""
        end = self.agenda.now + QUIET_FOR
        while self.agenda.now < end:
            # A whole stretch more: what is late, or comes twice, is to be seen.
            self.agenda.run(self.agenda.now + 2 * max(self.application.lease, self.application.longest_max_time))
            if not self._left():
                return True
        return False

    def _left(self) -> bool:
        """Whether there are jobs that have not ended, or runs of crons that should have."""
        unfinished = [run for run in self._runs() if run.state in {State.PENDING, State.RUNNING} or run.is_kept]
        return any(run.kind is RunKind.JOB or run.created < self.clock() - AT_ONCE for run in unfinished)

    def _runs(self) -> Sequence[Run]:
        runs: Sequence[Run] = at_once(self._observer.runs(Where(), limit=1_000_000))
        return runs

    # Processes

    def _start(self, machine: Machine) -> SimulatedProcess:
        number, self._born = self._born, self._born + 1
        self.tell(number, "born")
        if (trouble := max(machine.cut_until, machine.lossy_until, machine.slow_until) - self.agenda.now) > 0:
            self.tell(number, Kind.CUT, (trouble,))  # which is its machine's
        return SimulatedProcess(self, number, machine, self.scenario.chance("process", number))

    def _bury(self, process: SimulatedProcess) -> None:
        if process.alive:
            self.tell(process.number, "died")
            process.die()
            for trouble in process.loop.troubles:
                self.tell(process.number, "uncaught", (), str(trouble))

    def _replace(self, process: SimulatedProcess) -> None:
        """Replace a process that is gone, as its supervisor would."""
        if process.alive:
            self._bury(process)
            place = self._processes.index(process)
            self._processes[place] = self._start(process.machine)

    # The weather

    def _strike(self, fault: Fault) -> None:
        where = fault.host % len(self._machines)
        process, machine = self._processes[where], self._machines[where]
        if fault.kind in {Kind.TORN, Kind.POLL_CRASH} or fault.kind in PEOPLE:
            self._prepare(process, fault)
            return
        self.tell(-1 if fault.kind is Kind.STORE_CLOCK else process.number, fault.kind, (fault.size,))
        if fault.kind is Kind.STORE_CLOCK:
            self._stepped += fault.size
            self.tell(-1, "stepped")
        elif fault.kind in ON_A_LINE or fault.kind is Kind.CLOCK:
            machine.suffer(fault)
        elif fault.kind is Kind.CRASH:
            process.die_after(fault.steps, lambda: self._replace(process))
        elif fault.kind is Kind.STOP:
            self._stop(process)
        elif fault.kind is Kind.PAUSE:
            process.pause(fault.size)
        else:
            process.block(fault.size)

    def _prepare(self, process: SimulatedProcess, fault: Fault) -> None:
        """Prepare a fault: those that happen at once are recorded at once, a death in a poll when it comes."""
        if not process.alive:
            return
        if fault.kind is Kind.TORN:
            process.store.on_torn = lambda: self._replace(process)
        elif fault.kind is Kind.POLL_CRASH:
            process.store.on_poll = lambda: self._die_in_poll(process, fault.steps % POLL_STEPS + 1)
        else:
            process.loop.spawn(process.act(fault))

    def _die_in_poll(self, process: SimulatedProcess, steps: int) -> None:
        process.store.on_poll = lambda: None
        self.tell(process.number, Kind.CRASH, (0.0,))
        process.die_after(steps, lambda: self._replace(process))

    def _stop(self, process: SimulatedProcess) -> None:
        stopping = process.loop.spawn(process.stop())
        stopping.add_done_callback(lambda _: self.net.call_soon(self._replace, process))
        self.net.call_later(STOP_WITHIN, self._replace, process)


def simulate(scenario: Scenario) -> Outcome:
    """Simulate a scenario, and return its result."""
    return World(scenario).run()


@contextmanager
def _chance_from(chance: Random) -> Iterator[None]:
    """Identities are unique whatever host they are made on, so the product makes them itself, of these bytes."""
    urandom = os.urandom
    os.urandom = chance.randbytes
    try:
        yield
    finally:
        os.urandom = urandom


class _Hops:
    """Stands in for the threads of the product: what is done in them is done on the loop that waits for it."""

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return asyncio.get_running_loop().run_in_executor(None, fn, *args)


@contextmanager
def _hops() -> Iterator[None]:
    with patch.object(host, "_threads", _Hops):
        yield


@contextmanager
def _silence() -> Iterator[None]:
    """Silence the logs of what is meant to go wrong here."""
    logger = logging.getLogger("pseudocron")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
