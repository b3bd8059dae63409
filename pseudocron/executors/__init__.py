"""How a run is executed: on the event loop, in a reused thread, or in a child process."""

from __future__ import annotations

import asyncio
import inspect
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import State
from pseudocron.context import running
from pseudocron.errors import TargetError
from pseudocron.executors import graces
from pseudocron.executors.blocking import timed
from pseudocron.executors.call import SUCCEEDED, failed, impossible, past_timeout
from pseudocron.executors.call import Call as Call
from pseudocron.executors.ended import CutOff as CutOff
from pseudocron.executors.ended import Ended as Ended
from pseudocron.executors.ended import Lingering as Lingering
from pseudocron.executors.tasks import TaskWork, keep
from pseudocron.executors.threads import ThreadWork, shared_threads
from pseudocron.executors.wakeups import of_loops
from pseudocron.executors.wrapped import Wrapped
from pseudocron.targets import Program

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from pseudocron.context import RunContext
    from pseudocron.targets import Function


async def execute(call: Call, run: RunContext) -> Ended:
    """Run a call to its end, its timeout or its cancellation; see `Execution`.

    Raises:
        CutOff: The run was cancelled; says what continues. Nothing else is raised.
    """
    end: asyncio.Future[Ended | CutOff] = asyncio.get_running_loop().create_future()
    execution = Execution(call, run, end.set_result)
    execution.start()
    cancelled: asyncio.CancelledError | None = None
    while not end.done():
        try:
            await asyncio.wait([end])
        except asyncio.CancelledError as error:
            cancelled = error
            execution.cut_off()
    ended = end.result()
    if isinstance(ended, CutOff):
        raise ended from cancelled
    return ended


