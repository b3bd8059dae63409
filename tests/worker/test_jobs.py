"""Due jobs: started in the capacity that the crons leave, retried later, handed back, never lost."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Where
from pseudocron.crons import Crons
from pseudocron.jobs.tasks import Retry
from worker.world import World

if TYPE_CHECKING:
    from pseudocron.backends.model import Run


def test_a_due_job_runs_once_with_its_arguments() -> None:
    crons, seen = Crons(), []

    @crons.task
    async def greet(name: str) -> None:
        seen.append(name)

    async def main() -> State:
        world = World(crons)
        run_id = await world.defer("greet", name="B-204")
        await world.poll_all()
        await world.poll_all()
        return (await world.run(run_id)).state

    assert asyncio.run(main()) == State.SUCCEEDED
    assert seen == ["B-204"]


def test_a_job_waits_for_its_time_and_the_gate_is_dated_by_it() -> None:
    crons, seen = Crons(), []

    @crons.task
    def later() -> None:
        seen.append(1)

    async def main() -> None:
        world = World(crons)
        await world.defer("later", delay=45)
        assert (await world.poll_all()).fresh_for == 45
        assert not seen
        world.clock.forward(45)
        await world.poll_all()
        assert seen

    asyncio.run(main())


def test_a_failed_job_is_retried_later_and_later_and_then_has_failed() -> None:
    crons, tries = Crons(), []
    worlds: list[World] = []

    @crons.task(retries=2)
    async def broken() -> None:
        tries.append(worlds[0].clock.now)
        raise ValueError("oh no")

    async def main() -> Run:
        world = World(crons)
        worlds.append(world)
        run_id = await world.defer("broken")
        for _ in range(20):
            await world.poll_all()
            world.clock.forward(0.25)
        return await world.run(run_id)

    run = asyncio.run(main())
    assert (run.state, run.attempts, run.reason) == (State.FAILED, 3, "failed")
    assert (run.error or "").endswith("ValueError: oh no\n")
    gaps = [(after - before).total_seconds() for before, after in pairwise(tries)]
    assert gaps == [0.5, 1.0], "half of 1 and 2 seconds, as chance is owned here"


def test_a_task_may_say_when_it_is_retried_and_what_is_worth_it() -> None:
    crons, tries = Crons(), []

    @crons.task(retries=5)
    async def busy() -> None:
        tries.append(1)
        raise Retry(after=60)

    @crons.task(retries=5, retry_for=(OSError,))
    async def wrong() -> None:
        raise ValueError

    async def main() -> None:
        world = World(crons)
        busy_id, wrong_id = await world.defer("busy"), await world.defer("wrong")
        await world.poll_all()
        assert (await world.run(wrong_id)).state is State.FAILED
        run = await world.run(busy_id)
        assert (run.state, run.due) == (State.PENDING, world.clock.now + timedelta(seconds=60))

    asyncio.run(main())


def test_arguments_that_do_not_fit_leave_the_job_to_a_newer_version() -> None:
    crons, fixed, seen = Crons(), Crons(), []

    @crons.task(retries=5)
    async def greet(name: str) -> None:
        raise AssertionError

    @fixed.task(name="greet")
    async def greet_so(title: str) -> None:
        seen.append(title)

    async def main() -> None:
        world = World(crons)
        run_id = await world.defer("greet", title="Dr.")
        await world.poll_all()
        run = await world.run(run_id)
        assert (run.state, run.attempts, run.due - world.clock.now) == (State.PENDING, 0, timedelta(seconds=10))
        assert run.error == "greet(): has no parameter 'title' any more"
        world.clock.forward(10)
        await world.another(fixed).poll_all()
        assert (await world.run(run_id)).state is State.SUCCEEDED

    asyncio.run(main())
    assert seen == ["Dr."]


def test_arguments_that_never_fit_are_tried_for_a_day_and_then_have_failed() -> None:
    crons, pauses = Crons(), list[float]()

    @crons.task(retries=0)
    async def greet(name: str) -> None:
        raise AssertionError

    async def main() -> None:
        world = World(crons)
        run_id = await world.defer("greet", title="Dr.")
        began = world.clock.now
        while (run := await world.run(run_id)).state is State.PENDING:
            world.clock.now = run.due
            await world.poll_all()
            pauses.append(((await world.run(run_id)).due - world.clock.now).total_seconds())
        assert (run.state, run.attempts) == (State.FAILED, 1)
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

    async def main() -> Run:
        world = World(crons)
        run_id = await world.defer("endless")
        await world.poll()
        await begun.wait()
        await world.runs.drain(0)
        assert await world.backend.stale_in() == 0
        return await world.run(run_id)

    run = asyncio.run(main())
    assert (run.state, run.attempts) == (State.PENDING, 0)


def test_a_thread_that_outlasts_its_timeout_keeps_the_lease_and_no_capacity() -> None:
    crons, go_on = Crons(), threading.Event()

    @crons.task(retries=1, timeout=0.05)
    def stuck() -> None:
        go_on.wait()

    async def main() -> None:
        world = World(crons, concurrency=1)
        run_id = await world.defer("stuck")
        (started,) = (await world.poll()).started
        assert await asyncio.wait_for(started.over(), 0.5) is State.PENDING
        assert not world.runs.pool.is_full
        assert [run.run_id for run in await world.backend.runs(Where(is_kept=True))] == [run_id]
        world.clock.forward(2)
        assert (await world.poll()).started == (), "it would run beside itself"
        go_on.set()
        await asyncio.wait(world.runs.pool.lingering, timeout=0.5)
        assert len((await world.poll()).started) == 1
        await world.runs.idle()

    asyncio.run(main())


def test_jobs_are_deleted_after_a_week_and_failed_ones_after_a_month() -> None:
    crons = Crons()

    @crons.task(retries=0)
    def fine() -> None:
        pass

    @crons.task(retries=0)
    def broken() -> None:
        raise ValueError

    async def main() -> list[set[str]]:
        world = World(crons)
        await world.defer("fine")
        await world.defer("broken")
        left = []
        for days in (0, 6.9, 0.2, 22, 1):
            world.clock.forward(days * 86400)
            await world.poll_all()
            await world.poll_all()
            left.append({run.name for run in await world.backend.runs(Where(kinds={Kind.JOB}))})
        return left

    both = {"fine", "broken"}
    assert asyncio.run(main()) == [both, both, {"broken"}, {"broken"}, set()]


def test_jobs_and_crons_leave_each_other_capacity() -> None:
    crons, go_on = Crons(), asyncio.Event()
    for number in range(5):
        crons.add(f"cron{number}", go_on.wait, 3600)

    @crons.task
    async def job() -> None:
        await go_on.wait()

    async def main() -> None:
        world = World(crons, concurrency=3)
        await world.defer_many("job", 5)
        kinds = [run.claim.kind for run in (await world.poll()).started]
        assert sorted(kinds) == [Kind.JOB, Kind.SLOT, Kind.SLOT]
        go_on.set()
        for _ in range(10):
            await world.poll_all()
        assert await world.states() == {State.SUCCEEDED: 5}

    asyncio.run(main())
