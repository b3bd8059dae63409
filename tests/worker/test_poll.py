"""A poll claims and starts; runs are executed, retried, and recorded, each on its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from support import until

from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import Kind, Reason, Run, Skip, State
from pseudocron.backends.questions import Plan, Poll
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from worker.world import Process, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pseudocron.backends.questions import End, Finished, Take


def once(crons: Crons, body: Callable[[World], Awaitable[None]], **options: Any) -> Sequence[Run | Skip]:
    """Poll on a clock that stands still, then do the body; return the timeline, newest first."""

    async def main() -> Sequence[Run | Skip]:
        world = World(crons, **options)
        await world.poll()
        await body(world)
        await world.runs.idle()
        return await world.lines()

    return asyncio.run(main())


async def nothing_more(world: World) -> None:
    """The poll was all."""


def the_run(lines: Sequence[Run | Skip]) -> Run:
    (run,) = lines
    assert isinstance(run, Run)
    return run


async def claim_for_the_dead(process: Process, lease: float) -> None:
    """Let a process that is gone claim what is due."""
    take = process.runs.take(process.crons)
    process.runs.pool.give_back(take.capacity)
    plans = [
        Plan(
            cron.name, None, cron._first_mark(process.clock.now), [process.clock.now], at_least_once=cron.at_least_once
        )
        for cron in process.crons
    ]
    polled = await process.backend.poll(Poll(take._replace(worker="dead", lease=lease), plans, force=True))
    assert polled is not None
    assert len(polled.claims) == len(plans)


def test_a_poll_starts_what_is_due_and_does_not_wait_for_it() -> None:
    crons, go_on = Crons(), asyncio.Event()

    @crons.every(60)
    async def slow() -> None:
        await go_on.wait()

    async def body(world: World) -> None:
        assert len(world.runs.pool.runs) == 1
        assert the_run(await world.lines()).state is State.RUNNING
        go_on.set()

    run = the_run(once(crons, body))
    assert (run.state, run.worker, run.kind) == (State.SUCCEEDED, "me", Kind.SLOT)


def test_only_what_there_is_capacity_for_is_claimed_the_oldest_first() -> None:
    crons, go_on = Crons(), asyncio.Event()
    for number in range(5):
        crons.add(f"cron{number}", go_on.wait, 3600 - number)

    async def main() -> None:
        world = World(crons, concurrency=3)
        report = await world.poll()
        assert report.left
        assert world.runs.pool.is_full
        now = world.clock.now
        slots = sorted((cron.schedule.latest(now - timedelta(hours=1), now), cron.name) for cron in crons)
        assert [run.claim.name for run in report.started] == [name for _, name in slots[:3]]
        go_on.set()
        await world.runs.idle()
        report = await world.poll_all()
        assert not report.left
        assert [run.claim.name for run in report.started] == [name for _, name in slots[3:]]

    asyncio.run(main())


def test_a_poll_returns_when_the_next_one_is_due() -> None:
    crons = Crons()
    crons.add("hourly", print, 3600)
    crons.add("often", print, 45)

    async def main() -> None:
        world = World(crons)
        assert (await world.poll_all()).fresh_for == 30, "the leases of what it has started end"
        following = crons["often"].schedule.next(world.clock.now)
        assert following is not None
        assert (await world.poll()).fresh_for == (following - world.clock.now).total_seconds()

    asyncio.run(main())


def test_a_failing_and_a_stuck_cron_delay_no_other() -> None:
    crons, done, go_on = Crons(), threading.Event(), threading.Event()
    crons.add("stuck", go_on.wait, 60)
    crons.add("broken", lambda: 1 / 0, 60)
    crons.add("fine", done.set, 60)

    async def body(world: World) -> None:
        await until(done.is_set)
        await until(lambda: len(world.runs.pool.runs) == 1)
        go_on.set()

    states = {run.name: run.state for run in once(crons, body) if isinstance(run, Run)}
    assert states == {"stuck": "succeeded", "broken": "failed", "fine": "succeeded"}


def test_each_run_gives_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    crons = Crons()
    crons.add("digest", int, 3600, last_run="2024-05-01T10:59:58+00:00")
    once(crons, nothing_more)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "digest: slot 2024-05-01T11:59:58+00:00, attempt 1, 2.000 s late, took 0.000 s: succeeded"


def test_a_failure_is_stored_and_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    crons = Crons()

    @crons.every(60)
    def broken() -> None:
        raise ValueError("oh no")

    run = the_run(once(crons, nothing_more))
    assert run.state == State.FAILED
    assert run.error is not None
    assert run.error.endswith("ValueError: oh no\n")
    assert run.error in caplog.text


def test_a_retry_of_a_cron_is_stored_and_holds_no_capacity() -> None:
    crons, tries = Crons(), list[float]()

    @crons.every(3600, retries=3)
    async def flaky() -> None:
        tries.append(world_[0].clock.now.timestamp())
        if len(tries) < 4:
            raise ValueError

    world_: list[World] = []

    async def main() -> Run:
        world = World(crons, concurrency=1)
        world_.append(world)
        await world.poll_all()
        while (run := the_run(await world.lines())).state is State.PENDING:
            assert not world.runs.pool.runs
            world.clock.now = run.due
            await world.visit()
        return run

    run = asyncio.run(main())
    assert (run.state, run.attempts, run.failures) == (State.SUCCEEDED, 4, 3)
    assert [attempt.outcome for attempt in run.earlier] == [State.FAILED] * 3
    gaps = [after - before for before, after in pairwise(tries)]
    assert gaps == [0.5, 1.0, 2.0], "half of 1, 2 and 4 seconds, as chance is owned here"


def test_a_retry_of_a_cron_survives_its_process() -> None:
    crons, tries = Crons(), list[int]()

    @crons.every(3600, retries=1)
    async def flaky() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError

    async def main() -> Run:
        world = World(crons)
        await world.poll_all()
        await world.runs.drain(0)
        world.clock.forward(1)
        await world.another().visit()
        return the_run(await world.lines())

    assert asyncio.run(main()).state is State.SUCCEEDED
    assert len(tries) == 2


def test_after_its_last_retry_a_run_has_failed() -> None:
    crons, tries = Crons(), []

    @crons.every(60, retries=2)
    async def broken() -> None:
        tries.append(1)
        raise ValueError

    async def body(world: World) -> None:
        for _ in range(2):
            await world.runs.idle()
            world.clock.forward(5)
            await world.poll()

    assert (the_run(once(crons, body)).state, len(tries)) == (State.FAILED, 3)


def test_a_second_poll_records_the_overlap_of_a_run_that_goes_on() -> None:
    crons, go_on = Crons(), asyncio.Event()
    crons.add("slow", go_on.wait, 1)

    async def body(world: World) -> None:
        world.clock.forward(1)
        assert (await world.poll()).started == ()
        go_on.set()

    skip, run = once(crons, body)
    assert isinstance(skip, Skip)
    assert isinstance(run, Run)
    assert (skip.reason, skip.slot - timedelta(seconds=1)) == (Reason.OVERLAP, run.slot)


def test_a_lost_run_with_at_least_once_is_executed_by_the_next_poll(caplog: pytest.LogCaptureFixture) -> None:
    crons, attempts, go_on = Crons(), [], asyncio.Event()

    @crons.every(3600, at_least_once=True)
    async def important() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            await go_on.wait()

    caplog.set_level(logging.INFO)

    async def main() -> Run:
        world = World(crons)
        await world.poll()
        await until(lambda: attempts)
        world.clock.forward(31)  # the renewing thread goes by the real clock, and comes in ten seconds
        assert len((await world.another().poll_all()).started) == 1
        go_on.set()
        await world.runs.idle()
        return the_run(await world.lines())

    run = asyncio.run(main())
    assert (run.state, run.attempts, run.lost, run.fence) == (State.SUCCEEDED, 2, 1, 2)
    assert [attempt.outcome for attempt in run.earlier] == [State.LOST]
    assert "is lost" in caplog.text
    assert "came after its lease" in caplog.text, "the late holder's result is refused, and that is logged"


class Away(Memory):
    """A store that is away at the first result."""

    away = True

    async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
        if self.away:
            self.away = False
            raise BackendError("the store is away")
        return await super().finish(ends, take)


def test_a_result_is_recorded_when_the_store_is_back(caplog: pytest.LogCaptureFixture) -> None:
    crons = Crons()
    crons.add("cron", int, 60)
    assert the_run(once(crons, nothing_more, store=Away)).state == State.SUCCEEDED
    assert "result not recorded yet: the store is away" in caplog.text


def test_a_thread_beyond_its_timeout_keeps_its_lease_until_it_returns() -> None:
    crons, go_on = Crons(), threading.Event()
    crons.add("stuck", go_on.wait, 1, timeout=0.05)

    async def main() -> Sequence[Run | Skip]:
        world = World(crons)
        await world.poll_all()
        world.clock.forward(1)
        await world.poll()
        assert not world.runs.pool.runs, "it would overlap itself"
        go_on.set()
        await asyncio.wait(world.runs.pool.lingering, timeout=5)
        world.clock.forward(1)
        assert len((await world.poll_all()).started) == 1
        return await world.lines()

    again, overlap, stuck = asyncio.run(main())
    assert isinstance(again, Run)
    assert isinstance(overlap, Skip)
    assert isinstance(stuck, Run)
    assert (stuck.state, overlap.reason, again.state) == ("timed_out", "overlap", "succeeded")


@pytest.mark.alone
def test_a_blocked_event_loop_loses_no_lease() -> None:
    crons, lease = Crons(), 0.3

    @crons.every(3600)
    async def blocks_the_loop() -> None:
        end = time.monotonic() + 4 * lease
        while time.monotonic() < end:
            pass

    async def main() -> Run:
        backend = Memory()
        clock_of = World(crons).clock
        process = Process(crons, clock_of, backend, concurrency=1, lease=lease)
        other = threading.Thread(target=asyncio.run, args=(poll_until_it_ends(backend),))
        other.start()
        await process.poll_all()
        await asyncio.to_thread(other.join)
        (lines,) = (await backend.timelines(None)).values()
        return the_run(lines)

    async def poll_until_it_ends(backend: Memory) -> None:
        take = Process(crons, World(crons).clock, backend).runs.take(crons)._replace(crons={})
        while not (lines := (await backend.timelines(["blocks_the_loop"]))["blocks_the_loop"]) or (
            the_run(lines).state is State.RUNNING
        ):
            await backend.poll(Poll(take, force=True))
            await asyncio.sleep(0.01)

    assert asyncio.run(main()).state == State.SUCCEEDED


def test_a_drain_waits_then_interrupts_and_records() -> None:
    crons = Crons()

    @crons.every(60)
    async def endless() -> None:
        await asyncio.Event().wait()

    crons.add("quick", int, 60)

    async def body(world: World) -> None:
        await world.runs.drain(0.05)
        assert not world.runs.pool.runs

    states = {run.name: run.state for run in once(crons, body) if isinstance(run, Run)}
    assert states == {"endless": "interrupted", "quick": "succeeded"}


def test_a_drain_hands_back_a_slot_with_at_least_once() -> None:
    crons = Crons()

    @crons.every(3600, at_least_once=True)
    async def endless() -> None:
        await asyncio.Event().wait()

    async def body(world: World) -> None:
        await world.runs.drain(0)
        assert await world.backend.stale_in() == 0

    run = the_run(once(crons, body))
    assert (run.state, run.attempts) == (State.PENDING, 0)


class Gone(Memory):
    """A store that takes no result."""

    async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
        raise BackendError("the store is away")


@pytest.mark.parametrize("target", [int, asyncio.Event().wait], ids=["ended", "interrupted"])
def test_a_drain_ends_in_time_though_the_store_is_away(monkeypatch: pytest.MonkeyPatch, target: object) -> None:
    monkeypatch.setattr("pseudocron.worker.pool.RECORD_WITHIN", 0.05)
    crons = Crons()
    crons.add("cron", target, 3600)

    async def body(world: World) -> None:
        async with asyncio.timeout(2):
            await world.runs.drain(0.05)

    once(crons, body, store=Gone)


def test_without_coalesce_every_missed_slot_runs_one_after_the_other() -> None:
    crons, ran = Crons(), []

    @crons.every(60, coalesce=False)
    async def each() -> None:
        ran.append(current_run().slot)

    async def body(world: World) -> None:
        await world.runs.idle()
        world.clock.forward(600)
        for _ in range(20):
            await world.poll_all()

    lines = once(crons, body)
    assert ran == [ran[0] + timedelta(seconds=60 * number) for number in range(11)]
    assert all(isinstance(line, Run) and line.state is State.SUCCEEDED for line in lines)


def test_a_disabled_cron_recovers_nothing() -> None:
    ran: list[int] = []

    def one(**options: Any) -> Crons:
        crons = Crons()
        crons.add("cron", lambda: ran.append(1), 3600, at_least_once=True, **options)
        return crons

    async def main() -> None:
        world = World(one())
        await claim_for_the_dead(world, lease=1)
        world.clock.forward(2)
        await world.another(one(enabled=False)).poll_all()
        assert not ran
        await world.another(one()).poll_all()
        assert ran

    asyncio.run(main())


def test_what_is_to_recover_and_finds_no_capacity_is_left() -> None:
    crons, go_on = Crons(), asyncio.Event()
    for name in ("a", "b"):
        crons.add(name, go_on.wait, 3600, at_least_once=True)

    async def main() -> None:
        world = World(crons)
        await claim_for_the_dead(world, lease=1)
        world.clock.forward(2)
        process = world.another(concurrency=1)
        report = await process.poll()
        assert (len(report.started), report.left, report.fresh_for) == (1, True, 0)
        go_on.set()
        await process.runs.idle()

    asyncio.run(main())


def test_a_step_of_the_clock_loses_no_own_run() -> None:
    crons, starts, go_on = Crons(), [], asyncio.Event()

    @crons.every(86400, at_least_once=True)
    async def long() -> None:
        starts.append(1)
        await go_on.wait()

    async def body(world: World) -> None:
        world.clock.forward(3600)
        assert (await world.poll()).started == ()
        go_on.set()

    assert the_run(once(crons, body)).state == State.SUCCEEDED
    assert starts == [1]
