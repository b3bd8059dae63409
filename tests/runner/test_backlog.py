"""A backlog of jobs: drained in batches, without a look for each, beside the crons, and never beyond the room."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support import until

from pseudocron.backends.jobs import JobState
from pseudocron.backends.memory import Memory
from pseudocron.by_hand import tick_now
from pseudocron.config.source import open_source
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from pseudocron.polling import PollReason
from pseudocron.runner.attempts import UNPACKED_AT_ONCE
from pseudocron.runner.job_runs import REFILL_FOR
from pseudocron.scheduler import Scheduler
from pseudocron.watch import watch
from runner.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pseudocron.backends.job_rules import Claims
    from pseudocron.backends.jobs import Job, JobClaim, JobEnd


class Counting(Memory):
    """Counts what is asked of it, and how many jobs its process has at most."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.looks = 0
        self.claimed: list[int] = []
        self.recorded: list[int] = []
        self.held = self.most = 0

    async def reap_jobs(self) -> Sequence[Job]:
        self.looks += 1
        return await super().reap_jobs()

    async def claim_jobs(self, *args: Any, **options: Any) -> Claims:
        claims = await super().claim_jobs(*args, **options)
        self.claimed.append(len(claims))
        self.held += len(claims)
        self.most = max(self.most, self.held)
        return claims

    async def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
        states = await super().finish_jobs(ends)
        self.recorded.append(len(ends))
        self.held -= len(ends)
        return states


def a_backlog(*, concurrency: int = 10, store: type[Memory] = Counting) -> tuple[Crons, World]:
    """A task `noop` beside no cron, and its world."""
    crons = Crons()

    @crons.task(retries=0)
    async def noop() -> None:
        pass

    return crons, World(crons, concurrency=concurrency, store=store)


def test_one_look_drains_a_backlog_in_two_transactions_for_as_many_jobs_as_may_run() -> None:
    _, world = a_backlog()

    async def main() -> None:
        await world.defer_many("noop", 100)
        await world.look()
        assert await world.states() == {JobState.SUCCEEDED: 100}

    asyncio.run(main())
    assert isinstance(world.backend, Counting)
    assert world.backend.looks == 1
    assert world.backend.recorded == [10] * 10
    assert world.backend.claimed == [*[10] * 10, 0], "and the last one says that nothing more is due"
    assert world.backend.most == 10


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (2, 1), (10, 9)])
def test_jobs_that_follow_others_leave_the_crons_their_place_too(concurrency: int, most: int) -> None:
    crons, world = a_backlog(concurrency=concurrency)
    crons.add("cron", int, "0 0 1 1 *")

    async def main() -> None:
        await world.defer_many("noop", 40)
        await world.look()
        assert await world.states() == {JobState.SUCCEEDED: 40}

    asyncio.run(main())
    assert isinstance(world.backend, Counting)
    assert world.backend.most == most


def test_jobs_follow_others_only_for_a_second_then_the_next_look_is_due() -> None:
    crons = Crons()

    @crons.task
    async def slow() -> None:
        world.clock.forward(REFILL_FOR / 10)

    world = World(crons, concurrency=1, store=Counting)

    async def main() -> None:
        await world.defer_many("slow", 25)
        assert await world.look()
        assert (await world.states())[JobState.SUCCEEDED] == 10
        await world.look()
        assert (await world.states())[JobState.SUCCEEDED] == 20

    asyncio.run(main())


def test_who_waits_for_room_waits_until_jobs_follow_no_others() -> None:
    _, world = a_backlog()

    async def main() -> None:
        await world.defer_many("noop", 100)
        await world.runner.look(world.crons)
        await world.room()
        assert await world.states() == {JobState.SUCCEEDED: 100}

    asyncio.run(main())


def test_where_a_cron_waits_for_a_place_the_first_run_that_ends_makes_a_look() -> None:
    crons, world = a_backlog(concurrency=2)
    for number in range(3):
        crons.add(f"cron{number}", int, 3600)

    async def main() -> None:
        await world.defer_many("noop", 100)
        for _ in range(2):
            assert len((await world.runner.look(world.crons)).started) == 1
            await world.room()
        assert (await world.states())[JobState.PENDING] >= 98
        await world.look()
        assert await world.states() == {JobState.SUCCEEDED: 100}

    asyncio.run(main())


def test_what_ends_while_a_look_goes_on_is_followed_when_that_is_over() -> None:
    class Slow(Counting):
        async def next_due(self, tasks: Any) -> datetime | None:
            await until(lambda: not self.held)
            return await super().next_due(tasks)

    _, world = a_backlog(store=Slow)

    async def main() -> None:
        await world.defer_many("noop", 100)
        await world.look()
        assert await world.states() == {JobState.SUCCEEDED: 100}

    asyncio.run(main())


