"""Cancelled runs: what of them continues, how one is notified of its end, and how long that takes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from executors.executing import RUN, call, is_gone, kill, until, wait_until
from executors.test_processes import outlives, pids
from pseudocron.executors import CutOff, Lingering, child_process, execute, graces
from pseudocron.executors.tasks import held
from pseudocron.hooks import RunMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import Path

    from pseudocron.executors import Call

    Write = Callable[..., Path]


@contextmanager
def plain() -> Generator[None]:
    yield


@asynccontextmanager
async def asynchronous() -> AsyncGenerator[None]:
    yield


PLAIN, ASYNCHRONOUS = (
    RunMiddleware(plain, "plain", is_async=False),
    RunMiddleware(asynchronous, "asynchronous", is_async=True),
)


async def cut_off(condition: Callable[[], bool], what: Call, *, within: float = 1) -> Lingering | None:
    """Cancel a run when the condition holds; what lingers then."""

    async def run() -> Lingering | None:
        with pytest.raises(CutOff) as raised:
            await execute(what, RUN)
        return raised.value.lingering

    task = asyncio.create_task(run())
    await until(condition)
    before = time.monotonic()
    task.cancel()
    lingering = await task
    assert time.monotonic() - before < within
    return lingering


def asked_elsewhere(lingering: Lingering) -> bool:
    """What another thread learns."""
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(lingering.is_over()))
    thread.start()
    thread.join()
    return answers[0]


@pytest.mark.parametrize(
    "middlewares", [[], [PLAIN], [ASYNCHRONOUS], [ASYNCHRONOUS, PLAIN]], ids=["bare", "plain", "asynchronous", "both"]
)
def test_a_cancelled_thread_lingers_until_it_returns(middlewares: list[RunMiddleware]) -> None:
    started, let_go = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        let_go.wait(10)

    async def main() -> None:
        lingering = await cut_off(started.is_set, call(work)._replace(middlewares=middlewares), within=1)
        assert lingering
        assert not asked_elsewhere(lingering)
        assert not lingering.future.done()
        let_go.set()
        await asyncio.wait_for(lingering.future, 1)
        assert asked_elsewhere(lingering)

    asyncio.run(main(), debug=True)


def test_a_thread_is_known_to_be_over_when_its_loop_is_closed() -> None:
    started, let_go = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        let_go.wait(10)

    lingering = asyncio.run(cut_off(started.is_set, call(work)))
    assert lingering
    assert not lingering.is_over()
    let_go.set()
    wait_until(lingering.is_over, within=1)


def test_a_timed_out_thread_is_known_to_be_over_without_its_loop() -> None:
    let_go = threading.Event()
    lingering = asyncio.run(execute(call(let_go.wait, timeout=0.05), RUN)).lingering
    assert lingering
    assert not lingering.is_over()
    let_go.set()
    wait_until(lingering.is_over, within=1)


def test_a_coroutine_that_resists_its_cancellation_lingers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graces, "CANCEL", 0.1)
    seen: list[str] = []

    async def main() -> None:
        let_go = asyncio.Event()

        async def resist() -> None:
            seen.append("started")
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    seen.append("swallowed")

        lingering = await cut_off(lambda: bool(seen), call(resist), within=1)
        assert lingering
        assert seen == ["started", "swallowed"]
        assert not asked_elsewhere(lingering)
        let_go.set()
        await asyncio.wait_for(lingering.future, 1)
        assert asked_elsewhere(lingering)

    asyncio.run(main(), debug=True)


def test_a_coroutine_is_over_when_its_loop_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graces, "TIMEOUT", 0.05)
    loop = asyncio.new_event_loop()

    async def resist() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    lingering = loop.run_until_complete(execute(call(resist, timeout=0.05), RUN)).lingering
    assert lingering
    assert not lingering.is_over()
    (task,) = asyncio.all_tasks(loop)
    loop.close()
    assert lingering.is_over()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    task.get_coro().close()
    held.discard(task)


def test_nothing_lingers_of_a_coroutine_that_ends_when_cancelled() -> None:
    started = threading.Event()

    async def endless() -> None:
        started.set()
        await asyncio.sleep(60)

    assert asyncio.run(cut_off(started.is_set, call(endless), within=1)) is None


def test_nothing_lingers_of_a_child_that_was_killed(write: Write, tmp_path: Path) -> None:
    told = tmp_path / "told"
    what = call(outlives(write, on_term="signal.SIG_IGN"), told)
    assert asyncio.run(cut_off(told.exists, what, within=1.5)) is None
    assert all(map(is_gone, pids(told)))


@pytest.mark.parametrize("middlewares", [[], [replace(ASYNCHRONOUS, children=True)]], ids=["bare", "inside"])
def test_a_child_whose_supervisor_is_stopped_lingers(
    write: Write, tmp_path: Path, middlewares: list[RunMiddleware]
) -> None:
    told = tmp_path / "told"

    def is_stopped() -> bool:
        if told.exists():
            os.kill(pids(told)[2], signal.SIGSTOP)
        return told.exists()

    async def main() -> None:
        what = call(outlives(write), told)._replace(middlewares=middlewares)
        before = time.monotonic()
        lingering = await cut_off(is_stopped, what, within=4)
        assert time.monotonic() - before >= 2
        assert lingering
        assert not asked_elsewhere(lingering)
        os.kill(pids(told)[2], signal.SIGCONT)
        await asyncio.wait_for(lingering.future, 2)
        assert asked_elsewhere(lingering)
        assert all(map(is_gone, pids(told)))

    asyncio.run(main(), debug=True)


def test_a_supervisor_that_reads_nothing_never_blocks_the_loop(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "import os, pathlib, time; pathlib.Path({!r}).write_text(str(os.getpid())); time.sleep(60)"
    told = tmp_path / "told"
    monkeypatch.setattr(child_process, "_SUPERVISOR", str(write(deaf.format(str(told)))))
    monkeypatch.setattr(graces, "CANCEL", 0.2)

    def ready() -> bool:
        return told.exists() and bool(told.read_text())

    async def main() -> None:
        more_than_a_pipe_holds = "x" * 1_000_000
        lingering = await cut_off(ready, call("shop:paint", more_than_a_pipe_holds, process=True), within=1)
        assert lingering
        kill(int(told.read_text()))
        await asyncio.wait_for(lingering.future, 1)

    asyncio.run(main(), debug=True)
