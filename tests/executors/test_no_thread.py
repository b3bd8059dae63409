"""A process that can start no thread: each run ends all the same, as a failure that says why."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from executors.executing import ended
from pseudocron import host
from pseudocron.backends.model import State

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import asyncio, json, resource, sys, threading
from contextlib import asynccontextmanager, contextmanager
sys.path.insert(0, {folder!r})
from executors.executing import RUN, call
from pseudocron.executors import execute
from pseudocron.hooks import RunMiddleware

@contextmanager
def plain():
    yield

@asynccontextmanager
async def asynchronous():
    yield

async def fails():
    raise ValueError("no such book")

async def main():
    threading.stack_size(1 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
    middleware = (
        RunMiddleware(asynchronous, "", is_async=True, children=True),
        RunMiddleware(plain, "", is_async=False, children=True),
    )
    what = {what}
    ended = await asyncio.wait_for(execute(what, RUN), 1)
    print(json.dumps([ended.outcome, ended.error, repr(ended.raised), ended.lingering]))

asyncio.run(main())
"""


def without_threads(what: str) -> list[Any]:
    """The outcome, the error, what was raised and what lingers of a run."""
    program = PROGRAM.format(folder=str(Path(__file__).parents[1]), what=what)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    result: list[Any] = json.loads(done.stdout)
    return result


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process so")
@pytest.mark.parametrize(
    "what",
    [
        "call(print)",
        "call(print)._replace(middlewares=middleware[1:])",
        "call(print)._replace(middlewares=middleware)",
        "call('shop:paint', process=True)",
        "call('shop:paint', process=True)._replace(middlewares=middleware)",
    ],
    ids=["thread", "inside plain", "inside both", "process", "process inside both"],
)
def test_a_run_whose_thread_does_not_start_has_failed(what: str) -> None:
    outcome, error, _, lingering = without_threads(what)
    assert (outcome, lingering) == (State.FAILED, None)
    assert "can't start new thread" in error


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process so")
def test_a_failure_is_told_when_no_thread_formats_it() -> None:
    outcome, error, raised, _ = without_threads("call(fails)")
    assert (outcome, raised) == (State.FAILED, "ValueError('no such book')")
    assert error.splitlines() == ['  File "<string>", line 18, in fails', "ValueError: no such book"]


@pytest.fixture
def _four_calls_that_hang() -> Iterator[None]:
    let_go = threading.Event()
    host._threads.cache_clear()
    threads = host._threads()
    for _ in range(4):
        thread = threading.Thread(target=let_go.wait, daemon=True)
        thread.start()
        threads._threads.append(thread)
    yield
    let_go.set()
    host._threads.cache_clear()


@pytest.mark.usefixtures("_four_calls_that_hang")
def test_a_failure_waits_two_seconds_for_a_thread_that_formats_it() -> None:
    async def fails() -> None:
        raise ValueError("no such book")

    before = time.monotonic()
    end = ended(fails)
    assert 2 <= time.monotonic() - before < 4
    assert (end.outcome, repr(end.raised)) == (State.FAILED, "ValueError('no such book')")
    assert (end.error or "").endswith("in fails\nValueError: no such book\n")


class Unawaitable:
    def __await__(self) -> Iterator[None]:
        raise ValueError("no such book")


def test_a_target_that_returns_a_broken_awaitable_has_failed() -> None:
    end = ended(Unawaitable)
    assert end.outcome is State.FAILED
    assert (end.error or "").endswith("ValueError: no such book\n")


class BrokenTarget:
    def __call__(self) -> None:
        raise SystemExit("no such book")


@pytest.mark.parametrize("target", [BrokenTarget(), 5], ids=["exits", "number"])
def test_a_target_that_raises_when_it_is_called_has_failed(target: Any) -> None:
    end = ended(target)
    assert end.outcome is State.FAILED
