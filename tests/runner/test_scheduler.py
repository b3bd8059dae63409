"""From the gate to the runs: who looks, when somebody looks again, and what happens while the store is away."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import Clock, hello, until, visit

from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends import records
from pseudocron.backends.memory import Memory, Store
from pseudocron.config.source import open_source
from pseudocron.polling import PollReason
from pseudocron.runner import Runner
from pseudocron.runner.looked import Looked
from pseudocron.scheduler import READ_AGAIN, Scheduler
from pseudocron.watch import Watch, watch

if TYPE_CHECKING:
    from pseudocron.config.source import Source


def a_scheduler(source: Source, backend: Memory, clock: Clock, *, concurrency: int = 10) -> Scheduler:
    runner = Runner(backend, host=clock.host, worker="me", concurrency=concurrency, lease=30)
    return Scheduler(source, backend, runner, host=clock.host)


async def poll(scheduler: Scheduler) -> float:
    """Behind a request; seconds until the next poll is due in this process."""
    return (await scheduler.poll({PollReason.REQUEST})).again


def source_of(crons: Crons) -> Source:
    source = open_source(crons)
    source.load()
    return source


def test_of_two_processes_that_find_the_gate_stale_one_looks_and_both_know_when_it_is_due_again() -> None:
    crons, clock = Crons(), Clock()
    crons.add("cron", int, 10)
    source = source_of(crons)

    async def main() -> None:
        store = Store()
        first, second = (a_scheduler(source, Memory(store=store, host=clock.host), clock) for _ in range(2))
        assert await poll(first) == READ_AGAIN
        assert len(first.runner.runs) == 1
        assert await poll(second) == READ_AGAIN
        assert not second.runner.runs
        await asyncio.wait(first.runner.runs)
        clock.forward(9.5)
        assert await poll(second) == pytest.approx(0.5), "the slot comes sooner than the next reading"
        clock.forward(0.5)
        await poll(second)
        assert len(second.runner.runs) == 1
        await asyncio.wait(second.runner.runs)

    asyncio.run(main())


def test_an_idle_schedule_costs_one_look_in_cron_max_time() -> None:
    crons, clock = Crons(cron_max_time=60), Clock()
    crons.add("cron", int, "0 0 1 1 *")
    source = source_of(crons)

    async def main() -> None:
        store = Store()
        scheduler = a_scheduler(source, Memory(store=store, host=clock.host), clock)
        await poll(scheduler)
        assert await Memory(store=store, host=clock.host).fresh_for(60) == 60

    asyncio.run(main())


def test_a_process_without_room_leaves_the_gate_to_others() -> None:
    crons, clock, go_on = Crons(), Clock(), asyncio.Event()
    crons.add("long", go_on.wait, 3600)
    crons.add("next", int, 3600)
    source = source_of(crons)

    async def main() -> None:
        store = Store()
        full, free = (a_scheduler(source, Memory(store=store, host=clock.host), clock, concurrency=1) for _ in range(2))
        await poll(full)
        assert len(full.runner.runs) == 1
        await poll(full)
        await poll(free)
        assert len(free.runner.runs) == 1, "what there was no room for is due for everybody at once"
        go_on.set()
        await asyncio.wait({*full.runner.runs, *free.runner.runs})

    asyncio.run(main())


def test_a_tick_looks_whatever_the_gate_says() -> None:
    crons, clock = Crons(), Clock()
    crons.add("cron", int, 1)
    source = source_of(crons)

    async def main() -> None:
        backend = Memory(host=clock.host)
        assert await backend.enter(60)
        scheduler = a_scheduler(source, backend, clock)
        assert await started(scheduler) == ["cron"]
        assert await started(scheduler) == []

    async def started(scheduler: Scheduler) -> list[str]:
        looked = (await scheduler.poll({PollReason.TICK})).came_of_it
        await scheduler.runner.idle()
        assert isinstance(looked, Looked)
        return [run.claim.name for run in looked.started]

    asyncio.run(main())


def test_while_the_store_is_away_requests_are_served_and_it_is_said_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    (tmp_path / "crons.py").write_text('crons = {"often": (int, 0.05)}')
    path = tmp_path / "crons.py"
    store, aside = tmp_path / ".pseudocron", tmp_path / "aside"
    app = PseudoCronMiddleware(hello, crons=path, wait=10)

    async def come() -> None:
        watch(path).deadline = -1
        assert (await visit(app))[0]["status"] == 200

    async def main() -> list[records.Reason | None]:
        await come()
        store.rename(aside)
        store.write_text("no folder any more")
        await come()
        told = time.monotonic()
        while time.monotonic() < told + 0.5:  # ten slots, and the last of them runs when the store is back
            await come()
        (line,) = caplog.messages
        assert line.startswith("poll failed: ")
        assert str(store) in line
        store.unlink()
        aside.rename(store)
        await come()
        backend = watch(path)._backend
        assert backend is not None
        reasons = [run.reason for run in await backend.history()]
        await watch(path).runtime().close()
        return reasons

    assert records.Reason.BACKEND_DOWN in asyncio.run(main())


def test_a_look_that_fails_is_made_good_within_a_second_and_not_after_a_minute() -> None:
    crons, clock = Crons(), Clock()
    crons.add("cron", int, 3600)

    class Broken(Memory):
        async def states(self, *_: object) -> dict[str, object]:  # type: ignore[override]
            raise ZeroDivisionError

    async def main() -> None:
        backend = Broken(host=clock.host)
        scheduler = a_scheduler(source, backend, clock)
        with pytest.raises(ZeroDivisionError):
            await poll(scheduler)
        assert await backend.fresh_for(60) == READ_AGAIN

    source = source_of(crons)
    asyncio.run(main())


def test_a_bug_in_a_look_is_logged_and_the_runtime_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    crons, ran = Crons(backend="memory:"), []
    crons.add("cron", lambda: ran.append(1), 3600)
    crons.settings, tuple(crons)
    seen = Watch(crons)

    async def main() -> None:
        runtime = seen.runtime()
        scheduler = await runtime.open()
        assert scheduler is not None
        look, scheduler.runner.look = scheduler.runner.look, None  # type: ignore[method-assign,assignment]
        await runtime.request_poll(PollReason.REQUEST)
        assert "poll failed: TypeError" in caplog.text
        scheduler.runner.look = look  # type: ignore[method-assign]
        backend = seen._backend
        assert backend is not None
        await backend.lower(crons["cron"]._first_mark(Clock().now), 60)
        await runtime.request_poll(PollReason.REQUEST)
        await until(lambda: ran)
        await runtime.close()

    asyncio.run(main())


def test_a_gate_that_is_just_being_dated_is_tried_again_in_the_same_poll() -> None:
    crons, clock, refused = Crons(), Clock(), list[int]()
    crons.add("cron", int, 3600)

    class Contended(Memory):
        async def enter(self, max_age: float) -> bool:
            if not refused:
                refused.append(1)
                return False
            return await super().enter(max_age)

    source = source_of(crons)

    async def main() -> None:
        scheduler = a_scheduler(source, Contended(host=clock.host), clock)
        polled = await scheduler.poll({PollReason.CAPACITY})
        assert isinstance(polled.came_of_it, Looked), "nobody else may ask for long"
        await scheduler.runner.idle()

    asyncio.run(main())
    assert clock.slept == [0.05]
