"""Task registry: registers the tasks of a `Crons`, and finds and cancels their jobs."""

from __future__ import annotations

from inspect import isfunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from pseudocron.config.entries import defined, read_options
from pseudocron.config.values import cron_name
from pseudocron.errors import ConfigError, UnknownTaskError, did_you_mean, show
from pseudocron.jobs.manager import JobManager, blocking
from pseudocron.jobs.tasks import TASK_OPTIONS, Task
from pseudocron.targets import caller, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from types import FunctionType

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Run
    from pseudocron.config.settings import Settings
    from pseudocron.hooks import Hooks
    from pseudocron.host import Host
    from pseudocron.jobs.outbox import DeferredJob
    from pseudocron.jobs.tasks import TaskOptions

P = ParamSpec("P")
T = TypeVar("T")


class TaskRegistry:
    """The part of `Crons` that registers tasks and manages jobs."""

    _hooks: Hooks  # of the `HookRegistry` beside it

    def __init__(self) -> None:
        super().__init__()
        self._manager = JobManager(lambda: self.settings)
        self._tasks: dict[str, Task[..., Any]] = {}
        self._places: dict[str, str] = {}  # the lines of the application that have defined the tasks
        self._checked_tasks: Mapping[str, Task[..., Any]] | None = None
        self._version = 0  # grows with each definition

    @property
    def settings(self) -> Settings:
        """The settings."""
        raise NotImplementedError

    def _naming(self, name: object) -> AbstractContextManager[None]:
        raise NotImplementedError

    @overload
    def task(self, name: Callable[P, T], /) -> Task[P, T]: ...

    @overload
    def task(
        self, name: str | None = None, **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[P, T]], Task[P, T]]: ...

    def task(
        self, name: Callable[P, T] | str | None = None, **options: Unpack[TaskOptions]
    ) -> Task[P, T] | Callable[[Callable[P, T]], Task[P, T]]:
        """Let calls of the decorated function be deferred: `@crons.task` or `@crons.task(retries=5, timeout=60)`.

        The function can still be called as before.

        Args:
            name: Name of the task in the store; the name of the function if None. A function may be renamed or moved
                as long as its task keeps the name.
            options: See `TaskOptions`; `retries=3`, `timeout=1000.0`, `retry_for=(Exception,)`,
                `max_instances=None` and `executor=None` if not given.

        Raises:
            ConfigError: An option is wrong, the name is taken, or the decorated object is not a function, or a method.
            TargetError: The function is a generator.
        """
        if callable(name):
            return self._task(name, None, options)
        return lambda function: self._task(function, name, options)

    def _task(self, function: Callable[P, T], name: str | None, options: TaskOptions) -> Task[P, T]:
        # Its tasks need it later, perhaps on an event loop, which an import would block. Without tasks nobody does.
        import pseudocron.jobs.arguments  # noqa: F401, PLC0415

        given = getattr(function, "__name__", "") if name is None else name
        with self._naming(given):
            try:
                given = cron_name(given)
            except ValueError as error:
                raise ConfigError(str(error)) from None
            if not callable(function):
                raise ConfigError(f"{show(function)}: must be a function")
            if isfunction(function) and _first_parameter(function) in {"self", "cls"}:
                raise ConfigError(f"{describe(function)} is a method, must be a function: a job has no object to call")
            if given in self._tasks:
                raise ConfigError(defined(self._places[given], self._tasks[given].function, function))
            checked = read_options(options, known=TASK_OPTIONS)
            task = Task(given, function, checked, manager=self._manager, hooks=self._hooks)
            self._tasks[given] = task
            self._places[given] = caller()
            self._checked_tasks = None
            self._version += 1
        return task

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The tasks by name, all of them checked; `ConfigError` if the executor of one can't run it."""
        if self._checked_tasks is None:
            for name, task in self._tasks.items():
                with self._naming(name):
                    _ = task.process
            self._checked_tasks = MappingProxyType(self._tasks)
        return self._checked_tasks

    def _task_named(self, name: str) -> Task[..., Any]:
        """Return a task by its name; `UnknownTaskError` if there is none."""
        if name not in self._tasks:
            raise UnknownTaskError(f"there is no task {show(name)}{did_you_mean(name, self._tasks)}")
        return self.tasks[name]

    def _connect(self, host: Host | None = None) -> Backend:
        """Return the store of these crons, the same object for the whole process; it is not opened.

        Args:
            host: Time, sleep, chance and threads from now on, also for `defer`; None keeps the present ones.
        """
        return self._manager.connect(host)

    async def job(self, job_id: str) -> Run | None:
        """Return what is known of a job, or None if there is none of this id (any more).

        Raises:
            BackendError: The store can't be used.
        """
        return await self._manager.job(job_id)

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job; return whether it was pending, so that it never starts.

        A running job is not stopped, but not retried.

        Raises:
            BackendError: The store can't be used.
        """
        return await self._manager.cancel(job_id=job_id)

    def cancel_sync(self, job_id: str) -> bool:
        """Cancel a job where no event loop is running; `EventLoopError` if one is. Blocks."""
        return blocking(lambda: self.cancel(job_id), instead="await crons.cancel(...)")

    def on_deferred(self, callback: Callable[[datetime], None]) -> None:
        """Call a function after each defer, in the thread of the caller, with when the first job is due (aware UTC).

        A bound method is held weakly: it is no longer called once its object is gone.
        """
        self._manager.on_deferred(callback)

    def immediate(self) -> AbstractContextManager[None]:
        """Run deferred calls at once inside of this context, through JSON but without a store; for tests.

        Plain functions run in a thread, as usual; `defer` raises what a call raises. The options `at`, `delay` and
        `key` have no effect.
        """
        return self._manager.immediate()

    @property
    def outbox(self) -> list[DeferredJob]:
        """The pending jobs, in the order in which they were deferred, where `PSEUDOCRON_ENABLED` is 0; for tests.

        Raises:
            ConfigError: Nothing is switched off, and the store is not in memory.
        """
        from pseudocron.jobs import outbox  # noqa: PLC0415  only tests need it

        return outbox.read(self._in_memory(), lambda name: self._task_named(name).function)

    def clear_outbox(self) -> None:
        """Cancel all jobs of the outbox; errors are those of `outbox`."""
        from pseudocron.jobs import outbox  # noqa: PLC0415  likewise

        outbox.clear(self._in_memory())

    def _in_memory(self) -> Backend:
        from pseudocron.jobs.outbox import completed  # noqa: PLC0415  likewise

        if self.settings.enabled and self.settings.backend != "memory:":
            raise ConfigError("outbox: jobs are stored, not kept: set PSEUDOCRON_ENABLED=0 before the tests")
        backend = self._manager.connect()
        completed(backend.open())
        return backend


def _first_parameter(function: FunctionType) -> str | None:
    code = function.__code__  # its variables begin with its parameters
    return code.co_varnames[0] if code.co_argcount else None
