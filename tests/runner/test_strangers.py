"""Jobs of a task that a deployment has removed: they wait, are in nobody's way, and are named once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from support import Clock

from pseudocron.backends.jobs import JobState, NewJob
from pseudocron.backends.memory import Memory
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.polling import PollReason
from pseudocron.runner import Runner
from pseudocron.scheduler import Scheduler

if TYPE_CHECKING:
    import pytest

    from pseudocron.backends.base import Backend

WORDS = "task 'removed' is not registered here, but jobs of it are pending"


def process(backend: Backend, clock: Clock, crons: Crons) -> Scheduler:
    runner = Runner(backend, host=clock.host, worker="me", concurrency=10, lease=30)
    return Scheduler(open_source(crons), backend, runner, host=clock.host)


async def visit(process: Scheduler) -> float:
    """A request that finds the gate stale or not; what it starts is waited for."""
    again = (await process.poll({PollReason.REQUEST})).again
    while process.runner.runs:
        await asyncio.wait(process.runner.runs)
    return again


async def defer(backend: Backend, task: str, clock: Clock) -> None:
    await backend.defer([NewJob(job_id=task, task=task, arguments="{}", due=clock.now)], max_age=60)


async def state(backend: Backend, task: str) -> JobState | None:
    job = await backend.job(task)
    return job.state if job else None


def of(*names: str) -> Crons:
    crons = Crons()
    for name in names:
        crons.task(name=name)(lambda: None)
    open_source(crons).load()
    return crons


def test_jobs_of_a_removed_task_wait_in_nobodys_way_and_run_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    clock, left, both = Clock(), of("other"), of("other", "removed")
    backend = Memory(host=clock.host)

    async def main() -> None:
        await defer(backend, "removed", clock)
        await defer(backend, "other", clock)
        await visit(process(backend, clock, left))
        assert (await state(backend, "other"), await state(backend, "removed")) == ("succeeded", "pending")
        assert await backend.fresh_for(60) == 0, "another process may have the task"
        assert WORDS in caplog.text
        clock.forward(121)
        await visit(process(backend, clock, left))
        assert await backend.fresh_for(60) == 60, "no process has named the task for two minutes"
        clock.forward(60)
        await visit(process(backend, clock, both))
        assert await state(backend, "removed") == "succeeded"

    asyncio.run(main())


def test_a_removed_task_is_named_once_by_all_event_loops_of_a_process(caplog: pytest.LogCaptureFixture) -> None:
    clock, none, one = Clock(), of(), of("other")
    backend = Memory(host=clock.host)

    async def main() -> None:
        await defer(backend, "removed", clock)
        here, there = process(backend, clock, none), process(backend, clock, one)
        for scheduler in (here, here, there):
            await visit(scheduler)
            clock.forward(timedelta(minutes=2).total_seconds())

    asyncio.run(main())
    assert caplog.text.count(WORDS) == 1
    assert caplog.text.count("pseudocron jobs --state pending --task removed") == 1
