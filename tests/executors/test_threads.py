"""The threads of plain functions: reused, renamed, given up, ended, and forgetful."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from executors.executing import RUN, call, cancelled_when, ended, until, wait_until
from pseudocron.backends.model import State
from pseudocron.executors import execute
from pseudocron.executors.threads import Threads, ThreadWork, shared_threads

if TYPE_CHECKING:
    from collections.abc import Callable

colour: ContextVar[str] = ContextVar("colour", default="none")


class Seen:
    """The threads in which it was called, and their names at that time."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.names: list[str] = []

    def __call__(self, work: Callable[[], object] = lambda: None) -> None:
        self.threads.append(threading.current_thread())
        self.names.append(threading.current_thread().name)
        work()


async def succeed(*args: Any, times: int = 1, run: Any = RUN, **options: Any) -> None:
    for _ in range(times):
        assert (await execute(call(*args, **options), run)).outcome is State.SUCCEEDED


def use(monkeypatch: pytest.MonkeyPatch, mine: Threads) -> Threads:
    monkeypatch.setattr("pseudocron.executors.shared_threads", lambda: mine)
    return mine


# Reuse


def test_runs_one_after_the_other_need_one_daemon_thread() -> None:
    seen = Seen()
    asyncio.run(succeed(seen, times=50), debug=True)
    assert len(set(seen.threads)) == 1
    assert seen.threads[0].daemon


def test_runs_of_several_event_loops_share_their_threads() -> None:
    seen = Seen()
    for _ in range(3):
        asyncio.run(succeed(seen))
    assert len(set(seen.threads)) == 1


def test_runs_at_once_have_a_thread_each_and_later_ones_need_no_other() -> None:
    seen, all_are_there = Seen(), threading.Barrier(20, timeout=5)

    async def main() -> None:
        for _ in range(3):
            await asyncio.gather(*(succeed(seen, all_are_there.wait) for _ in range(20)))

    asyncio.run(main(), debug=True)
    assert len(seen.threads) == 60
    assert len(set(seen.threads)) == 20


def test_a_thread_has_the_name_of_its_run_and_of_no_run_while_it_is_idle() -> None:
    seen = Seen()

    async def main() -> None:
        await succeed(seen)
        assert seen.threads[0].name == "pseudocron"
        await succeed(seen, run=replace(RUN, name="report"))
        assert seen.threads[0].name == "pseudocron"

    asyncio.run(main(), debug=True)
    assert len(set(seen.threads)) == 1
    assert seen.names == ["pseudocron digest", "pseudocron report"]


def test_no_context_variable_of_a_run_is_seen_by_the_next_one() -> None:
    seen: list[str] = []

    def work() -> None:
        seen.append(colour.get())
        colour.set("red")

    asyncio.run(succeed(work, times=2), debug=True)
    assert seen == ["none"] * 2


class Big:
    """Something to refer to."""


@pytest.mark.parametrize("fails", [False, True])
def test_an_idle_thread_refers_to_nothing_of_its_last_run(*, fails: bool) -> None:
    references: list[weakref.ref[Any]] = []
    event = threading.Event()

    def make() -> Any:
        big, argument, local = Big(), Big(), Big()

        def work(argument: Big) -> Any:
            colour.set(local)  # type: ignore[arg-type]
            if fails:
                raise ValueError(big, argument)
            return big, argument

        references.extend(map(weakref.ref, (big, argument, local, work)))
        return call(work, argument, timeout=1000)

    async def main() -> None:
        gc.disable()  # so that not even a cycle may hold them
        try:
            end = await execute(make(), RUN)
            assert (end.raised is not None) == fails
            del end
            await until(lambda: not any(reference() for reference in references))
            await succeed(event.set)
        finally:
            gc.enable()

    asyncio.run(main())
    assert len(shared_threads().idle) == 1


# Their end


def test_a_thread_ends_after_a_hundred_runs() -> None:
    seen = Seen()
    asyncio.run(succeed(seen, times=250))
    counts = [seen.threads.count(thread) for thread in dict.fromkeys(seen.threads)]
    assert counts == [100, 100, 50]
    wait_until(lambda: [thread.is_alive() for thread in dict.fromkeys(seen.threads)] == [False, False, True])


class Waits(SimpleQueue[ThreadWork]):
    """A queue whose time passes when a test says so."""

    asked: ClassVar[list[Any]]
    is_over: ClassVar[threading.Event]

    def get(self, block: bool = True, timeout: float | None = None) -> ThreadWork:  # noqa: FBT001, FBT002
        self.asked.append(timeout)
        while self.empty():
            if timeout is not None and self.is_over.wait(0.005):
                raise Empty
        return super().get(block)


@pytest.fixture
def waits() -> type[Waits]:
    class Here(Waits):
        asked: ClassVar[list[Any]] = []
        is_over: ClassVar[threading.Event] = threading.Event()

    return Here


def test_a_thread_ends_after_ten_idle_seconds(monkeypatch: pytest.MonkeyPatch, waits: type[Waits]) -> None:
    mine, seen = use(monkeypatch, Threads(queue=waits)), Seen()
    asyncio.run(succeed(seen, times=2))
    assert waits.asked[:2] == [10, 10]
    assert seen.threads[0].is_alive()
    waits.is_over.set()
    wait_until(lambda: not seen.threads[0].is_alive())
    assert not mine.idle
    waits.is_over.clear()
    asyncio.run(succeed(seen))
    assert len(set(seen.threads)) == 2
    waits.is_over.set()


