"""A process with owned clock and store, for the tests of jobs."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from support import Clock, until

from pseudocron.backends.jobs import NewJob
from pseudocron.backends.memory import Memory
from pseudocron.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable

    from pseudocron.backends.jobs import Job, JobState
    from pseudocron.crons import Crons


class World:
    """A store, a clock that stands still, and a process that runs what is due.

    Args:
        crons: What there is to run.
        concurrency: How much of it at once.
        store: What makes the store, if it is to be another than `Memory`.
    """

    def __init__(self, crons: Crons, *, concurrency: int = 10, store: Callable[..., Memory] = Memory) -> None:
        self.crons = crons
        self.clock = Clock()
        self.backend = store(host=self.clock.host)
        self.capacity = 0
        """How often something that was left could be taken since `room`."""

        self.runner = Runner(
            self.backend,
            host=self.clock.host,
            worker="me",
            concurrency=concurrency,
            lease=30,
            on_capacity=self._on_capacity,
        )
        assert [*crons, *crons.tasks] != []

    async def defer(self, task: str, *, delay: float = 0, **arguments: Any) -> str:
        job_id = uuid4().hex
        due = self.clock.now + timedelta(seconds=delay)
        new = NewJob(job_id=job_id, task=task, arguments=json.dumps(arguments), due=due)
        await self.backend.defer([new], max_age=60)
        return job_id

    async def defer_many(self, task: str, number: int) -> list[str]:
        return [await self.defer(task) for _ in range(number)]

    async def states(self) -> Counter[JobState]:
        """How many jobs are in which state."""
        return Counter(job.state for job in await self.backend.jobs(limit=100_000))

    async def look(self) -> bool:
        """Look, and wait for what that started; whether something was left."""
        looked = await self.runner.look(self.crons)
        await self.settle()
        return looked.left

    def _on_capacity(self, _: object) -> None:
        self.capacity += 1

    async def room(self) -> None:
        """Wait until another look may start what the last one has left."""
        await until(lambda: self.capacity, 5)
        self.capacity = 0

    async def settle(self) -> None:
        await self.runner.idle()

    async def job(self, job_id: str) -> Job:
        job = await self.backend.job(job_id)
        assert job is not None
        return job
