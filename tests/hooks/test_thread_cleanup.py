"""Cleanups of threads: called in the thread, after each run or before it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import until, wait_until
from worker.world import World

from pseudocron.backends.model import State
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError
from pseudocron.executors.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """Threads that end after two runs, or 0.3 idle seconds."""
    mine = Threads(idle=0.3, runs=2)
    monkeypatch.setattr("pseudocron.executors.shared_threads", lambda: mine)
    return mine


class Seen:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.threads: list[threading.Thread] = []

    def note(self, what: str) -> None:
        self.seen.append(what)
        self.threads.append(threading.current_thread())

    def run(self) -> None:
        self.note("run")

    async def async_run(self) -> None:
        self.note("run")

    def clean(self) -> None:
        self.note("clean")


def runs(crons: Crons, times: int) -> None:
    world = World(crons)

    async def main() -> None:
        for _ in range(times):
            await world.defer("job")
            await world.poll_all()

    asyncio.run(main())


@pytest.mark.parametrize("ping", [None, "https://hc-ping.com/1"])
def test_it_is_called_in_the_thread_after_each_run_of_a_cron_and_a_job(ping: str | None) -> None:
    crons, seen = Crons(), Seen()
    assert crons.thread_cleanup(seen.clean) == seen.clean
    crons.add("cron", seen.run, 60)
    crons.task("job")(seen.run)
    world = World(crons)

    async def main() -> None:
        await world.poll_all()
        assert seen.seen == ["run", "clean"]
        await world.defer("job")
        await world.poll_all()
        assert seen.seen == ["run", "clean"] * 2

    asyncio.run(main())
    assert len(set(seen.threads)) == 1
    assert threading.main_thread() not in seen.threads


def test_it_is_called_after_the_middleware_and_knows_the_run() -> None:
    crons, seen = Crons(), Seen()

    @crons.thread_cleanup()
    def clean() -> None:
        seen.note(f"clean {current_run().name}")

    @crons.middleware
    def middleware() -> Iterator[None]:
        yield
        seen.note("leave")

    crons.task("job")(seen.run)
    runs(crons, 1)
    assert seen.seen == ["run", "leave", "clean job"]


def test_without_each_run_it_is_called_before_the_thread_ends() -> None:
    crons, seen = Crons(), Seen()
    crons.thread_cleanup(each_run=False)(seen.clean)
    crons.task("job")(seen.run)
    runs(crons, 2)
    wait_until(lambda: len(seen.seen) == 3)
    assert seen.seen == ["run", "run", "clean"]
    assert len(set(seen.threads)) == 1
    runs(crons, 1)
    wait_until(lambda: len(seen.seen) == 5, 2)
    assert seen.seen[3:] == ["run", "clean"], "the thread was idle for too long"
    wait_until(lambda: not any(thread.is_alive() for thread in seen.threads))


def test_it_is_called_in_a_thread_that_has_outlived_its_timeout() -> None:
    crons, seen, let_go = Crons(), Seen(), threading.Event()
    crons.thread_cleanup(seen.clean)
    crons.thread_cleanup(each_run=False)(lambda: seen.note("end"))

    @crons.task(timeout=0.05, retries=0)
    def stuck() -> None:
        let_go.wait(5)
        seen.run()

    world = World(crons)

    async def main() -> None:
        job_id = await world.defer("stuck")
        await world.poll_all()
        assert (await world.run(job_id)).state is State.TIMED_OUT
        assert not seen.seen
        let_go.set()
        await until(lambda: seen.seen == ["run", "clean", "end"])
        await until(lambda: not world.runs.pool.lingering)

    asyncio.run(main())
    assert len(set(seen.threads)) == 1


def test_it_is_not_called_for_a_coroutine() -> None:
    crons, seen = Crons(), Seen()
    crons.thread_cleanup(seen.clean)
    crons.task("job")(seen.async_run)
    runs(crons, 1)
    assert seen.seen == ["run"]


def test_it_is_not_called_in_the_thread_that_waits_for_a_child_process() -> None:
    crons, seen = Crons(), Seen()
    crons.thread_cleanup(seen.clean)
    crons.add("cron", "builtins:int", 60, executor="process")
    asyncio.run(World(crons).poll_all())
    assert not seen.seen


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_what_it_raises_is_logged_and_changes_no_outcome(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    crons, seen = Crons(), Seen()

    @crons.thread_cleanup
    def broken() -> None:
        raise error("no such connection")

    crons.thread_cleanup(seen.clean)
    crons.task("job")(seen.run)
    world = World(crons)

    async def main() -> None:
        job_id = await world.defer("job")
        await world.poll_all()
        assert (await world.run(job_id)).state is State.SUCCEEDED

    with caplog.at_level(logging.ERROR, "pseudocron"):
        asyncio.run(main())
    assert seen.seen == ["run", "clean"]
    (record,) = caplog.records
    assert "broken: failed" in record.message
    assert "no such connection" in caplog.text


async def _coroutine() -> None:
    pass


def _generator() -> Iterator[None]:
    yield


@pytest.mark.parametrize("function", [_coroutine, _generator, 5, "shop:close"])
def test_what_is_no_plain_function_is_refused(function: Any) -> None:
    with pytest.raises(ConfigError, match="thread_cleanup: "):
        Crons().thread_cleanup(function)
