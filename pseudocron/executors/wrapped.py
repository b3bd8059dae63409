"""The execution of what needs more than a task or a thread: with middleware, or in a child process."""

from __future__ import annotations

import asyncio
import functools
import inspect
from contextvars import Context, copy_context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from pseudocron.backends.model import State
from pseudocron.context import running
from pseudocron.executors import graces, tasks
from pseudocron.executors.call import SUCCEEDED, failed, past_timeout
from pseudocron.executors.child_process import Child, command
from pseudocron.executors.ended import Done, Ended, Lingering
from pseudocron.executors.middleware import inside, inside_async
from pseudocron.executors.tasks import TaskWork
from pseudocron.executors.threads import ThreadWork, shared_threads
from pseudocron.executors.wakeups import of_loops
from pseudocron.hooks import Middlewares
from pseudocron.targets import Program

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from pseudocron.context import RunContext
    from pseudocron.executors.call import Call
    from pseudocron.executors.ended import Work
    from pseudocron.hooks import Cleanup
    from pseudocron.targets import Function

_LATE = Done()  # of what has not come to its end in time
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class _ChildError(Exception):
    """A child process did not succeed."""

    def __init__(self, ended: Ended) -> None:
        super().__init__((ended.error or ended.outcome).strip().rsplit("\n", 1)[-1])
        self.ended = ended