def test_an_idle_thread_ends_by_the_real_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Threads(idle=0.2))
    seen = Seen()
    asyncio.run(succeed(seen))
    before = time.monotonic()
    seen.threads[0].join(5)
    assert not seen.threads[0].is_alive()
    assert 0.1 < time.monotonic() - before < 1


def test_a_thread_that_gets_a_run_when_its_time_is_over_makes_it() -> None:
    """Between the end of its wait and its leaving, somebody has taken it from the idle ones."""

    class Late(SimpleQueue[ThreadWork]):
        waits = 0

        def get(self, block: bool = True, timeout: float | None = None) -> ThreadWork:  # noqa: FBT001, FBT002
            Late.waits += 1
            if Late.waits == 2:
                self.put(super().get())  # what was put by one who has taken this thread
                raise Empty
            return super().get(block, timeout)

    mine, seen = Threads(queue=Late), Seen()

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patch:
            use(patch, mine)
            async with asyncio.timeout(5):
                await succeed(seen, times=2)

    asyncio.run(main())
    assert len(seen.threads) == 2


# Given up


def test_a_thread_that_outlives_its_timeout_is_never_reused() -> None:
    seen, let_go, over = Seen(), threading.Event(), threading.Event()

    def slow() -> str:
        seen(lambda: let_go.wait(5))
        over.set()
        return "late"

    async def main() -> None:
        end = await execute(call(slow, timeout=0.05), RUN)
        assert end.outcome is State.TIMED_OUT
        successor = asyncio.create_task(execute(call(seen, lambda: over.wait(5)), RUN))
        await until(lambda: len(seen.threads) == 2)
        let_go.set()
        assert end.lingering
        await asyncio.wait_for(end.lingering.future, 1)
        assert (await successor).outcome is State.SUCCEEDED
        await succeed(seen, times=3)

    asyncio.run(main(), debug=True)
    assert len(set(seen.threads)) == 2
    assert seen.threads.count(seen.threads[0]) == 1
    wait_until(lambda: not seen.threads[0].is_alive())


def test_a_late_answer_reaches_no_successor_of_the_same_name() -> None:
    let_go = threading.Event()

    async def late() -> None:
        raise AssertionError("the awaitable of another run")

    def slow() -> Any:
        let_go.wait(5)
        return late()

    async def main() -> None:
        first = await execute(call(slow, timeout=0.05), RUN)
        ends = [asyncio.create_task(execute(call(time.sleep, 0.2), RUN)) for _ in range(5)]
        await asyncio.sleep(0)
        let_go.set()
        assert first.lingering
        await asyncio.wait_for(first.lingering.future, 1)
        assert not any(end.done() for end in ends)
        assert [(await end).outcome for end in ends] == [State.SUCCEEDED] * 5

    asyncio.run(main(), debug=True)


def test_a_thread_whose_run_is_cancelled_is_never_reused() -> None:
    seen, let_go = Seen(), threading.Event()

    async def main() -> None:
        work = execute(call(seen, lambda: let_go.wait(5)), RUN)
        assert (await cancelled_when(lambda: bool(seen.threads), work)).cancelled()
        let_go.set()
        await until(lambda: not seen.threads[0].is_alive())
        await succeed(seen)

    asyncio.run(main(), debug=True)
    assert len(set(seen.threads)) == 2


# Processes

PROGRAM = """
import asyncio, os, sys, threading, time
sys.path.insert(0, {folder!r})
from executors.executing import RUN, call
from pseudocron.executors import execute

async def run(function, **options):
    return (await asyncio.wait_for(execute(call(function, **options), RUN), 5)).outcome

"""


def printed(program: str) -> str:
    text = PROGRAM.format(folder=str(Path(__file__).parents[1])) + program
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_fork_has_new_threads() -> None:
    output = printed("""
print(asyncio.run(run(int)), flush=True)
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(asyncio.run(run(int)), threading.active_count())
""")
    assert output == "succeeded\nsucceeded 2\n"


def test_a_fork_of_a_run_ends_as_soon_as_its_function_returns() -> None:
    before = time.monotonic()
    output = printed("""
def forks():
    if child := os.fork():
        os.waitpid(child, 0)

before = time.monotonic()
print(asyncio.run(run(forks)), time.monotonic() - before < 3)
""")
    assert output == "succeeded True\n"
    assert time.monotonic() - before < 6


@pytest.mark.parametrize("function", ["int", "lambda: time.sleep(60)"], ids=["idle", "busy"])
def test_no_thread_keeps_a_process_from_exiting(function: str) -> None:
    before = time.monotonic()
    assert printed(f"print(asyncio.run(run({function}, timeout=0.2)))") in {"succeeded\n", "timed_out\n"}
    assert time.monotonic() - before < 5


def test_a_child_process_is_waited_for_in_a_reused_thread() -> None:
    seen = Seen()

    async def main() -> None:
        await succeed(seen)
        await execute(call("__main__:paint", process=True), RUN)  # which fails in the thread
        assert len(shared_threads().idle) == 1
        await succeed(seen)

    asyncio.run(main())
    assert len(set(seen.threads)) == 1


def test_the_threads_of_a_process_are_for_a_hundred_runs_and_ten_seconds() -> None:
    assert (shared_threads().runs, shared_threads().idle_seconds) == (100, 10)


def test_whatever_a_function_raises_leaves_its_thread_for_the_next_run() -> None:
    seen = Seen()

    def fail() -> None:
        seen()
        raise SystemExit(1)

    assert ended(fail).outcome is State.FAILED
    assert ended(seen).outcome is State.SUCCEEDED
    assert len(set(seen.threads)) == 1
