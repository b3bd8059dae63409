"""Coroutines and threads: what becomes of what they return, raise and resist."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
import threading
import weakref
from contextlib import nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from executors.executing import RUN, call, cancelled_when, ended, until, wait_until
from pseudocron.backends.model import State
from pseudocron.context import current_run, running
from pseudocron.executors import Ended, execute, graces
from pseudocron.executors.tasks import held
from pseudocron.hooks import RunMiddleware

if TYPE_CHECKING:
    from pathlib import Path

colour: ContextVar[str] = ContextVar("colour", default="none")
LIMIT = 64 * 1024
SUCCEEDED = Ended(State.SUCCEEDED)


class AsyncObject:
    async def __call__(self) -> None:
        assert threading.current_thread() is threading.main_thread()


async def coroutine() -> None:
    await AsyncObject()()


def plain(function: Any = coroutine) -> Any:
    return function()


@pytest.mark.parametrize(
    "function",
    [coroutine, functools.partial(coroutine), AsyncObject(), functools.partial(AsyncObject()), AsyncObject().__call__],
    ids=["function", "partial", "object", "partial object", "method"],
)
def test_whatever_is_asynchronous_runs_on_the_event_loop(function: Any) -> None:
    assert ended(function) == SUCCEEDED


def test_another_callable_runs_in_a_daemon_thread() -> None:
    threads: list[threading.Thread] = []
    assert ended(lambda: threads.append(threading.current_thread())) == SUCCEEDED
    assert threads[0].daemon
    assert threads[0] is not threading.main_thread()


def test_a_returned_awaitable_is_awaited_on_the_event_loop() -> None:
    assert ended(plain) == SUCCEEDED


def test_a_returned_awaitable_has_the_rest_of_the_timeout() -> None:
    assert ended(lambda: asyncio.sleep(60), timeout=0.05).error == "timed out after 0.05 s"


def test_arguments_are_handed_on() -> None:
    seen: list[Any] = []

    async def keep(*args: Any, **kwargs: Any) -> None:
        seen.append((args, kwargs))

    ended(keep, 1, colour="red")
    ended(lambda *args, **kwargs: seen.append((args, kwargs)), 1, colour="red")
    assert seen == [((1,), {"colour": "red"})] * 2


def test_a_run_knows_itself_and_nothing_of_it_leaks_out() -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append((current_run(), colour.get()))
        colour.set("changed")

    async def look_async() -> None:
        look()

    async def main() -> None:
        colour.set("caller's")
        await execute(call(look), RUN)
        await execute(call(look_async), RUN)
        await execute(call(plain, look_async), RUN)
        assert colour.get() == "caller's"
        assert running.get(None) is None

    asyncio.run(main())
    assert seen == [(RUN, "caller's")] * 3
    assert seen[0][0].state["pool"] == 42


@pytest.mark.parametrize(
    "error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, StopIteration]
)
@pytest.mark.parametrize("asynchronous", [True, False], ids=["coroutine", "thread"])
def test_whatever_a_run_raises_is_its_own_failure_and_never_stops_the_server(
    error: type[BaseException], *, asynchronous: bool
) -> None:
    def fail() -> None:
        raise error("the reason")

    async def fail_async() -> None:
        raise error("the reason")

    async def main() -> Ended:
        result = await execute(call(fail_async if asynchronous else fail), RUN)
        await asyncio.sleep(0)
        return result

    result = asyncio.run(main(), debug=True)
    assert result.outcome is State.FAILED
    assert result.error
    assert "the reason" in result.error


@pytest.mark.parametrize(
    ("executor", "code"),
    [
        *[(executor, code) for executor in ("coroutine", "thread", "middleware") for code in (0, None, 3, "no")],
        *[(executor, code) for executor in ("process", "script") for code in (0, 3)],
    ],
)
def test_an_exit_is_a_success_in_every_executor_if_its_code_is_0(
    executor: str, code: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(code: object) -> None:
        sys.exit(code)  # type: ignore[arg-type]

    async def leave_async(code: object) -> None:
        leave(code)

    monkeypatch.syspath_prepend(tmp_path)
    script = tmp_path / "leaving.py"
    script.write_text("import sys\nfor code in sys.argv[1:]: sys.exit(int(code))")
    targets = {"coroutine": leave_async, "thread": leave, "process": "sys:exit", "script": script}
    made = call(targets.get(executor, leave), code, process=executor == "process")
    if executor == "middleware":
        made = made._replace(middlewares=[RunMiddleware(nullcontext, "none", is_async=False)])
    result = asyncio.run(execute(made, RUN))
    assert result.outcome is (State.FAILED if code in {3, "no"} else State.SUCCEEDED)


@pytest.mark.parametrize("asynchronous", [True, False], ids=["coroutine", "thread"])
def test_a_traceback_begins_with_the_users_code(*, asynchronous: bool) -> None:
    def fail() -> None:
        raise ValueError("no such book")

    async def fail_async() -> None:
        fail()

    error = ended(fail_async if asynchronous else fail).error
    assert error
    assert error.splitlines()[0] == "Traceback (most recent call last):"
    assert f'File "{__file__}"' in error.splitlines()[1]
    assert error.splitlines()[-1] == "ValueError: no such book"
    assert "executors.py" not in error


def test_a_traceback_is_made_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def record(_: BaseException) -> str:
        threads.append(threading.current_thread())
        return "traced"

    monkeypatch.setattr("pseudocron.executors.call.trace", record)
    assert ended(coroutine, "wrong").error == "traced"
    assert threads[0] is not threading.main_thread()


def test_of_an_error_the_last_64_kib_are_kept() -> None:
    def fail() -> None:
        raise ValueError("ü" * LIMIT + "the end")

    error = ended(fail).error
    assert error
    assert LIMIT - 4 <= len(error.encode()) <= LIMIT
    assert error.endswith("üthe end\n")


def test_a_wrong_call_is_a_failure_that_says_so() -> None:
    assert "takes 0 positional arguments" in str(ended(coroutine, 1).error)


def test_a_thread_that_cannot_be_started_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> Ended:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            return await execute(call(print), RUN)

    assert asyncio.run(main()).error == "can't be run: RuntimeError(\"can't start new thread\")"


def test_a_coroutine_is_cancelled_at_its_timeout() -> None:
    cancelled: list[bool] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    end = ended(endless, timeout=0.05)
    assert (end.outcome, end.error) == (State.TIMED_OUT, "timed out after 0.05 s")
    assert end.lingering is None
    assert cancelled == [True]


def test_a_coroutine_that_resists_its_timeout_lingers_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graces, "TIMEOUT", 0.05)

    async def main() -> None:
        let_go = asyncio.Event()

        async def resist() -> None:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    gc.collect()

        end = await execute(call(resist, timeout=0.05), RUN)
        assert end.outcome is State.TIMED_OUT
        assert end.lingering
        assert not end.lingering.future.done()
        gc.collect()
        let_go.set()
        await asyncio.wait_for(end.lingering.future, 5)

    asyncio.run(main(), debug=True)


def test_a_thread_is_timed_out_at_once_and_lingers_until_it_returns() -> None:
    async def main() -> None:
        let_go = threading.Event()
        end = await execute(call(let_go.wait, timeout=0.05), RUN)
        assert (end.outcome, end.error) == (State.TIMED_OUT, "timed out after 0.05 s")
        assert end.lingering
        assert not end.lingering.future.done()
        let_go.set()
        await asyncio.wait_for(end.lingering.future, 5)

    asyncio.run(main(), debug=True)


def test_what_lingers_is_not_collected_while_nobody_else_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graces, "TIMEOUT", 0.05)
    seen: list[Any] = []

    async def resist() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            barrier = asyncio.get_running_loop().create_future()
            seen.append(weakref.ref(barrier))
            await barrier
            seen.append("ended")

    async def main() -> None:
        end = await execute(call(resist, timeout=0.05), RUN)
        gc.collect()
        seen[0]().set_result(None)
        assert end.lingering
        await asyncio.wait_for(end.lingering.future, 5)

    asyncio.run(main())
    assert seen[1:] == ["ended"]


def test_what_lingers_may_be_given_up() -> None:
    wrong: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        let_go = threading.Event()
        end = await execute(call(let_go.wait, timeout=0), RUN)
        assert end.lingering
        end.lingering.future.cancel()
        let_go.set()
        await until(lambda: not named_threads())
        await asyncio.sleep(0.01)

    asyncio.run(main(), debug=True)
    assert not wrong


def test_a_coroutine_that_comes_too_late_from_a_thread_is_closed() -> None:
    async def main() -> None:
        let_go = threading.Event()

        def late() -> Any:
            let_go.wait()
            return coroutine()

        end = await execute(call(late, timeout=0.05), RUN)
        let_go.set()
        assert end.lingering
        await asyncio.wait_for(end.lingering.future, 5)
        gc.collect()

    asyncio.run(main(), debug=True)


def test_a_thread_that_outlives_its_event_loop_ends_in_silence() -> None:
    let_go = threading.Event()
    assert ended(let_go.wait, timeout=0.05).outcome is State.TIMED_OUT
    let_go.set()
    wait_until(lambda: not named_threads())


def test_without_a_timeout_a_run_may_take_its_time() -> None:
    async def main() -> None:
        end = execute(call(asyncio.sleep, 0.05), RUN)
        assert (await end) == SUCCEEDED

    asyncio.run(main(), debug=True)


def test_a_cancelled_coroutine_may_clean_up_before_execute_ends() -> None:
    seen: list[str] = []

    async def endless() -> None:
        seen.append("started")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            seen.append("cleaned up")

    async def main() -> None:
        task = await cancelled_when(lambda: bool(seen), execute(call(endless), RUN))
        assert task.cancelled()
        assert seen == ["started", "cleaned up"]

    asyncio.run(main(), debug=True)


def test_a_cancelled_coroutine_that_resists_is_left_behind_after_a_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graces, "CANCEL", 0.05)
    seen: list[str] = []

    async def main() -> None:
        let_go = asyncio.Event()

        async def resist() -> None:
            seen.append("started")
            try:
                await asyncio.sleep(60)
            finally:
                await let_go.wait()
                seen.append("ended")

        task = await cancelled_when(lambda: bool(seen), execute(call(resist), RUN))
        assert task.cancelled()
        assert seen == ["started"]
        gc.collect()
        let_go.set()
        await until(lambda: "ended" in seen)

    asyncio.run(main(), debug=True)


def test_a_cancelled_thread_is_left_alone() -> None:
    started, let_go = threading.Event(), threading.Event()

    def work() -> Any:
        started.set()
        let_go.wait()
        return coroutine()

    async def main() -> None:
        task = await cancelled_when(started.is_set, execute(call(work), RUN))
        assert task.cancelled()
        assert named_threads()
        let_go.set()
        wait_until(lambda: not named_threads())
        await asyncio.sleep(0)

    asyncio.run(main(), debug=True)


def test_a_run_leaves_no_task_behind() -> None:
    async def main() -> None:
        for function in (coroutine, print, plain):
            await execute(call(function), RUN)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not held

    asyncio.run(main(), debug=True)


def named_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pseudocron digest"]
