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
from pseudocron.backends.memory import Memory, Store
from pseudocron.host import Host
from verification.simulation.event_loops import Agenda, Loop
from verification.simulation.gate_deadline import GateDeadline
from verification.simulation.history import BEGINNING, Event, History
from verification.simulation.scenario import Fault, Kind, Scenario, application
from verification.simulation.simulated_process import Machine, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

QUIET_FOR = 900.0
"""Seconds within which all has to come to its end when nothing goes wrong any more."""

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
        self._shared = Store()
        self._gate_deadline = GateDeadline(self._shared, self.application)
        self._stepped = 0.0
        self._born = 0
        chance = scenario.chance("skew")
        self._machines = [
            Machine(lambda: self.agenda.now, off=chance.uniform(-1, 1) * self.application.skew, is_plain=not number)
            for number in range(scenario.processes)
        ]
        self._processes: list[Process] = []

    def clock(self) -> datetime:
        """What the store says that it is."""
        return BEGINNING + timedelta(seconds=self.agenda.now + self._stepped)

    def store(self) -> Memory:
        return Memory(store=self._shared, cron_max_time=self.application.cron_max_time, host=Host(now=self.clock))

    def tell(self, who: int, what: str, given: tuple[Any, ...] = (), got: Any = None) -> None:
        self.history.add(Event(self.agenda.now, self.clock(), who, what, given, got))
        if not isinstance(got, Exception) and (gate := self._gate_deadline.after(what, who, self.clock())):
            self.history.add(Event(self.agenda.now, self.clock(), who, "gate", gate))

    def run(self) -> Outcome:
        """Let it all happen."""
        with _chance_from(self.scenario.chance("identities")), _silence(), patch.object(host, "_threads", _Hops):
            self._processes = [self._start(machine) for machine in self._machines]
            for fault in self.scenario.faults:
                self.net.call_at(fault.at, self._strike, fault)
            self.agenda.run(self.scenario.seconds)
            self._calm()
            settled = self._settle()
            self.tell(-1, "left", (), {job_id: kept.job.state for job_id, kept in self._shared.shelf.jobs.items()})
            self.tell(-1, "settled", (), settled)
            for process in self._processes:
                self._bury(process)
        return Outcome(self.scenario, self.history, self.agenda.now)

    def _calm(self) -> None:
        self.is_quiet = True
        self.tell(-1, "quiet")
        for machine in self._machines:
            machine.cut_until = machine.lossy_until = machine.slow_until = 0.0
        for process in self._processes:
            process.wake()

    def _settle(self) -> bool:
        """Wait until nothing is left to do; False if it takes too long."""
        end = self.agenda.now + QUIET_FOR
        while self.agenda.now < end:
            # A whole stretch more: what is late, or comes twice, is to be seen.
            self.agenda.run(self.agenda.now + 2 * max(self.application.lease, self.application.cron_max_time))
            if not self._shared.shelf.keys and not self._left():
                return True
        return False

    def _left(self) -> bool:
        return any(kept.job.state in {"pending", "running"} for kept in self._shared.shelf.jobs.values())

    # Processes

    def _start(self, machine: Machine) -> Process:
        number, self._born = self._born, self._born + 1
        self.tell(number, "born")
        if (trouble := max(machine.cut_until, machine.lossy_until, machine.slow_until) - self.agenda.now) > 0:
            self.tell(number, Kind.CUT, (trouble,))  # which is its machine's
        return Process(self, number, machine, self.scenario.chance("process", number))

    def _bury(self, process: Process) -> None:
        if process.alive:
            self.tell(process.number, "died")
            process.die()
            for trouble in process.loop.troubles:
                self.tell(process.number, "uncaught", (), str(trouble))

    def _replace(self, process: Process) -> None:
        """It is gone, and its supervisor starts another."""
        if process.alive:
            self._bury(process)
            place = self._processes.index(process)
            self._processes[place] = self._start(process.machine)

    # The weather

    def _strike(self, fault: Fault) -> None:
        where = fault.host % len(self._machines)
        process, machine, until = self._processes[where], self._machines[where], self.agenda.now + fault.size
        self.tell(-1 if fault.kind is Kind.STORE_CLOCK else process.number, fault.kind, (fault.size,))
        match fault.kind:
            case Kind.CRASH:
                process.loop.at_last = lambda: self._replace(process)
                process.loop.steps_left = fault.steps
            case Kind.STOP:
                self._stop(process)
            case Kind.PAUSE:
                process.pause(fault.size)
            case Kind.BLOCK:
                process.block(fault.size)
            case Kind.CUT:
                machine.cut_until = until
            case Kind.LOSE:
                machine.lossy_until = until
            case Kind.SLOW:
                machine.slow_until = until
            case Kind.CLOCK:
                machine.off += fault.size
            case Kind.STORE_CLOCK:
                self._stepped += fault.size

    def _stop(self, process: Process) -> None:
        stopping = process.loop.spawn(process.stop())
        stopping.add_done_callback(lambda _: self.net.call_soon(self._replace, process))
        self.net.call_later(STOP_WITHIN, self._replace, process)


def simulate(scenario: Scenario) -> Outcome:
    """What comes of a scenario."""
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
def _silence() -> Iterator[None]:
    """What goes wrong here is meant to."""
    logger = logging.getLogger("pseudocron")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
