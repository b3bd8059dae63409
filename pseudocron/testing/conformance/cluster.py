"""Processes that share a store, and a clock that the test moves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pseudocron.backends.model import Run, State
from pseudocron.backends.questions import Where
from pseudocron.host import Host
from pseudocron.testing.conformance.law import Law
from pseudocron.testing.conformance.process import Process
from pseudocron.testing.conformance.times import NOON

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import datetime

    from pseudocron.backends.contract import Backend

T = TypeVar("T")


@dataclass
class SharedStore:
    """An empty store, as the author of a backend hands it to the suite.

    Args:
        make: Makes a backend on this store, as one process has it. `Host.now` is the clock of the test.
        set_clock: Sets the clock of a store that has one of its own. It is called before the first verb, and whenever
            the test moves the clock.
        keep: How many ended runs the backends keep of each cron.
    """

    make: Callable[[Host], Backend]
    set_clock: Callable[[datetime], object] | None = None
    keep: int = 20


@dataclass
class Cluster:
    """The processes that share a store, and the time of day.

    Args:
        store: What the author of the backend gave.
    """

    store: SharedStore
    now: datetime = NOON
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    law: Law = field(default_factory=lambda: Law(NOON))
    processes: list[Process] = field(default_factory=list)
    ids: int = 0

    def run(self, verb: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.runner.run(verb)

    def backend(self, cron_max_time: float = 60.0) -> Backend:
        """Return one more open backend on the store."""
        backend = self.store.make(Host(now=lambda: self.now))
        backend.cron_max_time = cron_max_time
        self.run(backend.open())
        return backend

    def process(self, cron_max_time: float = 60.0) -> Process:
        """Return one more process, with a backend that is open."""
        process = Process(self, self.backend(cron_max_time), f"host:{len(self.processes) + 1}")
        self.processes.append(process)
        return process

    def close(self) -> None:
        """Close all backends."""
        for process in self.processes:
            self.run(process.backend.close())
        self.runner.close()

    def forward(self, seconds: float) -> datetime:
        """Move the clock by seconds, back if negative; return the time."""
        self.now += timedelta(seconds=seconds)
        self.law.is_set_back = self.law.is_set_back or seconds < 0
        if self.store.set_clock:
            self.store.set_clock(self.now)
        return self.now

    def new_id(self) -> str:
        """Return an id for a job: `j1`, `j2` and so on."""
        self.ids += 1
        return f"j{self.ids}"

    def lawful(
        self,
        verb: Callable[[], T],
        note: Callable[[Law, T], None] = lambda _law, _answer: None,
        *,
        is_poll: bool = False,
    ) -> T:
        """Do a verb, and state the law of the gate after it, also if it was refused with an error."""
        before = self.gate()
        entered = False
        self.law.now = self.now
        try:
            answer = verb()
            note(self.law, answer)
            entered = is_poll and answer is not None
        finally:
            pending, living = self.run(self._runs())
            self.law.state(self.gate(), before=None if entered else before, pending=pending, living=living)
        return answer

    def gate(self) -> float:
        """Return in how many seconds the gate turns stale for all processes."""
        return max((self.run(process.backend.stale_in()) for process in self.processes), default=0.0)

    async def _runs(self) -> tuple[Sequence[Run], Sequence[Run]]:
        """Return the pending runs, and those with a living lease."""
        backend = self.processes[-1].backend
        pending = await backend.runs(Where(states=[State.PENDING]), 10_000)
        running = await backend.runs(Where(states=[State.RUNNING]), 10_000)
        return pending, [*running, *await backend.runs(Where(is_kept=True), 10_000)]