def test_a_cron_of_a_second_runs_on_time_amid_a_backlog() -> None:
    crons, late = Crons(), list[float]()

    @crons.task
    async def job() -> None:
        world.clock.forward(0.002)

    @crons.every(1)
    async def often() -> None:
        late.append(world.clock.now.timestamp() % 1)

    world = World(crons, store=Counting)

    async def main() -> None:
        await world.defer_many("job", 5000)
        scheduler = Scheduler(source, world.backend, world.runner, host=world.clock.host)
        await scheduler.poll({PollReason.REQUEST})
        while scheduler.left:
            await world.room()
            await scheduler.poll({PollReason.CAPACITY})
        await world.settle()
        assert await world.states() == {JobState.SUCCEEDED: 5000}

    source = open_source(crons)
    source.load()
    asyncio.run(main())
    assert isinstance(world.backend, Counting)
    assert len(late) >= 10, "each second of the ten, though nobody came by"
    assert max(late) < 0.1
    assert world.backend.looks < 30


@pytest.mark.parametrize("concurrency", [2, 4], ids=["no job may take the place", "a job may take the place"])
def test_a_slot_that_waits_for_its_cron_has_a_look_amid_a_backlog(concurrency: int) -> None:
    crons, go_on, slots = Crons(), asyncio.Event(), list[object]()

    @crons.task
    async def endless() -> None:
        await asyncio.sleep(3600)

    @crons.every(1, coalesce=False)
    async def often() -> None:
        slots.append(current_run().slot)
        await go_on.wait()

    world = World(crons, concurrency=concurrency)

    async def main() -> None:
        await world.runner.look(crons)
        world.clock.forward(1)
        await world.defer("endless")
        await world.runner.look(crons)
        assert len(slots) == 1, "the second one is due, and waits"
        assert world.runner._jobs.refills
        await world.defer("endless")
        go_on.set()
        await world.room()
        await world.runner.look(crons)
        await until(lambda: len(slots) == 2)
        await world.runner.drain(0)

    asyncio.run(main())


def test_a_gate_that_jobs_wait_behind_stays_stale_for_other_processes() -> None:
    crons, go_on = Crons(), asyncio.Event()
    crons.add("cron", int, 0.25)

    @crons.task
    async def job() -> None:
        await go_on.wait()

    world = World(crons, concurrency=2)

    async def main() -> None:
        await world.defer_many("job", 5)
        scheduler = Scheduler(source, world.backend, world.runner, host=world.clock.host)
        polled = await scheduler.poll({PollReason.REQUEST})
        assert (polled.again, polled.left) == (1, True), "at the pace of one that has to leave what is due"
        assert await world.backend.fresh_for(60) == 0
        go_on.set()
        await world.settle()

    source = open_source(crons)
    source.load()
    asyncio.run(main())


def test_a_tick_drains_a_backlog_beside_a_cron_that_takes_long() -> None:
    crons, done = Crons(backend="memory:"), list[int]()

    @crons.task
    async def job() -> None:
        done.append(1)

    @crons.every(3600)
    async def long() -> None:
        await until(lambda: len(done) == 100, 5)

    async def main() -> None:
        await job.defer_many([{}] * 100)
        ran = [(claim.name, result.outcome) async for claim, result in tick_now(watch(crons))]
        assert ran == [("long", "succeeded")]
        assert (len(done), await crons._connect().next_due({"job": None})) == (100, None)
        await watch(crons).runtime().close()

    asyncio.run(main())


def test_a_drain_amid_a_backlog_hands_back_at_once_what_runs_and_claims_no_more() -> None:
    crons, begun = Crons(), list[int]()

    @crons.task(retries=0)
    async def noop() -> None:
        begun.append(1)
        if len(begun) > 30:
            await asyncio.Event().wait()

    world = World(crons, store=Counting)

    async def main() -> None:
        await world.defer_many("noop", 100)
        await world.runner.look(crons)
        await until(lambda: len(begun) == 40)
        await world.runner.drain(0)
        assert not world.runner.runs
        assert await world.states() == {JobState.SUCCEEDED: 30, JobState.PENDING: 70}
        assert not any(job.attempts for job in await world.backend.jobs(states={JobState.PENDING}, limit=100))
        await world.runner.look(crons)

    asyncio.run(main())
    assert len(begun) == 40