class Execution:
    """One call on its way to its end.

    A coroutine function runs on this event loop, another callable in a daemon thread (an awaitable that it returns is
    then awaited on the loop), both with their own copy of the context variables; a script, a command line, or with
    `process` any callable, in a child process. What they raise is a failure, except for `sys.exit(0)`. At its timeout,
    and when it is cut off, a coroutine is cancelled or a process killed, and has a grace to end; a thread is left.

    Without middleware a coroutine costs one task, and a thread none.

    Args:
        call: What to execute.
        run: What `current_run()` is in it.
        on_end: Called once, on the event loop: with how it ended, or with what was cut off.
    """

    __slots__ = (
        "_call",
        "_has_begun",
        "_is_cut",
        "_is_ending",
        "_late",
        "_on_end",
        "_run",
        "_task",
        "_thread",
        "_wrapped",
    )

    def __init__(self, call: Call, run: RunContext, on_end: Callable[[Ended | CutOff], None]) -> None:
        self._call = call
        self._run = run
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadWork | None = None
        self._wrapped: Wrapped | None = None
        self._late: Ended | None = None
        self._has_begun = self._is_cut = self._is_ending = False

    def start(self) -> None:
        """Start it. What keeps it from starting is how it ends."""
        call, target = self._call, self._call.target
        try:
            if call.middlewares or call.process or isinstance(target, Program):
                self._start_task(self._wrap())
                return
            if target.is_async:
                self._start_task(self._await(target.call))
            else:
                self._start_thread(target)
        except Exception as error:  # noqa: BLE001 - such as no further thread to be had: this run's own failure
            self._finish(impossible(error))
            return
        if call.timeout is not None and not self._is_ending:
            wakeups = of_loops[asyncio.get_running_loop()]
            wakeups.add(self, wakeups.loop.time() + call.timeout)

    def _start_task(self, code: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(code)

    def _start_thread(self, target: Function) -> None:
        context, call = copy_context(), self._call
        context.run(running.set, self._run)
        wakeups = of_loops[asyncio.get_running_loop()]
        cleanups = getattr(call.middlewares, "cleanups", ())
        name = f"pseudocron {self._run.name}"
        thread = ThreadWork(name, context, (target.call, call.args, call.kwargs), wakeups, cleanups)
        thread.when_done(self._thread_is_done)
        shared_threads().start(thread)
        self._thread = thread

    # The end

    async def _await(self, function: Callable[..., Awaitable[Any]]) -> None:
        """Await what a function returns; whatever it raises is the failure of the run."""
        running.set(self._run)
        if self._begin():
            # A task that ends with SystemExit or KeyboardInterrupt would stop the event loop, and with it the server.
            error: BaseException | None = None
            try:
                await timed(function(*self._call.args, **self._call.kwargs), self._run)
            except BaseException as raised:
                if self._is_abandoned(raised):
                    raise
                error = raised
            end = self._end(error)
            del error  # it has this frame, and would be held by what it holds
            await end

    async def _await_value(self, value: Awaitable[Any]) -> None:
        """Await what a plain function has returned."""
        if not self._begin():
            _close(value)
            return
        error: BaseException | None = None
        try:
            await timed(value, self._run)
        except BaseException as raised:
            if self._is_abandoned(raised):
                raise
            error = raised
        end = self._end(error)
        del error, value
        await end

    def _begin(self) -> bool:
        """Note that the task runs, and can be cancelled; return False if it was cut off, or is late, before."""
        self._has_begun = True
        if self._is_cut or self._late:
            self._finish_late()
        return not self._is_ending

    async def _end(self, error: BaseException | None) -> None:
        """Finish, unless the code has outlasted its grace."""
        if self._is_ending:
            return
        if self._is_cut or self._late:
            self._finish_late()
        elif error is None:
            self._finish(SUCCEEDED)
        else:
            self._is_ending = True
            self._finish(await failed(error))

    def _is_abandoned(self, raised: BaseException) -> bool:
        """Return whether the coroutine is closed because its event loop is gone, and nobody would hear of an end."""
        task = self._task
        return isinstance(raised, GeneratorExit) and task is not None and not task.get_loop().is_running()

    def _thread_is_done(self) -> None:
        thread = self._thread
        if thread is None:  # it was given up before it began
            return
        value, error = thread.done
        if self._is_ending:
            _close(value)
        elif error is not None:
            self._start_task(self._end(error))
        elif value is None or not inspect.isawaitable(value):
            self._finish(SUCCEEDED)
        else:
            code = self._await_value(value)
            self._task = thread.context.run(asyncio.get_running_loop().create_task, code)

    async def _wrap(self) -> None:
        """Execute what needs more than a task or a thread."""
        if not self._begin():
            return
        self._wrapped = wrapped = Wrapped(self._call, self._run)
        ended: Ended | CutOff
        try:
            ended = await wrapped.end()
        except asyncio.CancelledError:
            ended = CutOff(wrapped.lingering(), wrapped.late())
        except TargetError as error:
            ended = Ended(State.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - this run's own failure
            ended = impossible(error)
        self._finish(ended)

    def _finish(self, ended: Ended | CutOff) -> None:
        self._is_ending = True
        on_end = self._on_end
        if ended.lingering is None:
            # Its deadline may be kept for long, and must hold nothing of the run.
            self._task = self._thread = self._wrapped = None
            del self._call, self._run, self._on_end
        on_end(ended)

    def _finish_late(self, lingering: Lingering | None = None) -> None:
        late = self._late._replace(lingering=lingering) if self._late else None
        if self._is_cut or late is None:
            self._finish(CutOff(lingering, late))
        else:
            self._finish(late)

    # Its timeout, and its cancellation

    def done(self) -> bool:
        """Return whether it needs its deadline no more."""
        return self._is_ending

    def expire(self) -> None:
        """Note that its timeout is over: cancel a coroutine, and leave a thread alone."""
        self._late = past_timeout(self._call)
        self._stop(graces.TIMEOUT)

    def cut_off(self) -> None:
        """Cancel it, as by a drain."""
        if not self._is_ending:
            self._is_cut = True
            self._stop(graces.CANCEL)

    def _stop(self, grace: float) -> None:
        if self._task is None:
            self._give_up()
        elif self._has_begun:  # or else it stops when it begins
            self._task.cancel()
            if self._wrapped is None:
                self._task.get_loop().call_later(grace, self._give_up)

    def _give_up(self) -> None:
        """Let code that resists, or a thread, outlast its run."""
        if self._is_ending:
            return
        if self._task is not None:
            keep(self._task)
            self._finish_late(Lingering([TaskWork(self._task)]))
        elif self._thread is not None:
            self._thread.is_given_up = True
            self._finish_late(Lingering([self._thread]))


def _close(value: object) -> None:
    if inspect.iscoroutine(value):
        value.close()
