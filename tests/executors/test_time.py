"""Promises about time: how long a run may take, and how long it then has to end. All numbers are literal."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from executors.executing import RUN, call, wait_until
from executors.test_processes import outlives, pids
from pseudocron.backends.model import State
from pseudocron.executors import CutOff, Ended, child_process, execute
from pseudocron.executors.child_process import Child, Command
from pseudocron.hooks import RunMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping

    from pseudocron.executors import Call

    Write = Callable[..., Path]


def timed(what: Call) -> tuple[Ended, float]:
    """The end of a run, and the seconds that it took."""

    async def main() -> tuple[Ended, float]:
        before = time.monotonic()
        end = await execute(what, RUN)
        return end, time.monotonic() - before

    return asyncio.run(main())


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    timer = threading.Timer(8, event.set)  # so that a run that is not timed out fails and does not hang
    timer.start()
    yield event
    event.set()
    timer.cancel()


@asynccontextmanager
async def session() -> AsyncGenerator[None]:
    yield


# The timeout


@pytest.mark.alone
@pytest.mark.parametrize("awaited", [False, True], ids=["coroutine", "awaitable of a plain function"])
def test_a_coroutine_is_timed_out_when_its_time_is_over(*, awaited: bool) -> None:
    target = (lambda: asyncio.sleep(8)) if awaited else asyncio.sleep
    end, took = timed(call(target, *([] if awaited else [8]), timeout=0.3))
    assert 0.3 <= took < 0.6
    assert end.outcome is State.TIMED_OUT


@pytest.mark.alone
@pytest.mark.parametrize("inside", [False, True], ids=["bare", "inside an async context manager"])
def test_a_thread_is_timed_out_when_its_time_is_over(let_go: threading.Event, *, inside: bool) -> None:
    async def main() -> tuple[Ended, float]:
        middlewares = [RunMiddleware(session, "session", is_async=True)] if inside else []
        before = time.monotonic()
        end = await execute(call(let_go.wait, timeout=0.3)._replace(middlewares=middlewares), RUN)
        took = time.monotonic() - before
        let_go.set()
        return end, took

    end, took = asyncio.run(main())
    assert 0.3 <= took < 0.6
    assert end.outcome is State.TIMED_OUT


@pytest.mark.alone
def test_a_script_is_timed_out_when_its_time_is_over(write: Write) -> None:
    end, took = timed(call(write("import time; time.sleep(8)"), timeout=0.5))
    assert 0.5 <= took < 1.4
    assert end.outcome is State.TIMED_OUT


@pytest.mark.alone
def test_a_function_in_a_process_is_timed_out_when_its_time_is_over() -> None:
    end, took = timed(call("time:sleep", 8, process=True, timeout=0.5))
    assert 0.5 <= took < 1.4
    assert end.outcome is State.TIMED_OUT


# What a run has then to end


class Skipping(asyncio.SelectorEventLoop):
    """An event loop that never waits: its clock moves on to what is due next."""

    def __init__(self) -> None:
        super().__init__(_Impatient(self))
        self.skipped = 0.0

    def time(self) -> float:
        return super().time() + getattr(self, "skipped", 0.0)


class _Impatient(selectors.SelectSelector):
    def __init__(self, loop: Skipping) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.skipped += timeout or 0.0
        return super().select(0)


def skipping(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Skipping) as runner:
        runner.run(main)


async def resisting(let_go: asyncio.Event) -> None:
    while not let_go.is_set():
        try:
            await let_go.wait()
        except asyncio.CancelledError:
            continue


def test_a_coroutine_that_resists_its_timeout_has_five_seconds() -> None:
    async def main() -> None:
        loop, let_go = asyncio.get_running_loop(), asyncio.Event()
        before = loop.time()
        end = await execute(call(resisting, let_go, timeout=100), RUN)
        took = loop.time() - before
        let_go.set()
        assert 105 <= took < 106
        assert end.outcome is State.TIMED_OUT

    skipping(main())


def test_a_coroutine_that_resists_its_cancellation_has_two_seconds() -> None:
    async def main() -> None:
        loop, let_go = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.create_task(execute(call(resisting, let_go), RUN))
        await asyncio.sleep(1)
        before = loop.time()
        task.cancel()
        with pytest.raises(CutOff):
            await task
        took = loop.time() - before
        let_go.set()
        assert 2 <= took < 3

    skipping(main())


@pytest.mark.alone
def test_a_script_that_ignores_its_timeout_has_its_grace(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_TIMEOUT_GRACE", 1.0)
    end, took = timed(call(outlives(write, on_term="signal.SIG_IGN"), tmp_path / "told", timeout=0.5))
    assert 1.5 <= took < 2.5
    assert end.outcome is State.TIMED_OUT


def spec() -> Mapping[str, Any]:
    """What a supervisor is given."""
    child = Child(command=lambda: Command(argv=["true"]), environ={}, timeout=0.5)
    given: Mapping[str, Any] = json.loads(child._spec(Command(argv=["true"])))
    return given


def test_a_script_has_five_seconds_after_its_timeout_and_64_kib() -> None:
    assert (spec()["timeout"], spec()["grace"], spec()["keep"]) == (0.5, 5, 65536)


# Whoever ends besides

SERVER = """
import asyncio, json, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from executors.executing import RUN, call
from pseudocron.executors import execute

for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(signum, lambda *_: None)
print(asyncio.run(execute(call(*map(Path, sys.argv[1:])), RUN)).outcome)
"""


def server(script: Path, *paths: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", SERVER.format(folder=str(Path(__file__).parents[1])), *map(str, [script, *paths])]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.alone
def test_a_script_has_half_a_second_to_clean_up_after_its_server(write: Write, tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    script = outlives(
        write,
        on_term="lambda *_: (__import__('time').sleep(0.25), pathlib.Path(sys.argv[2]).touch(), os._exit(0))",
    )
    with server(script, tmp_path / "told", cleaned) as process:
        pids(tmp_path / "told")
        process.kill()
    wait_until(cleaned.exists, within=1)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_servers_group_does_not_reach_a_script(write: Write, tmp_path: Path, signum: int) -> None:
    told, go = tmp_path / "told", tmp_path / "go"
    waits = "exec('import time\\nwhile not os.path.exists(sys.argv[2]): time.sleep(0.01)')"
    with server(outlives(write, work=waits), told, go) as process:
        supervisor = pids(told)[2]
        assert os.getsid(supervisor) == supervisor != os.getsid(process.pid) == process.pid
        os.killpg(process.pid, signum)
        go.touch()
        output, _ = process.communicate(timeout=5)
    assert output == "succeeded\n"
