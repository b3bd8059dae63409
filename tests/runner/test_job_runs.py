"""Due jobs: started in the places that the crons leave, tried again later, handed back, never lost."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from pseudocron.backends.jobs import JobState
from pseudocron.crons import Crons
from pseudocron.jobs.tasks import Retry
from runner.world import World

if TYPE_CHECKING:
    from pseudocron.backends.jobs import Job


def test_a_due_job_runs_once_with_its_arguments() -> None:
    crons, seen = Crons(), []

    @crons.task
    async def greet(name: str) -> None:
        seen.append(name)

    world = World(crons)

    async def main() -> JobState:
        job_id = await world.defer("greet", name="B-204")
        await world.look()
        await world.look()
        return (await world.job(job_id)).state

    assert asyncio.run(main()) == JobState.SUCCEEDED
    assert seen == ["B-204"]


def test_a_job_is_not_started_before_its_time_and_the_look_knows_when_that_is() -> None:
    crons, seen = Crons(), []

    @crons.task
    def later() -> None:
        seen.append(1)

    world = World(crons)

    async def main() -> None:
        await world.defer("later", delay=90)
        looked = await world.runner.look(crons)
        assert looked.next == world.clock.now + timedelta(seconds=90)
        assert not seen
        world.clock.forward(90)
        await world.look()
        assert seen

    asyncio.run(main())


def test_a_failed_job_is_tried_again_later_and_later_and_then_has_failed() -> None:
    crons, tries = Crons(), []
    world_: list[World] = []

    @crons.task(retries=2)
    async def broken() -> None:
        tries.append(world_[0].clock.now)
        raise ValueError("oh no")

    world = World(crons)
    world_.append(world)

    async def main() -> Job:
        job_id = await world.defer("broken")
        for _ in range(20):
            await world.look()
            world.clock.forward(0.5)
        return await world.job(job_id)

    job = asyncio.run(main())
    assert (job.state, job.attempts) == (JobState.FAILED, 3)
    assert (job.error or "").endswith("ValueError: oh no\n")
    gaps = [(after - before).total_seconds() for before, after in pairwise(tries)]
    assert gaps == [1.0, 2.0], "half of 2 and 4 seconds, as chance is owned here"


def test_a_task_may_say_when_it_wants_to_be_tried_again_and_what_is_worth_it() -> None:
    crons, tries = Crons(), []

    @crons.task(retries=5)
    async def busy() -> None:
        tries.append(1)
        raise Retry(after=60)

    @crons.task(retries=5, retry_for=(OSError,))
    async def wrong() -> None:
        raise ValueError

    world = World(crons)

    async def main() -> None:
        busy_id, wrong_id = await world.defer("busy"), await world.defer("wrong")
        await world.look()
        assert (await world.job(wrong_id)).state is JobState.FAILED
        job = await world.job(busy_id)
        assert (job.state, job.due) == (JobState.PENDING, world.clock.now + timedelta(seconds=60))

    asyncio.run(main())


def test_arguments_that_do_not_fit_leave_the_job_to_a_newer_version() -> None:
    crons, mended, seen = Crons(), Crons(), []

    @crons.task(retries=5)
    async def greet(name: str) -> None:
        raise AssertionError

    @mended.task(name="greet")
    async def greet_so(title: str) -> None:
        seen.append(title)

    world = World(crons)

    async def main() -> None:
        job_id = await world.defer("greet", title="Dr.")
        await world.look()
        job = await world.job(job_id)
        assert (job.state, job.attempts, job.due - world.clock.now) == (JobState.PENDING, 0, timedelta(seconds=10))
        assert job.error == "greet(): has no parameter 'title' any more"
        world.crons = mended
        world.clock.forward(10)
        await world.look()
        assert (await world.job(job_id)).state is JobState.SUCCEEDED

    asyncio.run(main())
    assert seen == ["Dr."]


def test_arguments_that_never_fit_are_tried_for_a_day_and_then_have_failed() -> None:
    crons, pauses = Crons(), list[float]()

    @crons.task(retries=0)
    async def greet(name: str) -> None:
        raise AssertionError

    world = World(crons)

    async def main() -> None:
        job_id = await world.defer("greet", title="Dr.")
        began = world.clock.now
        while (job := await world.job(job_id)).state is JobState.PENDING:
            world.clock.now = job.due
            await world.look()
            pauses.append(((await world.job(job_id)).due - world.clock.now).total_seconds())
        assert (job.state, job.attempts) == (JobState.FAILED, 1)
        assert timedelta(days=1) <= world.clock.now - began < timedelta(days=1, minutes=5)

    asyncio.run(main())
    assert pauses[:7] == [10, 10, 20, 40, 80, 160, 300]
    assert set(pauses[6:-1]) == {300}


def test_a_drained_job_is_handed_back_at_once_and_the_attempt_does_not_count() -> None:
    crons, begun = Crons(), asyncio.Event()

    @crons.task(retries=0)
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    world = World(crons)

    async def main() -> Job:
        job_id = await world.defer("endless")
        await world.runner.look(crons)
        await begun.wait()
        await world.runner.drain(0)
        return await world.job(job_id)

    job = asyncio.run(main())
    assert (job.state, job.attempts) == (JobState.PENDING, 0)


def test_a_thread_that_outlasts_its_timeout_keeps_the_lease_and_no_place() -> None:
    crons, go_on = Crons(), threading.Event()

    @crons.task(retries=1, timeout=0.05)
    def stuck() -> None:
        go_on.wait()

    world = World(crons, concurrency=1)

    async def main() -> None:
        job_id = await world.defer("stuck")
        (job,) = (await world.runner.look(crons)).jobs
        assert await asyncio.wait_for(job.task, 0.5) is JobState.PENDING
        assert not world.runner.full
        assert [one.run_id for one in await world.backend.lingering()] == [job_id]
        world.clock.forward(2)
        assert (await world.runner.look(crons)).jobs == [], "it would run beside itself"
        go_on.set()
        await asyncio.wait(world.runner.lingering, timeout=0.5)
        assert len((await world.runner.look(crons)).jobs) == 1
        await world.settle()

    asyncio.run(main())


def test_jobs_are_forgotten_a_week_after_their_end_and_failed_ones_after_a_month() -> None:
    crons = Crons()

    @crons.task(retries=0)
    def fine() -> None:
        pass

    @crons.task(retries=0)
    def broken() -> None:
        raise ValueError

    world = World(crons)

    async def main() -> list[set[str]]:
        await world.defer("fine")
        await world.defer("broken")
        left = []
        for days in (0, 6.9, 0.2, 22, 1):
            world.clock.forward(days * 86400)
            await world.look()
            await world.look()
            left.append({job.task for job in await world.backend.jobs()})
        return left

    both = {"fine", "broken"}
    assert asyncio.run(main()) == [both, both, {"broken"}, {"broken"}, set()]


def test_jobs_and_crons_leave_each_other_a_place() -> None:
    crons, go_on = Crons(), asyncio.Event()
    for number in range(5):
        crons.add(f"cron{number}", go_on.wait, 3600)

    @crons.task
    async def job() -> None:
        await go_on.wait()

    world = World(crons, concurrency=3)

    async def main() -> None:
        for _ in range(5):
            await world.defer("job")
        looked = await world.runner.look(crons)
        assert (len(looked.started), len(looked.jobs)) == (2, 1)
        go_on.set()
        while await world.look():
            pass

    asyncio.run(main())
