"""A backlog of jobs: drained in batches, a transaction each, beside the crons, and never beyond the capacity."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support import until

from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Poll, Where
from pseudocron.by_hand import tick_now
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from pseudocron.polling import PollReason
from pseudocron.process import process_of
from pseudocron.worker.decoding import UNPACKED_AT_ONCE
from pseudocron.worker.poll import REFILL_FOR
from worker.world import Counting, World, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pseudocron.backends.questions import End, Finished, Polled, Take


def a_backlog(*, concurrency: int = 10, store: type[Memory] = Counting) -> World:
    """A process with a task `noop`."""
    crons = Crons()

    @crons.task(retries=0)
    async def noop() -> None:
        pass

    return World(crons, concurrency=concurrency, store=store)


def test_a_backlog_is_drained_in_one_transaction_for_as_many_jobs_as_may_run() -> None:
    world = a_backlog()

    async def main() -> None:
        await world.defer_many("noop", 100)
        await world.poll_all()
        assert await world.states() == {State.SUCCEEDED: 100}

    asyncio.run(main())
    assert isinstance(world.backend, Counting)
    assert world.backend.polls == 1
    assert world.backend.recorded == [10] * 10
    assert world.backend.claimed == [*[10] * 10, 0], "each but the last end is the claim of the next"
    assert world.backend.most == 10


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (2, 1), (10, 9)])
def test_jobs_that_follow_others_leave_the_crons_their_capacity_too(concurrency: int, most: int) -> None:
    world = a_backlog(concurrency=concurrency)
    world.crons.add("cron", int, "0 0 1 1 *")
    read(world.crons)

    async def main() -> None:
        await world.defer_many("noop", 40)
        await world.poll_all()
        assert await world.states() == {State.SUCCEEDED: 40}

    asyncio.run(main())
    assert isinstance(world.backend, Counting)
    assert world.backend.most == most


def test_jobs_follow_others_for_a_second_only_then_a_poll_is_due() -> None:
    crons = Crons()

    @crons.task
    async def slow() -> None:
        worlds[0].clock.forward(REFILL_FOR / 10)

    worlds = [World(crons, concurrency=1, store=Counting)]

    async def main() -> None:
        (world,) = worlds
        await world.defer_many("slow", 25)
        for done in (10, 20):
            await world.poll_all()
            assert (await world.states())[State.SUCCEEDED] == done
            assert world.recorded == [0.0], "a poll is asked for when no job follows"
            world.recorded.clear()

    asyncio.run(main())


def test_the_end_of_the_run_of_a_cron_asks_for_a_poll_amid_a_backlog() -> None:
    crons, go_on, slots = Crons(), asyncio.Event(), list[object]()

    @crons.task
    async def endless() -> None:
        await asyncio.sleep(3600)

    @crons.every(1, coalesce=False)
    async def often() -> None:
        slots.append(current_run().slot)
        await go_on.wait()

    async def main() -> None:
        world = World(crons, concurrency=4)
        await world.poll()
        world.clock.forward(1)
        await world.defer("endless")
        await world.poll()
        await until(lambda: slots)
        assert len(slots) == 1, "the second one is due, and waits"
        await world.defer("endless")
        go_on.set()
        await world.capacity()
        await world.poll()
        await until(lambda: len(slots) == 2)
        await world.runs.drain(0)

    asyncio.run(main())


def test_a_cron_of_a_second_runs_on_time_amid_a_backlog() -> None:
    crons, late = Crons(), list[float]()
    worlds = list[World]()

    @crons.task
    async def job() -> None:
        worlds[0].clock.forward(0.002)

    @crons.every(1)
    async def often() -> None:
        late.append(worlds[0].clock.now.timestamp() % 1)

    async def main() -> None:
        world = World(crons, store=Counting)
        worlds.append(world)
        await world.defer_many("job", 5000)
        await world.poller.poll({PollReason.REQUEST})
        while world.runs.left:
            await world.capacity()
            await world.poller.poll({PollReason.CAPACITY})
        await world.runs.idle()
        assert await world.states() == {State.SUCCEEDED: 5000}
        assert isinstance(world.backend, Counting)
        assert world.backend.polls < 30

    asyncio.run(main())
    assert len(late) >= 10, "each second of the ten, though no request came"
    assert max(late) < 0.1


def test_a_gate_that_jobs_wait_behind_stays_stale_for_other_processes() -> None:
    crons, go_on = Crons(), asyncio.Event()
    crons.add("cron", int, 0.25)

    @crons.task
    async def job() -> None:
        await go_on.wait()

    async def main() -> None:
        world = World(crons, concurrency=2)
        await world.defer_many("job", 5)
        result = await world.poller.poll({PollReason.REQUEST})
        assert (result.again, world.runs.left) == (1, True), "at the pace of one that has to leave what is due"
        assert await world.backend.stale_in() == 0
        go_on.set()
        await world.runs.idle()

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
        runs = [run async for run in tick_now(process_of(crons))]
        assert [run.state for run in runs if not run.is_job] == ["succeeded"]
        assert len(done) == 100
        await process_of(crons).runtime().close()

    asyncio.run(main())


def test_a_drain_amid_a_backlog_hands_back_what_runs_and_claims_no_more() -> None:
    crons, begun = Crons(), list[int]()

    @crons.task(retries=0)
    async def noop() -> None:
        begun.append(1)
        if len(begun) > 30:
            await asyncio.Event().wait()

    async def main() -> None:
        world = World(crons, store=Counting)
        await world.defer_many("noop", 100)
        await world.poll()
        await until(lambda: len(begun) == 40)
        await world.runs.drain(0)
        assert not world.runs.pool.runs
        assert await world.states() == {State.SUCCEEDED: 30, State.PENDING: 70}
        pending = await world.backend.runs(Where(states={State.PENDING}, kinds={Kind.JOB}), limit=100)
        assert not any(run.attempts for run in pending)
        await world.poll()

    asyncio.run(main())
    assert len(begun) == 40


def test_what_is_being_claimed_when_a_drain_begins_is_handed_back_too() -> None:
    claiming, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Counting):
        async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
            finished = await super().finish(ends, take)
            if len(self.recorded) == 1:
                claiming.set()
                await go_on.wait()
            return finished

    crons = Crons()

    @crons.task(retries=0)
    async def noop() -> None:
        if claiming.is_set():
            await asyncio.Event().wait()

    async def main() -> None:
        world = World(crons, store=Slow)
        await world.defer_many("noop", 100)
        await world.poll()
        await claiming.wait()
        drain = asyncio.ensure_future(world.runs.drain(0))
        await until(lambda: world.runs.pool.is_cut_off)
        go_on.set()
        await drain
        assert await world.states() == {State.SUCCEEDED: 10, State.PENDING: 90}

    asyncio.run(main())


def test_while_the_store_is_away_results_are_retried_each_second(caplog: pytest.LogCaptureFixture) -> None:
    class Away(Counting):
        async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
            if len(worlds[0].clock.slept) < 3:
                raise BackendError("the store is away")
            return await super().finish(ends, take)

    worlds = [a_backlog(store=Away)]

    async def main() -> None:
        (world,) = worlds
        await world.defer_many("noop", 10)
        await world.poll_all()
        assert await world.states() == {State.SUCCEEDED: 10}
        assert world.clock.slept == [1.0] * 3

    asyncio.run(main())
    assert caplog.messages == ["noop: result not recorded yet: the store is away; retried"]


def test_a_bug_in_the_store_delays_the_results_that_meet_it_and_no_others(caplog: pytest.LogCaptureFixture) -> None:
    class Buggy(Counting):
        async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
            if not self.recorded:
                self.recorded.append(0)
                raise ZeroDivisionError
            return await super().finish(ends, take)

    world = a_backlog(store=Buggy)

    async def main() -> None:
        await world.defer_many("noop", 20)
        await world.poll_all()
        assert "noop: result not recorded yet" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        assert await world.states() == {State.SUCCEEDED: 20}

    asyncio.run(main())


def test_a_job_that_was_lost_is_refused_among_others_that_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    crons, go_on = Crons(), asyncio.Event()

    @crons.task
    async def wait() -> None:
        await go_on.wait()

    async def main() -> None:
        world = World(crons)
        lost, _ = await world.defer_many("wait", 2)
        started = (await world.poll()).started
        world.runs.leases.drop(next(run.claim for run in started if run.claim.run_id == lost))
        world.clock.forward(20)
        world.runs.leases.renew()
        world.clock.forward(11)
        polled = await world.backend.poll(Poll(world.runs.take(crons)._replace(tasks={}), force=True))
        assert polled is not None
        assert [run.run_id for run in polled.lost] == [lost]
        go_on.set()
        assert {await run.over() for run in started} == {None, State.SUCCEEDED}

    asyncio.run(main())
    assert sum("its result came after its lease" in line for line in caplog.messages) == 1


def test_large_arguments_are_decoded_off_the_loop() -> None:
    crons, threads = Crons(), list[threading.Thread]()

    @dataclass
    class Classroom:
        name: str

        def __post_init__(self) -> None:
            threads.append(threading.current_thread())

    @crons.task
    async def restore(classroom: Classroom) -> None:
        pass

    assert list(crons.tasks)
    restore.function.__annotations__["classroom"] = Classroom

    async def main() -> None:
        world = World(crons)
        for name in ("B-204", "B" * UNPACKED_AT_ONCE):
            await world.defer("restore", classroom={"name": name})
            await world.poll_all()
        assert await world.states() == {State.SUCCEEDED: 2}

    asyncio.run(main())
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


def test_one_thread_renews_the_leases_of_jobs_that_follow_each_other() -> None:
    crons, seen = Crons(), set[threading.Thread]()

    @crons.task
    async def look_round() -> None:
        seen.update(thread for thread in threading.enumerate() if thread.name == "pseudocron-leases")

    async def main() -> None:
        world = World(crons, concurrency=1)
        before = {thread for thread in threading.enumerate() if thread.name == "pseudocron-leases"}
        await world.defer_many("look_round", 50)
        await world.poll_all()
        await world.runs.drain(0)
        assert len(seen - before) == 1
        for thread in seen - before:
            await asyncio.to_thread(thread.join, 20)
            assert not thread.is_alive()

    asyncio.run(main())


class Memoryless(Memory):
    """A store that returns no claims amid a backlog, as it is away."""

    async def poll(self, poll: Poll) -> Polled | None:
        raise BackendError("the store is away")


def test_a_poll_that_fails_gives_back_what_it_has_reserved() -> None:
    world = a_backlog(store=Memoryless)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(BackendError):
                await world.poll()
        assert world.runs.pool.reserve(has_crons=False, has_tasks=True).jobs == 10

    asyncio.run(main())
