"""What a `Crons` does with tasks and jobs: registers the former, finds and cancels the latter."""

from __future__ import annotations

from inspect import isfunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from pseudocron.config.entries import read_options
from pseudocron.config.values import cron_name
from pseudocron.errors import ConfigError, UnknownTaskError, did_you_mean, show
from pseudocron.hooks import Hooks
from pseudocron.jobs.manager import JobManager, blocking
from pseudocron.jobs.tasks import TASK_OPTIONS, Task
from pseudocron.targets import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Run
    from pseudocron.config.settings import Settings
    from pseudocron.host import Host
    from pseudocron.jobs.tasks import TaskOptions

P = ParamSpec("P")
T = TypeVar("T")


class TaskRegistry:
    """The half of `Crons` that has to do with jobs."""

    def __init__(self) -> None:
        self._manager = JobManager(lambda: self.settings)
        self._tasks: dict[str, Task[..., Any]] = {}
        self._checked_tasks: Mapping[str, Task[..., Any]] | None = None
        self._hooks = Hooks()

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

        It may still be called as before.

        Args:
            name: By which it is known in the store; that of the function if None. A function may be renamed or moved
                as long as its task keeps the name.
            options: As `TaskOptions` describes them; `retries=3`, `timeout=1000.0`, `retry_for=(Exception,)`,
                `max_instances=None` and `executor=None` if not given.

        Raises:
            ConfigError: An option is wrong, the name is taken, or it is no function, or a method.
            TargetError: It yields.
        """
        if callable(name):
            return self._task(name, None, options)
        return lambda function: self._task(function, name, options)

    def _task(self, function: Callable[P, T], name: str | None, options: TaskOptions) -> Task[P, T]:
        # Its tasks need it later, perhaps on an event loop, which an import would block. Without tasks nobody does.
        import pseudocron.jobs.arguments  # noqa: F401, PLC0415

        said = getattr(function, "__name__", "") if name is None else name
        with self._naming(said):
            try:
                said = cron_name(said)
            except ValueError as error:
                raise ConfigError(str(error)) from None
            if not callable(function):
                raise ConfigError(f"{show(function)}: must be a function")
            if isfunction(function) and function.__code__.co_varnames[:1] in {("self",), ("cls",)}:
                raise ConfigError(f"{describe(function)} is a method, must be a function: a job has no object to call")
            if said in self._tasks:
                taken, other = describe(self._tasks[said].function), describe(function)
                raise ConfigError(f"names both {taken} and {other}, give one of them another name")
            checked = read_options(options, known=TASK_OPTIONS)
            task = Task(said, function, checked, manager=self._manager, hooks=self._hooks)
            self._tasks[said] = task
            self._checked_tasks = None
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
        """One task; `UnknownTaskError` if there is none of this name."""
        if name not in self._tasks:
            raise UnknownTaskError(f"there is no task {show(name)}{did_you_mean(name, self._tasks)}")
        return self.tasks[name]

    def _connect(self, host: Host | None = None) -> Backend:
        """The store of these crons: one object for all that this process does with it. It opens nothing.

        Args:
            host: Time, sleep, chance and threads from now on, also for what is deferred; None leaves them as they are.
        """
        return self._manager.connect(host)

    async def job(self, job_id: str) -> Run | None:
        """What is known of a job; None if there is none of this id (any more).

        Raises:
            BackendError: The store can't be used.
        """
        return await self._manager.job(job_id)

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job; True if it was still pending, so that it never starts.

        One that is running is not stopped, but not tried again either.

        Raises:
            BackendError: The store can't be used.
        """
        return await self._manager.cancel(job_id=job_id)

    def cancel_sync(self, job_id: str) -> bool:
        """The same where no event loop is running; `EventLoopError` if one is. Blocks."""
        return blocking(lambda: self.cancel(job_id), instead="await crons.cancel(...)")

    def on_deferred(self, callback: Callable[[datetime], None]) -> None:
        """Call back after each defer, in whatever thread that was, with when its first job is due (aware UTC).

        A bound method is held weakly: its object may go, and is then told no more.
        """
        self._manager.on_deferred(callback)

    def immediate(self) -> AbstractContextManager[None]:
        """For tests: inside of it a deferred call is made at once, by way of JSON but without a store.

        What a call raises, `defer` raises. When it was meant to be made, and its key, play no part.
        """
        return self._manager.immediate()