class Wrapped:
    """A call with middleware, or in a child process, on its way to its end.

    Args:
        call: What to execute.
        run: What `current_run()` is in it.
    """

    __slots__ = ("_call", "_cleanups", "_deadline", "_is_unstoppable", "_late", "_run", "_task", "_thread", "_wakeups")

    def __init__(self, call: Call, run: RunContext) -> None:
        self._call = call
        self._run = run
        self._wakeups = of_loops[asyncio.get_running_loop()]
        self._deadline = None if call.timeout is None else self._wakeups.loop.time() + call.timeout
        self._task: asyncio.Task[Done] | None = None
        self._thread: ThreadWork | None = None
        self._is_unstoppable = False
        self._cleanups: Sequence[Cleanup] = ()
        self._late: Ended | None = None

    def end(self) -> Coroutine[Any, Any, Ended]:
        """Return what executes the call to its end, its timeout or its cancellation."""
        call, target = self._call, self._call.target
        if isinstance(target, Program) or call.process:
            return self._in_child_inside()
        if isinstance(call.middlewares, Middlewares):
            self._cleanups = call.middlewares.cleanups
        return self._inside(target)

    def lingering(self) -> Lingering | None:
        """Return what has been started and has not ended."""
        works: list[Work] = []
        if self._task is not None and not self._task.done():
            works.append(TaskWork(self._task))
        if self._thread is not None and not self._thread.is_done:
            works.append(self._thread)
        return Lingering(works) if works else None

    def late(self) -> Ended | None:
        """Return the end of what is past its timeout, and was still given time to end."""
        return self._late._replace(lingering=self.lingering()) if self._late else None

    async def _inside(self, target: Function) -> Ended:
        middlewares = self._call.middlewares
        work: Callable[[], Any] = functools.partial(target.call, *self._call.args, **self._call.kwargs)
        if target.is_async:
            return await self._on_loop(inside_async(middlewares, work))
        outer = [middleware for middleware in middlewares if middleware.is_async]
        work = inside([middleware for middleware in middlewares if not middleware.is_async], work)
        if not outer:
            return await self._in_thread(work)
        return await self._on_loop(inside_async(outer, functools.partial(self._thread_to_its_end, work)))

    async def _thread_to_its_end(self, work: Callable[[], Any]) -> Any:
        """Return or raise what a thread does. A cancellation waits for the thread, as middleware must outlast it."""
        thread = self._start(copy_context(), work)
        self._is_unstoppable = True
        cancelled: asyncio.CancelledError | None = None
        while not thread.is_done:
            try:
                await thread.wait()
            except asyncio.CancelledError as error:
                thread.is_given_up = True
                cancelled = error
        done = thread.done
        if raised := cancelled or done.error:
            raise raised
        return await done.value if inspect.isawaitable(done.value) else done.value

    async def _in_child_inside(self) -> Ended:
        middlewares = [middleware for middleware in self._call.middlewares if middleware.children]
        if not middlewares:
            return await self._in_child()
        done = await self._awaited(None, inside_async(middlewares, self._in_child_or_raise))
        match done.error:
            case None:
                return cast("Ended", done.value)
            case _ChildError(ended=ended):
                return ended
            case Exception():
                raise done.error
            case _:
                return await failed(done.error)

    async def _in_child_or_raise(self) -> Ended:
        """Run the call in a child process, and raise a failure, so that middleware sees it as that of a function."""
        ended = await self._in_child()
        if ended.outcome is not State.SUCCEEDED:
            raise _ChildError(ended)
        return ended

    async def _in_child(self) -> Ended:
        call = self._call
        what = functools.partial(command, call.target, call.args, call.kwargs)
        run = self._run._current()._environ()
        child = Child(command=what, environ=run, timeout=call.timeout, env=call.env, cwd=call.cwd)
        thread = self._start(Context(), child.run)
        try:
            await thread.wait()
        except asyncio.CancelledError:
            child.hang_up()
            await thread.wait(graces.CANCEL)
            self._note_late(thread)
            raise
        done = thread.done
        if done.error:
            raise done.error
        return cast("Ended", done.value)

    def _note_late(self, thread: ThreadWork) -> None:
        ended = thread.done.value if thread.is_done else None
        if isinstance(ended, Ended) and ended.outcome is State.TIMED_OUT:
            self._late = ended

    async def _in_thread(
        self, function: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] = _NOTHING
    ) -> Ended:
        context = copy_context()
        context.run(running.set, self._run)
        thread = self._start(context, function, args, kwargs)
        try:
            await thread.wait(None if self._deadline is None else self._deadline - self._wakeups.loop.time())
        finally:
            if not thread.is_done:
                thread.is_given_up = True
                thread.when_done(lambda: _close_unawaited(thread))
        if not thread.is_done:
            return self._timed_out()
        done = thread.done
        if done.error is not None:
            return await failed(done.error)
        if done.value is None or not inspect.isawaitable(done.value):
            return SUCCEEDED
        return await self._on_loop(lambda: done.value, context=context)

    async def _on_loop(
        self,
        function: Callable[..., Awaitable[Any]],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = _NOTHING,
        context: Context | None = None,
    ) -> Ended:
        done = await self._awaited(self._deadline, function, args, kwargs, context)
        if done is _LATE:
            return self._timed_out()
        return SUCCEEDED if done.error is None else await failed(done.error)

    async def _awaited(
        self,
        until: float | None,
        function: Callable[..., Awaitable[Any]],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = _NOTHING,
        context: Context | None = None,
    ) -> Done:
        """Await it in a task of its own; `_LATE` if that takes longer."""
        loop, code = self._wakeups.loop, tasks.done(self._run, function, args, kwargs)
        # Created inside of a context, a task copies it; not every task factory can be given one.
        task = loop.create_task(code) if context is None else context.run(loop.create_task, code)
        self._task = task
        if not task.done():
            waiter = loop.create_future()
            task.add_done_callback(functools.partial(tasks.wake, waiter))
            if until is not None:
                self._wakeups.add_deadline(waiter, until)
            try:
                await waiter
            except asyncio.CancelledError:
                await self._cancel(task, graces.CANCEL)
                raise
        if task.done():
            return Done(error=asyncio.CancelledError()) if task.cancelled() else task.result()
        self._late = past_timeout(self._call)
        await self._cancel(task, graces.TIMEOUT)
        return _LATE

    async def _cancel(self, task: asyncio.Task[Done], grace: float) -> None:
        # A thread does not end the sooner for being waited for, nor does what is about it.
        in_vain = self._is_unstoppable and self._thread is not None and not self._thread.is_done
        await tasks.cancel(task, 0 if in_vain else grace)

    def _start(
        self,
        context: Context,
        function: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = _NOTHING,
    ) -> ThreadWork:
        name = f"pseudocron {self._run.name}"
        thread = ThreadWork(name, context, (function, args, kwargs), self._wakeups, self._cleanups)
        shared_threads().start(thread)
        self._thread = thread
        return thread

    def _timed_out(self) -> Ended:
        return past_timeout(self._call)._replace(lingering=self.lingering())


def _close_unawaited(thread: ThreadWork) -> None:
    value = thread.done.value
    if inspect.iscoroutine(value):
        value.close()
