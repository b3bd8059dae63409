"""Who polls, when a process polls again, and what happens while the store is away."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest
from support import Clock, hello, until, visit

from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import Reason, Skip, State
from pseudocron.polling import READ_AGAIN, NoPoll, PollReason, Report
from pseudocron.process import Process, process_of
from worker.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from pseudocron.backends.questions import Poll, Polled


def test_of_two_processes_one_polls_and_both_know_when_a_poll_is_due_again() -> None:
    crons = Crons()
    crons.add("cron", int, 10)

    async def main() -> None:
        world = World(crons)
        other = world.another()
        first = await world.poller.poll({PollReason.REQUEST})
        assert isinstance(first.came_of_it, Report)
        assert first.again == READ_AGAIN
        assert (await other.visit())[:2] == (NoPoll.NOTHING_DUE, READ_AGAIN)
        await world.runs.idle()
        world.clock.forward(9.5)
        assert (await other.visit()).again == pytest.approx(0.5), "the slot comes sooner than the next reading"
        world.clock.forward(0.5)
        second = await other.visit()
        assert isinstance(second.came_of_it, Report)
        assert len(second.came_of_it.started) == 1

    asyncio.run(main())


def test_a_process_that_never_comes_first_polls_in_cron_max_time() -> None:
    crons, others = Crons(cron_max_time=60), Crons(cron_max_time=60)

    @crons.task
    async def send() -> None: ...

    others.add("cron", int, 3600)

    async def main() -> None:
        world = World(crons)
        first = world.another(others)
        job = await world.defer("send", delay=600)
        for _ in range(600):
            world.clock.forward(1)
            await first.visit()
            await world.visit()
        assert (await world.run(job)).state is State.SUCCEEDED

    asyncio.run(main())


def test_an_idle_schedule_costs_one_poll_in_cron_max_time() -> None:
    crons = Crons(cron_max_time=60)
    crons.add("cron", int, "0 0 1 1 *")

    async def main() -> None:
        world = World(crons)
        await world.visit()
        assert await world.backend.stale_in() == 60

    asyncio.run(main())


def test_a_process_without_capacity_leaves_the_gate_to_others() -> None:
    crons, go_on = Crons(), asyncio.Event()
    crons.add("long", go_on.wait, 3600)
    crons.add("next", int, 3600)

    async def main() -> None:
        world = World(crons, concurrency=1)
        await world.poller.poll({PollReason.REQUEST})
        assert len(world.runs.pool.runs) == 1
        assert (await world.poller.poll({PollReason.REQUEST})).came_of_it is NoPoll.NO_CAPACITY
        result = await world.another(concurrency=1).visit()
        assert isinstance(result.came_of_it, Report)
        assert len(result.came_of_it.started) == 1, "what found no capacity is due for every process at once"
        go_on.set()
        await world.runs.idle()

    asyncio.run(main())


def test_a_tick_polls_whatever_the_gate_says() -> None:
    crons = Crons()
    crons.add("cron", int, 1)

    async def main() -> None:
        world = World(crons)
        await world.visit()
        for due in ([], ["cron"]):
            if due:
                world.clock.forward(1)
            report = (await world.visit(PollReason.TICK)).came_of_it
            assert isinstance(report, Report)
            assert [run.claim.name for run in report.started] == due

    asyncio.run(main())


def test_while_the_store_is_away_requests_are_served_and_that_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    (tmp_path / "crons.py").write_text('crons = {"often": (int, 0.05)}')
    path = tmp_path / "crons.py"
    store, aside = tmp_path / ".pseudocron", tmp_path / "aside"
    app = PseudoCronMiddleware(hello, crons=path, wait=10)

    async def come() -> None:
        process_of(path).deadline = -1
        assert (await visit(app))[0]["status"] == 200

    async def main() -> set[Reason]:
        await come()
        store.rename(aside)
        store.write_text("no folder any more")
        await come()
        began = time.monotonic()
        while time.monotonic() < began + 0.5:  # ten slots, and the last of them runs when the store is back
            await come()
        (line,) = caplog.messages
        assert line.startswith("poll failed: ")
        assert str(store) in line
        store.unlink()
        aside.rename(store)
        await come()
        async with process_of(path).store() as (_, backend):
            lines = (await backend.timelines(["often"]))["often"]
        await process_of(path).runtime().close()
        return {line.reason for line in lines if isinstance(line, Skip)}

    assert Reason.BACKEND_DOWN in asyncio.run(main())


def test_a_poll_that_fails_keeps_nobody_away_for_longer_than_two_seconds() -> None:
    crons = Crons()
    crons.add("cron", int, 3600)

    class Broken(Memory):
        async def poll(self, poll: Poll) -> Polled | None:
            await super().poll(poll._replace(plans=()))
            raise ZeroDivisionError

    async def main() -> None:
        world = World(crons, store=Broken)
        with pytest.raises(ZeroDivisionError):
            await world.visit()
        assert not world.runs.pool.is_full, "what was reserved for claims is free again"

    asyncio.run(main())


def test_a_bug_in_a_poll_is_logged_and_the_runtime_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    crons, ran = Crons(backend="memory:"), []
    crons.add("cron", lambda: ran.append(1), 3600)
    seen = Process(crons)

    async def main() -> None:
        runtime = seen.runtime()
        poller = await runtime.open()
        assert poller is not None
        poll, poller.poll_now = poller.poll_now, None  # type: ignore[method-assign,assignment]
        await runtime.request_poll(PollReason.REQUEST)
        assert "poll failed: TypeError" in caplog.text
        poller.poll_now = poll  # type: ignore[method-assign]
        await runtime.request_poll(PollReason.REQUEST)
        await until(lambda: ran)
        await runtime.close()

    asyncio.run(main())


def test_a_gate_that_another_process_enters_is_read_again_in_the_same_poll() -> None:
    crons, refused = Crons(), list[int]()
    crons.add("cron", int, 3600)

    class Contended(Memory):
        async def poll(self, poll: Poll) -> Polled | None:
            if not refused:
                refused.append(1)
                return None
            return await super().poll(poll)

    async def main() -> Clock:
        world = World(crons, store=Contended)
        result = await world.visit(PollReason.CAPACITY)
        assert isinstance(result.came_of_it, Report), "no other poll may come for long"
        return world.clock

    assert asyncio.run(main()).slept == [0.05]
