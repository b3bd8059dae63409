"""Context managers about runs: entered where the run runs, left whatever becomes of it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from support import until
from worker.world import World

from pseudocron.backends.model import State
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError
from pseudocron.report import HistoryLine, history_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hooks.conftest import Play

session: ContextVar[str] = ContextVar("session")


class Scenes:
    """What happened, and in which thread; ways to be about a run."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def note(self, what: str) -> None:
        where = "loop" if threading.current_thread() is threading.main_thread() else "thread"
        self.seen.append(f"{what} on {where}")

    def plain(self) -> Iterator[None]:
        session.set(current_run().name)
        self.note("enter")
        try:
            yield
        except ValueError:
            self.note("roll back")
            raise
        finally:
            self.note("leave")

    async def asynchronous(self) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        session.set(current_run().name)
        self.note("enter")
        try:
            yield
        finally:
            await asyncio.sleep(0)
            self.note("leave")


def last(world: World) -> HistoryLine:
    (line,) = asyncio.run(history_of(world.backend, limit=99))
    return line


@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
@pytest.mark.parametrize("decorated", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_it_is_entered_where_the_run_runs(kind: str, *, decorated: bool, is_async: bool) -> None:
    crons, scenes = Crons(), Scenes()
    make: Any = getattr(scenes, kind)
    if decorated:
        make = contextmanager(make) if kind == "plain" else asynccontextmanager(make)
    assert crons.middleware(make) is make

    def work() -> None:
        scenes.note(f"work in {session.get()}")

    async def async_work() -> None:
        work()

    crons.add("cron", async_work if is_async else work, 60)
    crons.task("job")(async_work if is_async else work)
    world = World(crons)

    async def main() -> None:
        await world.poll_all()
        await world.defer("job")
        await world.poll_all()

    asyncio.run(main())
    inside = "loop" if is_async else "thread"
    outside = inside if kind == "plain" else "loop"
    assert scenes.seen == [
        f"{what} on {where}"
        for name in ("cron", "job")
        for what, where in (("enter", outside), (f"work in {name}", inside), ("leave", outside))
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_it_is_left_by_what_a_run_raises_on_each_store(play: Play, *, is_async: bool) -> None:
    crons, scenes = Crons(), Scenes()
    crons.middleware(scenes.plain)

    def broken() -> None:
        raise ValueError

    async def async_broken() -> None:
        raise ValueError

    crons.add("cron", async_broken if is_async else broken, 60)
    where = "loop" if is_async else "thread"

    async def story(world: World) -> None:
        await world.poll_all()
        (line,) = await history_of(world.backend, limit=99)
        assert line.outcome is State.FAILED
        assert scenes.seen == [f"{what} on {where}" for what in ("enter", "roll back", "leave")]

    play(crons, story)


@pytest.mark.parametrize("is_async", [False, True])
def test_what_it_swallows_is_a_failure_all_the_same(*, is_async: bool) -> None:
    crons = Crons()

    @crons.middleware
    def forgiving() -> Iterator[None]:
        with suppress(ValueError):
            yield

    def broken() -> None:
        raise ValueError("oh no")

    async def async_broken() -> None:
        raise ValueError("oh no")

    crons.add("cron", async_broken if is_async else broken, 60)
    world = World(crons)
    asyncio.run(world.poll_all())
    assert "oh no" in (last(world).error or "")


def test_several_are_entered_in_order_and_left_in_reverse() -> None:
    crons, seen = Crons(), []

    @crons.middleware
    def outer() -> Iterator[None]:
        seen.append("outer")
        yield
        seen.append("outer out")

    @crons.middleware
    class Inner:
        def __enter__(self) -> None:
            seen.append("inner")

        def __exit__(self, *_: object) -> None:
            seen.append("inner out")

    crons.add("cron", lambda: seen.append("run"), 60)
    asyncio.run(World(crons).poll_all())
    assert seen == ["outer", "inner", "run", "inner out", "outer out"]


def test_one_that_can_not_be_entered_is_the_failure_of_the_run() -> None:
    crons, ran = Crons(), []
    crons.middleware(dict)
    crons.add("cron", lambda: ran.append(1), 60)
    world = World(crons)
    asyncio.run(world.poll_all())
    assert not ran
    assert "dict: made a dict, must make a context manager" in (last(world).error or "")


def test_each_try_has_its_own() -> None:
    crons, scenes = Crons(), Scenes()
    crons.middleware(scenes.plain)

    @crons.every(60, retries=2)
    async def broken() -> None:
        raise ValueError

    world = World(crons)

    async def main() -> None:
        for _ in range(3):
            await world.poll_all()
            world.clock.forward(5)

    asyncio.run(main())
    assert scenes.seen.count("enter on loop") == scenes.seen.count("leave on loop") == 3


def test_an_async_one_outlasts_the_thread_that_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pseudocron.executors.graces.TIMEOUT", 0.02)
    crons, scenes, go_on = Crons(), Scenes(), threading.Event()
    crons.middleware(scenes.asynchronous)

    @crons.task(timeout=0.02, retries=0)
    def stuck() -> None:
        go_on.wait()

    world = World(crons)

    async def main() -> None:
        job_id = await world.defer("stuck")
        await world.poll()
        await until(lambda: bool(scenes.seen))
        await asyncio.wait([run.over() for run in world.runs.pool.runs], timeout=0.2)
        assert scenes.seen == ["enter on loop"]
        go_on.set()
        await asyncio.wait(world.runs.pool.lingering, timeout=1)
        assert scenes.seen == ["enter on loop", "leave on loop"]
        assert (await world.run(job_id)).state is State.TIMED_OUT

    asyncio.run(main())


async def _coroutine() -> None:
    pass


@pytest.mark.parametrize("make", [_coroutine, None, "shop:session"])
def test_what_can_not_make_a_context_manager_is_refused(make: Any) -> None:
    with pytest.raises(ConfigError, match="middleware: "):
        Crons().middleware(make)
