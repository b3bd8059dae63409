"""A hook harms nobody: not one that blocks, raises or never ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING

import pytest
from support import until
from worker.world import World

from hooks.fine import fine_every_minute
from pseudocron.backends.model import State
from pseudocron.cli.running import _run
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.hooks import dispatcher
from pseudocron.report import history_of

if TYPE_CHECKING:
    from pseudocron.hooks import Event


def test_hooks_know_their_run_in_a_thread_and_on_the_loop() -> None:
    crons, told = fine_every_minute(), []

    @crons.on("succeeded")
    def plain(event: Event) -> None:
        told.append((threading.current_thread() is threading.main_thread(), current_run().run_id == event.run_id))

    @crons.on("succeeded")
    async def on_loop(event: Event) -> None:
        await asyncio.sleep(0)
        told.append((threading.current_thread() is threading.main_thread(), current_run().run_id == event.run_id))

    asyncio.run(World(crons).poll_all())
    assert sorted(told) == [(False, True), (True, True)]


@pytest.mark.parametrize("error", [ValueError("oh no"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_hook_raises_is_logged_with_its_name_and_the_others_are_told(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    crons = fine_every_minute()
    told: list[Event] = []

    @crons.on("started")
    async def nervous(_event: Event) -> None:
        raise error

    @crons.on("started")
    def clumsy(_event: Event) -> None:
        raise error

    if isinstance(error, Exception):
        crons._hooks.on("started", clumsy, inline=True)
    crons.on("started")(told.append)
    world = World(crons)
    asyncio.run(world.poll_all())
    assert len(told) == 1
    assert "nervous: started of fine" in caplog.text
    assert "clumsy: started of fine" in caplog.text
    assert type(error).__name__ in caplog.text
    (line,) = asyncio.run(history_of(world.backend, limit=99))
    assert line.outcome is State.SUCCEEDED


def test_an_async_hook_that_hangs_is_cancelled_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatcher, "HOOK_TIMEOUT", 0.02)
    crons, ended = fine_every_minute(), []

    @crons.on("started")
    async def endless(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    asyncio.run(World(crons).poll_all())
    assert ended
    assert "endless: started of fine" in caplog.text


def test_events_for_a_hanging_hook_are_dropped_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatcher, "HOOK_TIMEOUT", 0.02)
    crons, go_on, told = fine_every_minute(), threading.Event(), []

    @crons.on("succeeded")
    def stuck(event: Event) -> None:
        told.append(event.slot)
        go_on.wait()

    world = World(crons)

    async def main() -> None:
        for _ in range(3):
            await world.poll_all()
            world.clock.forward(60)
        assert len(told) == 1
        go_on.set()
        (line,) = world.runs.dispatcher._queues.values()
        await until(lambda: not line._is_stuck())
        await world.poll_all()
        assert len(told) == 2

    asyncio.run(main())
    assert "stuck: too slow, 2 events dropped" in caplog.text


def test_only_so_many_events_wait_for_a_slow_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "QUEUE_SIZE", 2)
    crons, go_on, told = Crons(), asyncio.Event(), []

    @crons.task
    async def work() -> None:
        pass

    @crons.on("succeeded")
    async def slow(event: Event) -> None:
        await go_on.wait()
        told.append(event)

    world = World(crons)

    async def main() -> None:
        await world.defer_many("work", 9)
        await world.poll()
        await until(lambda: not world.runs.pool.runs)
        go_on.set()
        await world.runs.idle()

    asyncio.run(main())
    assert 2 <= len(told) <= 3


def test_a_hook_gets_its_events_in_order_though_it_has_several_names() -> None:
    crons, told = fine_every_minute(), []
    world = World(crons)

    @crons.on("succeeded")
    @crons.on("started")
    async def slow_at_first(event: Event) -> None:
        if event.kind == "started":
            await until(lambda: not world.runs.pool.runs)
        told.append(str(event.kind))

    asyncio.run(world.poll_all())
    assert told == ["started", "succeeded"]


def test_a_hook_that_nobody_else_holds_is_told_all_the_same() -> None:
    crons, told = fine_every_minute(), []

    class Observer:
        def tell(self, event: Event) -> None:
            told.append(event)

    crons.on("started")(Observer().tell)
    gc.collect()
    asyncio.run(World(crons).poll_all())
    assert told


def test_a_shutdown_waits_for_hooks_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    crons, told = fine_every_minute(), []

    @crons.on("succeeded")
    async def slow(event: Event) -> None:
        await asyncio.sleep(0.01)
        told.append(event)

    @crons.on("succeeded")
    async def endless(_event: Event) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(dispatcher.Dispatcher.drain, "__defaults__", (0.1,))
    world = World(crons)

    async def main() -> None:
        await world.poll()
        await world.runs.drain(5)

    asyncio.run(main())
    assert told


def test_a_run_by_hand_waits_until_its_hooks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher.Dispatcher.drain, "__defaults__", (0,))
    crons, told = Crons(backend="memory:"), []
    crons.add("fine", lambda: None, 60)

    @crons.on("succeeded")
    async def slow(event: Event) -> None:
        await asyncio.sleep(0.02)
        told.append(event)

    asyncio.run(_run(crons, "fine"))  # type: ignore[arg-type]
    assert told


def test_without_hooks_no_event_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pseudocron.hooks.events.Event", never)
    world = World(fine_every_minute())
    asyncio.run(world.poll_all())
    assert not world.runs.dispatcher.delivering
