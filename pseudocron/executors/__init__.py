"""How a run runs: on the event loop, in a thread of its own, or in a child process."""

from __future__ import annotations

import asyncio
import functools
import inspect
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pseudocron.backends.records import Outcome, Result
from pseudocron.context import running
from pseudocron.errors import TargetError
from pseudocron.executors.ended import CutOff as CutOff
from pseudocron.executors.ended import Ended as Ended
from pseudocron.executors.ended import Lingering as Lingering
from pseudocron.executors.processes import Child, command
from pseudocron.executors.surrounding import inside, inside_async
from pseudocron.executors.work import Done, Work, cancel, in_thread, settled_async, wait, work_of
from pseudocron.host import hop
from pseudocron.targets import Script
from pseudocron.truncation import brief, timed_out, trace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pseudocron.context import CurrentRun
    from pseudocron.hooks import RunMiddleware
    from pseudocron.targets import Function, Target

_TIMEOUT_GRACE = 5.0  # seconds that a coroutine has to end when it is cancelled at its timeout
_CANCEL_GRACE = 2.0  # seconds that a run has to end when it is cancelled: a drain can't wait long
_TRACE_WITHIN = 2.0  # seconds in which a traceback with lines of source is made, or else one without


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What to run, and how.

    Args:
        target: A script, or a callable.
        args: Arguments; for a process, JSON values.
        kwargs: Keyword arguments, likewise.
        process: Whether a callable runs in a child process, which then imports it.
        timeout: Seconds that it may take, or None.
        middlewares: Context managers that wrap it, the outermost first.
    """

    target: Target
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    process: bool
    timeout: float | None
    middlewares: Sequence[RunMiddleware] = ()


class _ChildError(Exception):
    """A child process did not succeed."""

    def __init__(self, ended: Ended) -> None:
        super().__init__((ended.result.error or ended.result.outcome).strip().rsplit("\n", 1)[-1])
        self.ended = ended


_SUCCEEDED = Ended(result=Result(outcome=Outcome.SUCCEEDED))
_LATE = Done()  # of what has not come to its end in time


async def execute(call: Call, run: CurrentRun) -> Ended:
    """Run a call to its end, its timeout or its cancellation.

    A coroutine function runs on this event loop, another callable in a daemon thread of its own (an awaitable
    that it returns is then awaited on the loop), both with their own copy of the context variables; a script,
    or with `process` any callable, in a child process.
    What they raise is a failure, `SystemExit` included. On cancellation a coroutine is cancelled or a process
    killed, and waited for a little; a thread is left alone.

    Raises:
        CutOff: The run was cancelled; says what continues. Nothing else is raised.
    """
    execution = _Execution(call, run)
    try:
        return await execution.end()
    except asyncio.CancelledError as error:
        raise CutOff(execution.lingering(), execution.late()) from error
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
        self._works: list[Work] = []
        self._unstoppable: asyncio.Future[Done] | None = None
        self._late: Result | None = None

    async def end(self) -> Ended:
        target = self._call.target
        if isinstance(target, Script) or self._call.process:
            return await self._in_child_inside()
        work = functools.partial(target.call, *self._call.args, **self._call.kwargs)
        if self._call.middlewares:
            return await self._inside(target, work)
        return await (self._on_loop(work) if inspect.iscoroutinefunction(target.call) else self._in_thread(work))

    def lingering(self) -> Lingering | None:
        """Return what has been started and has not ended."""
        left = [work for work in self._works if not work.future.done()]
        return Lingering(left) if left else None

    def late(self) -> Ended | None:
        """Return the end of what is past its timeout, and was still given time to end."""
        return Ended(result=self._late, lingering=self.lingering()) if self._late else None

    async def _inside(self, target: Function, work: Callable[[], Any]) -> Ended:
        middlewares = self._call.middlewares
        if target.is_async:
            return await self._on_loop(inside_async(middlewares, work))
        outer = [middleware for middleware in middlewares if middleware.is_async]
        work = inside([middleware for middleware in middlewares if not middleware.is_async], work)
        if not outer:
            return await self._in_thread(work)
        return await self._on_loop(inside_async(outer, functools.partial(self._thread_to_its_end, work)))

    async def _thread_to_its_end(self, work: Callable[[], Any]) -> Any:
        """What the thread returns or raises; a cancellation waits for it, as what is about it must outlast it."""
        thread = self._unstoppable = self._thread(functools.partial(copy_context().run, work))
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

    async def _in_child_inside(self) -> Ended:
        middlewares = [middleware for middleware in self._call.middlewares if middleware.children]
        if not middlewares:
            return await self._in_child()
        done = await self._awaited(inside_async(middlewares, self._in_child_or_raise), None)
        match done.error:
            case None:
                return cast("Ended", done.value)
            case _ChildError(ended=ended):
                return ended
            case Exception():
                raise done.error
            case _:
                return await _ended(done.error)

    async def _in_child_or_raise(self) -> Ended:
        """The same, but what is about it is to see a failure as it sees one of a function."""
        ended = await self._in_child()
        if ended.result.outcome is not Outcome.SUCCEEDED:
            raise _ChildError(ended)
        return ended

    async def _in_child(self) -> Ended:
        call = self._call
        what = functools.partial(command, call.target, call.args, call.kwargs)
        child = Child(command=what, environ=self._run._environ(), timeout=call.timeout)
        thread = self._thread(child.run)
        try:
            await asyncio.wait({thread})
        except asyncio.CancelledError:
            child.hang_up()
            await asyncio.wait({thread}, timeout=_CANCEL_GRACE)
            self._note_late(thread)
            raise
        done = thread.result()
        if done.error:
            raise done.error
        return cast("Ended", done.value)

    def _note_late(self, thread: asyncio.Future[Done]) -> None:
        ended = thread.result().value if thread.done() else None
        if isinstance(ended, Ended) and ended.result.outcome is Outcome.TIMED_OUT:
            self._late = ended.result

    async def _in_thread(self, work: Callable[[], Any]) -> Ended:
        thread = self._thread(functools.partial(self._context.run, work))
        try:
            await asyncio.wait({thread}, timeout=self._left())
        finally:
            if not thread.done():
                thread.add_done_callback(_close_unawaited)
        if not thread.done():
            return self._timed_out()
        done = thread.result()
        if inspect.isawaitable(done.value):
            return await self._on_loop(lambda: done.value)
        return await _ended(done.error)

    async def _on_loop(self, work: Callable[[], Awaitable[Any]]) -> Ended:
        done = await self._awaited(work, self._left())
        return self._timed_out() if done is _LATE else await _ended(done.error)

    async def _awaited(self, work: Callable[[], Awaitable[Any]], seconds: float | None) -> Done:
        """Await it in a task of its own; `_LATE` if that takes longer."""
        # Created inside of the context, the task copies it; not every task factory can be given one.
        task = self._context.run(asyncio.create_task, settled_async(work))
        self._works.append(work_of(task))
        try:
            await wait(task, seconds)
        except asyncio.CancelledError:
            await self._cancel(task, _CANCEL_GRACE)
            raise
        if task.done():
            return Done(error=asyncio.CancelledError()) if task.cancelled() else task.result()
        self._late = self._timeout()
        await self._cancel(task, _TIMEOUT_GRACE)
        return _LATE

    async def _cancel(self, task: asyncio.Task[Done], grace: float) -> None:
        # A thread does not end the sooner for being waited for, nor does what is about it.
        in_vain = self._unstoppable is not None and not self._unstoppable.done()
        await cancel(task, 0 if in_vain else grace)

    def _thread(self, work: Callable[[], Any]) -> asyncio.Future[Done]:
        thread = in_thread(work, name=f"pseudocron {self._run.name}")
        self._works.append(thread)
        return thread.future

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def _timed_out(self) -> Ended:
        return Ended(result=self._timeout(), lingering=self.lingering())

    def _timeout(self) -> Result:
        return Result(outcome=Outcome.TIMED_OUT, error=timed_out(self._call.timeout))


async def _ended(error: BaseException | None) -> Ended:
    if error is None:
        return _SUCCEEDED
    return Ended(result=Result(outcome=Outcome.FAILED, error=await _traced(error)), raised=error)


async def _traced(error: BaseException) -> str:
    # Off the loop, as a traceback reads source files; but no run is held up by a thread that is not to be had.
    try:
        async with asyncio.timeout(_TRACE_WITHIN):
            return await hop(trace, error)
    except Exception:  # noqa: BLE001 - whatever went wrong, there is a way without threads and files
        return brief(error)


def _close_unawaited(thread: asyncio.Future[Done]) -> None:
    value = thread.result().value
    if inspect.iscoroutine(value):
        value.close()
