"""Short blocking calls off the event loop: they hold up neither each other nor the end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from typing import Any

import pytest

from executors.executing import until, wait_until
from pseudocron import host
from pseudocron.host import hop

colour: ContextVar[str] = ContextVar("colour", default="none")


@pytest.fixture(autouse=True)
def _threads_of_its_own() -> None:
    host._threads.cache_clear()


def printed(program: str, *, within: float = 10) -> str:
    """What a process of its own prints; it ends well, in time, and warns of nothing."""
    imports = "import asyncio, os, sys, threading, time\nfrom pseudocron.host import hop\n"
    # Python warns of each fork of a process that has threads.
    argv = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", imports + program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=within, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_process_ends_although_a_call_hangs() -> None:
    output = printed("""
async def main():
    hop(time.sleep, 30)
    await hop(int)

asyncio.run(main())
print(time.time())
""")
    assert time.time() - float(output) < 2


def test_a_call_returns_what_the_function_returns() -> None:
    async def main() -> None:
        assert await hop(divmod, 7, 3) == (2, 1)
        assert await hop(threading.current_thread) is not threading.main_thread()

    asyncio.run(main(), debug=True)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_whatever_a_call_raises_reaches_who_awaits_it(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("the reason")

    async def main() -> None:
        with pytest.raises(error):
            await asyncio.wait_for(hop(fail), 1)
        assert await asyncio.wait_for(hop(int), 1) == 0

    asyncio.run(main(), debug=True)


def test_a_call_that_raises_stop_iteration_fails() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            await asyncio.wait_for(hop(next, iter(())), 1)

    asyncio.run(main(), debug=True)


def test_three_calls_that_hang_hold_up_no_other() -> None:
    let_go = threading.Event()

    async def main() -> None:
        hanging = [hop(let_go.wait, 10) for _ in range(3)]
        for _ in range(100):
            await asyncio.wait_for(hop(int), 0.5)
        let_go.set()
        assert await asyncio.gather(*hanging) == [True] * 3

    asyncio.run(main(), debug=True)


def test_four_calls_are_made_at_once_and_a_fifth_after_one() -> None:
    let_go, started = threading.Event(), []

    def work() -> None:
        started.append(threading.current_thread())
        let_go.wait(10)

    async def main() -> None:
        calls = [hop(work) for _ in range(5)]
        await until(lambda: len(started) == 4)
        await asyncio.sleep(0.05)
        assert len(set(started)) == len(started) == 4
        let_go.set()
        await asyncio.gather(*calls)
        assert len(set(started)) == 4 < len(started)

    asyncio.run(main(), debug=True)


def test_calls_one_after_the_other_need_one_thread() -> None:
    async def main() -> None:
        threads = {await hop(threading.current_thread) for _ in range(100)}
        assert len(threads) == 1
        assert next(iter(threads)).daemon

    asyncio.run(main(), debug=True)


def test_a_call_sees_no_context_variable_of_its_caller() -> None:
    async def main() -> None:
        colour.set("caller's")
        assert await hop(colour.get) == "none"

    asyncio.run(main(), debug=True)


def test_a_cancelled_call_that_has_not_begun_is_not_made() -> None:
    let_go = threading.Event()
    made: list[object] = []

    async def main() -> None:
        hanging = [hop(let_go.wait, 10) for _ in range(4)]
        late = asyncio.ensure_future(hop(made.append, 1))
        late.cancel()
        let_go.set()
        await asyncio.gather(*hanging)
        await hop(int)
        assert not made

    asyncio.run(main(), debug=True)


def test_a_call_that_is_cancelled_while_it_is_made_ends_in_silence() -> None:
    let_go = threading.Event()
    wrong: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        call = asyncio.ensure_future(hop(let_go.wait, 10))
        await hop(int)
        call.cancel()
        let_go.set()
        await until(lambda: not host._threads()._unfinished)
        await hop(int)
        assert not wrong

    asyncio.run(main(), debug=True)


def test_a_call_whose_loop_is_closed_is_dropped_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    let_go = threading.Event()
    made: list[object] = []

    async def main() -> None:
        for _ in range(4):
            hop(let_go.wait, 10)
        hop(made.append, "of the closed loop")

    async def others() -> None:
        await hop(made.append, "of the next loop")

    asyncio.run(main())
    let_go.set()
    asyncio.run(others())
    wait_until(lambda: not host._threads()._unfinished, within=1)
    assert made == ["of the next loop"]
    assert not died


def test_a_fork_has_threads_of_its_own() -> None:
    output = printed("""
async def main():
    return await asyncio.wait_for(hop(int), 1)

asyncio.run(main())
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(asyncio.run(main()))
""")
    assert output == "0\n"


NO_FURTHER_THREAD = """
import resource

async def refused():
    try:
        await asyncio.wait_for(hop(int), 1)
    except RuntimeError as error:
        return str(error)

def no_further_thread():
    threading.stack_size(1 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process so")
def test_a_call_without_any_thread_is_refused_at_once() -> None:
    output = printed(f"""{NO_FURTHER_THREAD}
no_further_thread()
print(asyncio.run(refused()))
""")
    assert output == "can't start new thread\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process so")
def test_a_call_waits_for_a_thread_when_no_further_one_starts() -> None:
    output = printed(f"""{NO_FURTHER_THREAD}
async def main():
    await hop(int)
    no_further_thread()
    hop(time.sleep, 0.2)
    print(await refused())

asyncio.run(main())
""")
    assert output == "None\n"