def test_what_is_being_claimed_when_a_drain_begins_is_handed_back_too() -> None:
    claiming, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Counting):
        async def claim_jobs(self, *args: Any, **options: Any) -> Claims:
            claims = await super().claim_jobs(*args, **options)
            if len(self.claimed) == 2:
                claiming.set()
                await go_on.wait()
            return claims

    crons = Crons()

    @crons.task(retries=0)
    async def noop() -> None:
        if claiming.is_set():
            await asyncio.Event().wait()

    world = World(crons, store=Slow)

    async def main() -> None:
        await world.defer_many("noop", 100)
        await world.runner.look(crons)
        await claiming.wait()
        drain = asyncio.ensure_future(world.runner.drain(0))
        await until(lambda: world.runner._pool._cut_off)
        go_on.set()
        await drain
        assert await world.states() == {JobState.SUCCEEDED: 10, JobState.PENDING: 90}

    asyncio.run(main())


def test_while_the_store_is_away_what_has_gathered_is_recorded_each_second_until_it_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Away(Counting):
        async def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
            if len(world.clock.slept) < 3:
                raise BackendError("the store is away")
            return await super().finish_jobs(ends)

    _, world = a_backlog(store=Away)

    async def main() -> None:
        await world.defer_many("noop", 10)
        await world.look()
        assert await world.states() == {JobState.SUCCEEDED: 10}

    asyncio.run(main())
    assert world.clock.slept == [1.0] * 3
    assert caplog.messages == ["noop: the result could not be recorded yet: the store is away"]


def test_a_store_that_goes_away_amid_a_backlog_leaves_the_rest_to_the_next_look() -> None:
    class Away(Counting):
        async def claim_jobs(self, *args: Any, **options: Any) -> Claims:
            if len(self.claimed) == 3:
                self.claimed.append(0)
                raise BackendError("the store is away")
            return await super().claim_jobs(*args, **options)

    _, world = a_backlog(store=Away)

    async def main() -> None:
        await world.defer_many("noop", 100)
        assert await world.look()
        assert await world.states() == {JobState.SUCCEEDED: 30, JobState.PENDING: 70}
        await world.room()
        await world.look()
        assert await world.states() == {JobState.SUCCEEDED: 100}

    asyncio.run(main())


def test_a_bug_in_the_store_delays_the_results_that_meet_it_and_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Buggy(Counting):
        async def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
            if not self.recorded:
                self.recorded.append(0)
                raise ZeroDivisionError
            return await super().finish_jobs(ends)

    _, world = a_backlog(store=Buggy)

    async def main() -> None:
        await world.defer_many("noop", 20)
        await world.look()
        assert "noop: the result could not be recorded" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        assert await world.states() == {JobState.SUCCEEDED: 20}

    asyncio.run(main())


def test_a_job_that_was_lost_meanwhile_is_refused_among_others_that_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    crons, go_on = Crons(), asyncio.Event()

    @crons.task
    async def wait() -> None:
        await go_on.wait()

    world = World(crons)

    async def main() -> None:
        lost, _ = await world.defer_many("wait", 2)
        looked = await world.runner.look(crons)
        claim = next(job.claim for job in looked.jobs if job.claim.job_id == lost)
        world.runner._jobs.keeper.drop(claim)
        world.clock.forward(20)
        world.runner._jobs.keeper.renew()
        world.clock.forward(11)
        await world.backend.reap_jobs()
        go_on.set()
        assert {await job.task for job in looked.jobs} == {None, JobState.SUCCEEDED}

    asyncio.run(main())
    assert sum("its result came after its lease" in line for line in caplog.messages) == 1


def test_small_arguments_are_unpacked_where_the_job_runs_and_large_ones_off_the_event_loop() -> None:
    crons, threads = Crons(), list[threading.Thread]()

    @dataclass
    class Classroom:
        name: str

        def __post_init__(self) -> None:
            threads.append(threading.current_thread())

    @crons.task
    async def restore(classroom: Classroom) -> None:
        pass

    assert not restore.process
    restore.function.__annotations__["classroom"] = Classroom
    world = World(crons)

    async def main() -> None:
        for name in ("B-204", "B" * UNPACKED_AT_ONCE):
            await world.defer("restore", classroom={"name": name})
            await world.look()
        assert await world.states() == {JobState.SUCCEEDED: 2}

    asyncio.run(main())
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


def test_one_thread_keeps_the_leases_of_jobs_that_follow_each_other() -> None:
    crons, seen = Crons(), set[threading.Thread]()

    @crons.task
    async def look_round() -> None:
        seen.update(thread for thread in threading.enumerate() if thread.name == "pseudocron-leases")

    world = World(crons, concurrency=1)

    async def main() -> None:
        before = {thread for thread in threading.enumerate() if thread.name == "pseudocron-leases"}
        await world.defer_many("look_round", 50)
        await world.look()
        await world.runner.drain(0)
        assert len(seen - before) == 1
        for thread in seen - before:
            await asyncio.to_thread(thread.join, 20)
            assert not thread.is_alive()

    asyncio.run(main())
