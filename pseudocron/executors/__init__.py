"""How a run runs: on the event loop, in a thread of its own, or in a child process."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pseudocron.backends.records import Outcome, Result
from pseudocron.capture import timed_out, trace
from pseudocron.context import running
from pseudocron.errors import TargetError
from pseudocron.executors.processes import Child, command
from pseudocron.executors.surrounding import inside, inside_async
from pseudocron.host import hop
from pseudocron.targets import Script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pseudocron.context import CurrentRun
    from pseudocron.hooks import Around
    from pseudocron.targets import Function, Target

_TIMEOUT_GRACE = 5.0  # seconds that a coroutine has to end when it is cancelled at its timeout
_CANCEL_GRACE = 2.0  # seconds that a run has to end when it is cancelled: a drain can't wait long

_held: set[asyncio.Future[Any]] = set()  # an event loop holds its tasks only weakly


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What to run, and how.

    Args:
        target: A script, or a callable.
        args: Arguments; for a process, JSON values.
        kwargs: Keyword arguments, likewise.
        process: Whether a callable runs in a child process, which then imports it.
        timeout: Seconds that it may take, or None.
        arounds: What is entered about it, the outermost first.
    """

    target: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    process: bool
    timeout: float | None
    arounds: Sequence[Around] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of a run.

    `lingering` is given where a run is over but its code is not (a thread can't be killed, a coroutine may
    resist its cancellation), and is done when the code has ended as well. `raised` is what it raised, where that
    is known: not of a child process.
    """

    result: Result
    lingering: asyncio.Future[None] | None = None
    raised: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Done:
    """What a piece of user's code returned or raised."""

    value: Any = None
    error: BaseException | None = None


class _ChildError(Exception):
    """A child process did not succeed."""

    def __init__(self, ended: Ended) -> None:
        super().__init__((ended.result.error or ended.result.outcome).strip().rsplit("\n", 1)[-1])
        self.ended = ended


_SUCCEEDED = Ended(result=Result(outcome=Outcome.SUCCEEDED))


async def execute(call: Call, run: CurrentRun) -> Ended:
    """Run a call to its end, its timeout or its cancellation; raises nothing but `CancelledError`.

    A coroutine function runs on this event loop, another callable in a daemon thread of its own (an awaitable
    that it returns is then awaited on the loop), both with their own copy of the context variables; a script,
    or with `process` any callable, in a child process.
    What they raise is a failure, `SystemExit` included. On cancellation a coroutine is cancelled or a process
    killed, and waited for a little; a thread is left alone.
    """
    try:
        return await _Execution(call, run).end()
    except TargetError as error:
        return Ended(result=Result(outcome=Outcome.FAILED, error=str(error)))
    except Exception as error:  # noqa: BLE001 - such as no further thread to be had: this run's own failure
        return Ended(result=Result(outcome=Outcome.FAILED, error=f"can't be run: {error!r}"))


