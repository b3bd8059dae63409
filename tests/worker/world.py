"""Processes with an owned clock and store, for the tests of the worker."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from support import Clock, until

from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import Kind
from pseudocron.backends.questions import Capacity, NewJob, Poll, Take, Where
from pseudocron.config.source import Source
from pseudocron.polling import PollReason, PollResult, Report
from pseudocron.worker.due import plan
from pseudocron.worker.poll import Poller
from pseudocron.worker.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Run, Skip, State
    from pseudocron.backends.questions import Claim, Finished, Polled
    from pseudocron.crons import Crons


def read(crons: Crons) -> None:
    """Read all crons and tasks, off the event loop as a process does."""
    aside(lambda: (crons.settings, *crons, *crons.tasks))


def aside(work: Callable[[], object]) -> None:
    """Do blocking work in a thread."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


class Process:
    """A process that polls for what is due.

    Args:
        crons: What there is to run.
        clock: Its clock.
        backend: Its store, which others may share.
        concurrency: How many runs it has at once.
        lease: Seconds for which a claim holds.
    """

    def __init__(
        self, crons: Crons, clock: Clock, backend: Backend, *, concurrency: int = 10, lease: float = 30
    ) -> None:
        self.crons, self.clock, self.backend = crons, clock, backend
        self.recorded: list[float] = []
        """For how long the gate was fresh after the results that ask for a poll, since `capacity`."""

        self.runs = Runs(
            backend,
            host=clock.host,
            worker="me",
            concurrency=concurrency,
            lease=lease,
            on_recorded=self.recorded.append,
        )
        self.poller = Poller(Source("crons", lambda: self.crons), backend, clock.host, self.runs)
        read(crons)
        aside(lambda: asyncio.run(backend.open()))

    async def poll(self) -> Report:
        """Poll whatever the gate says, and leave what that started going on."""
        report = await self.poller.poll_now(self.crons, force=True)
        assert report is not None
        return report

    async def poll_all(self) -> Report:
        """Poll, and wait for what that started."""
        report = await self.poll()
        await self.runs.idle()
        return report

    async def visit(self, reason: PollReason = PollReason.REQUEST) -> PollResult:
        """Poll as behind a request, and wait for what that started."""
        result = await self.poller.poll({reason})
        await self.runs.idle()
        return result

    async def capacity(self) -> None:
        """Wait until a poll may start more."""
        await until(lambda: any(fresh_for <= 0 for fresh_for in self.recorded), 5)
        self.recorded.clear()


class World(Process):
    """A process alone with its store and its clock."""

    def __init__(
        self, crons: Crons, *, concurrency: int = 10, lease: float = 30, store: Callable[..., Backend] = Memory
    ) -> None:
        clock = Clock()
        super().__init__(crons, clock, store(host=clock.host), concurrency=concurrency, lease=lease)

    def another(self, crons: Crons | None = None, **options: Any) -> Process:
        """Another process on the same store."""
        return Process(self.crons if crons is None else crons, self.clock, self.backend, **options)

    async def defer(self, task: str, *, delay: float = 0, **arguments: Any) -> str:
        run_id = uuid4().hex
        due = self.clock.now + timedelta(seconds=delay)
        await self.backend.defer([NewJob(run_id=run_id, task=task, arguments=json.dumps(arguments), due=due)])
        return run_id

    async def defer_many(self, task: str, number: int) -> list[str]:
        return [await self.defer(task) for _ in range(number)]

    async def claimed_elsewhere(self, worker: str = "gone:1", *, lease: float = 30) -> Sequence[Claim]:
        """Let another process claim all that is due, which never ends it."""
        now, names = self.clock.now, [cron.name for cron in self.crons]
        states = (await self.backend.states(names)).crons
        plans = [plan(cron, states[cron.name], now, since=cron._first_mark(now)) for cron in self.crons]
        tasks = {name: task.max_instances for name, task in self.crons.tasks.items()}
        take = Take(tasks, {cron.name: cron.max_instances for cron in self.crons}, Capacity(9, 9, 9), worker, lease)
        polled = await self.backend.poll(Poll(take, plans, force=True))
        assert polled is not None
        return polled.claims

    async def states(self) -> Counter[State]:
        """How many jobs are in which state."""
        return Counter(run.state for run in await self.backend.runs(Where(kinds={Kind.JOB}), limit=100_000))

    async def run(self, run_id: str) -> Run:
        run = await self.backend.run(run_id)
        assert run is not None
        return run

    async def lines(self, name: str | None = None) -> Sequence[Run | Skip]:
        """The runs and skips of one cron, or of all, newest first."""
        timelines = await self.backend.timelines(None if name is None else [name], limit=1000)
        return [line for lines in timelines.values() for line in lines]


class Counting(Memory):
    """Counts what is asked of it, and how many jobs its process has at most."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.polls = 0
        self.claimed: list[int] = []
        self.recorded: list[int] = []
        self.held = self.most = 0

    async def poll(self, poll: Poll) -> Polled | None:
        self.polls += 1
        polled = await super().poll(poll)
        self._count(len(polled.claims) if polled else 0)
        return polled

    async def finish(self, ends: Sequence[Any], take: Take | None = None) -> Finished:
        finished = await super().finish(ends, take)
        self.recorded.append(len(ends))
        self.held -= len(ends)
        self._count(len(finished.claims))
        return finished

    def _count(self, claims: int) -> None:
        self.claimed.append(claims)
        self.held += claims
        self.most = max(self.most, self.held)