class _Execution:
    """One call on its way to its end."""

    def __init__(self, call: Call, run: CurrentRun) -> None:
        self._call = call
        self._run = run
        self._context = copy_context()
        self._context.run(running.set, run)
        self._loop = asyncio.get_running_loop()
        self._deadline = None if call.timeout is None else self._loop.time() + call.timeout

    async def end(self) -> Ended:
        target = self._call.target
        if isinstance(target, Script) or self._call.process:
            return await self._about_child()
        work = functools.partial(target.call, *self._call.args, **self._call.kwargs)
        if self._call.arounds:
            return await self._surrounded(target, work)
        return await (self._on_loop(work) if inspect.iscoroutinefunction(target.call) else self._in_thread(work))

    async def _surrounded(self, target: Function, work: Callable[[], Any]) -> Ended:
        arounds = self._call.arounds
        if target.is_async:
            return await self._on_loop(inside_async(arounds, work))
        outer = [around for around in arounds if around.is_async]
        work = inside([around for around in arounds if not around.is_async], work)
        if not outer:
            return await self._in_thread(work)
        return await self._on_loop(inside_async(outer, functools.partial(self._thread_to_its_end, work)))

    async def _thread_to_its_end(self, work: Callable[[], Any]) -> Any:
        """What the thread returns or raises; a cancellation waits for it, as what is about it must outlast it."""
        thread = self._thread(functools.partial(copy_context().run, work))
        cancelled: asyncio.CancelledError | None = None
        while not thread.done():
            try:
                await asyncio.wait({thread})
            except asyncio.CancelledError as error:
                cancelled = error
        done = thread.result()
        if raised := cancelled or done.error:
            raise raised
        return await done.value if inspect.isawaitable(done.value) else done.value

    async def _about_child(self) -> Ended:
        arounds = [around for around in self._call.arounds if around.children]
        if not arounds:
            return await self._in_child()
        try:
            return await self._context.run(asyncio.create_task, inside_async(arounds, self._in_child_or_raise)())
        except _ChildError as error:
            return error.ended

    async def _in_child_or_raise(self) -> Ended:
        """The same, but what is about it is to see a failure as it sees one of a function."""
        ended = await self._in_child()
        if ended.result.outcome is not Outcome.SUCCEEDED:
            raise _ChildError(ended)
        return ended

    async def _in_child(self) -> Ended:
        call = self._call
        what = functools.partial(command, call.target, call.args, call.kwargs)
        child = Child(command=what, environ=self._run.environ(), timeout=call.timeout)
        thread = self._thread(child.run)
        try:
            await asyncio.wait({thread})
        except asyncio.CancelledError:
            child.hang_up()
            await asyncio.wait({thread}, timeout=_CANCEL_GRACE)
            raise
        done = thread.result()
        if done.error:
            raise done.error
        return Ended(result=done.value)

    async def _in_thread(self, work: Callable[[], Any]) -> Ended:
        thread = self._thread(functools.partial(self._context.run, work))
        try:
            await asyncio.wait({thread}, timeout=self._left())
        finally:
            if not thread.done():
                thread.add_done_callback(_close_unawaited)
        if not thread.done():
            return self._timed_out(thread)
        done = thread.result()
        if inspect.isawaitable(done.value):
            return await self._on_loop(lambda: done.value)
        return await _ended(done.error)

    async def _on_loop(self, work: Callable[[], Awaitable[Any]]) -> Ended:
        # Created inside of the context, the task copies it; not every task factory can be given one.
        task = self._context.run(asyncio.create_task, _done(work))
        try:
            await _wait(task, self._left())
        except asyncio.CancelledError:
            await _cancel(task, _CANCEL_GRACE)
            raise
        if task.done():
            return await _ended(asyncio.CancelledError() if task.cancelled() else task.result().error)
        await _cancel(task, _TIMEOUT_GRACE)
        return self._timed_out(task)

    def _thread(self, work: Callable[[], Any]) -> asyncio.Future[_Done]:
        future: asyncio.Future[_Done] = self._loop.create_future()

        def run() -> None:
            done = _attempt(work)
            with suppress(RuntimeError):  # the loop is closed, nobody waits any more
                self._loop.call_soon_threadsafe(future.set_result, done)

        threading.Thread(target=run, name=f"pseudocron {self._run.name}", daemon=True).start()
        return future

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def _timed_out(self, work: asyncio.Future[Any]) -> Ended:
        result = Result(outcome=Outcome.TIMED_OUT, error=timed_out(self._call.timeout))
        return Ended(result=result, lingering=None if work.done() else _lingering(work))


async def _done(work: Callable[[], Awaitable[Any]]) -> _Done:
    # A task that ends with SystemExit or KeyboardInterrupt would stop the event loop, and with it the server.
    try:
        return _Done(await work())
    except BaseException as error:  # noqa: BLE001 - whatever it raises is its own failure
        return _Done(error=error)


def _attempt(work: Callable[[], Any]) -> _Done:
    try:
        return _Done(work())
    except BaseException as error:  # noqa: BLE001 - likewise
        return _Done(error=error)


async def _ended(error: BaseException | None) -> Ended:
    if error is None:
        return _SUCCEEDED
    # Off the loop: a traceback reads source files.
    return Ended(result=Result(outcome=Outcome.FAILED, error=await hop(trace, error)), raised=error)


async def _wait(work: asyncio.Future[Any], seconds: float | None) -> None:
    """Wait until it is done or the seconds are over: `asyncio.wait` for one, which is half of what a run costs."""
    waiter = work.get_loop().create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = None if seconds is None else work.get_loop().call_later(seconds, wake)
    work.add_done_callback(wake)
    try:
        await waiter
    finally:
        work.remove_done_callback(wake)
        if timer:
            timer.cancel()


async def _cancel(task: asyncio.Task[Any], grace: float) -> None:
    _hold(task)  # it may resist, and then nobody waits for it any more
    task.cancel()
    await asyncio.wait({task}, timeout=grace)


def _hold(future: asyncio.Future[Any]) -> None:
    _held.add(future)
    future.add_done_callback(_held.discard)


def _lingering(work: asyncio.Future[Any]) -> asyncio.Future[None]:
    lingering = work.get_loop().create_future()

    def end(_: object) -> None:
        if not lingering.done():
            lingering.set_result(None)

    work.add_done_callback(end)
    return lingering


def _close_unawaited(thread: asyncio.Future[_Done]) -> None:
    value = thread.result().value
    if inspect.iscoroutine(value):
        value.close()
