"""Tasks: functions that may be deferred, and their options."""

from __future__ import annotations

from functools import cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypedDict, TypeVar

from pseudocron.backends.model import Conflict
from pseudocron.config.entries import in_process
from pseudocron.config.settings import checked
from pseudocron.config.values import above_zero, error_types, job_key, one_of, optional, span, whole
from pseudocron.jobs.bound import BoundTask, Deferrable
from pseudocron.jobs.manager import blocking
from pseudocron.jobs.options import JobOptions, read_job_options
from pseudocron.targets import Function, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta
    from inspect import BoundArguments

    from pseudocron.config.values import Check, Duration
    from pseudocron.hooks import Hooks
    from pseudocron.jobs.manager import JobManager

P = ParamSpec("P")
T = TypeVar("T")


class Retry(Exception):  # noqa: N818 - it is a wish, and no error
    """Raised by a task to be retried, whatever its `retry_for` is; the run counts as an attempt.

    Args:
        after: Seconds to wait, a `timedelta` or words such as "5 min"; None for the usual backoff.

    Raises:
        ConfigError: `after` is none of these.
    """

    def __init__(self, after: Duration | None = None) -> None:
        self.after: timedelta | None = checked(optional(span), after, "Retry: after")
        super().__init__(f"again after {self.after}" if self.after is not None else "again")


class TaskOptions(TypedDict, total=False):
    """Options of a task.

    `retries` is the maximum number of retries of a failed job, `timeout` the seconds after which an attempt is ended
    (None for never), `retry_for` the exceptions after which a job is retried, `max_instances` the maximum number of its
    jobs that run at once, in all processes (None for any number), `executor` as for crons.
    """

    retries: int
    timeout: Duration | None
    retry_for: type[BaseException] | tuple[type[BaseException], ...]
    max_instances: int | None
    executor: Literal["async", "thread", "process"] | None


TASK_OPTIONS: Mapping[str, Check] = {
    "retries": whole(0),
    "timeout": optional(above_zero),
    "retry_for": error_types,
    "max_instances": optional(whole(1)),
    "executor": optional(one_of("async", "thread", "process")),
}


class Task(Deferrable[P], Generic[P, T]):
    """A registered function, which can be called as before, and deferred.

    Attributes:
        name: Name of the task in the store and in logs.
        function: The function that was decorated.
        target: The function and its import string.
        retries: Maximum number of retries of a failed job.
        timeout: Seconds after which an attempt is ended; None for never.
        retry_for: The exceptions after which a job is retried.
        max_instances: Maximum number of its jobs that run at once, in all processes; None for any number.
    """

    def __init__(
        self, name: str, function: Callable[P, T], options: Mapping[str, Any], *, manager: JobManager, hooks: Hooks
    ) -> None:
        update_wrapper(self, function)  # so that a child process that imports this finds the function in it
        target = resolve(function, folder=Path())
        assert isinstance(target, Function)  # noqa: S101 - a callable is never a script
        self.name = name
        self.function = function
        self.target = target
        self.retries: int = options.get("retries", 3)
        self.timeout: float | None = options.get("timeout", 1000.0)
        self.retry_for: tuple[type[BaseException], ...] = options.get("retry_for", (Exception,))
        self.max_instances: int | None = options.get("max_instances")
        self._manager = manager
        self._hooks = hooks
        self._executor: str | None = options.get("executor")

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function."""
        return self.function(*args, **kwargs)

    @cached_property
    def process(self) -> bool:
        """Whether it runs in a child process; `ConfigError` if the executor can't run it.

        Found at first use: the functions of a module can be imported only after the module has been executed.
        """
        return in_process(self._executor, self.target)

    def _unpack(self, text: str) -> BoundArguments:
        """Return stored arguments as a run of this task takes them, or raise `ArgumentError` if they no longer fit."""
        from pseudocron.jobs.arguments import plain, unpack  # noqa: PLC0415  see `TaskRegistry._task`

        bound = unpack(self.function, text)
        return plain(self.function, text) if self.process else bound

    def _call_plain(self, *args: Any, **kwargs: Any) -> T:
        """Call the function, in the child process, with what these plain arguments mean."""
        from pseudocron.jobs.arguments import revive  # noqa: PLC0415  likewise

        bound = revive(self.function, args, kwargs)
        return self.function(*bound.args, **bound.kwargs)

    def options(
        self,
        *,
        at: datetime | None = None,
        delay: Duration | None = None,
        key: str | None = None,
        on_conflict: Conflict | Literal["replace", "keep", "raise"] = Conflict.REPLACE,
        priority: int = 0,
        expires: datetime | Duration | None = None,
    ) -> BoundTask[P]:
        """Return the task bound to options for its jobs; the result is immutable and reusable.

        Args:
            at: Earliest start, an aware `datetime`; an instant in the past means now.
            delay: Time from the call of `defer` to the earliest start, in seconds, as a `timedelta` or in words.
            key: 1 to 200 characters, unique among the pending jobs of the task.
            on_conflict: What happens to a pending job with the same key: the new job replaces it ("replace"), it stays
                and the new job is not stored ("keep"), or `defer` raises `JobConflictError` ("raise").
            priority: The due job with the highest priority starts first; among equals, the one due first.
            expires: Latest start, an aware `datetime`, or the time from the call of `defer` in seconds or as a
                `timedelta`.

        Raises:
            ConfigError: An option is wrong, or both `at` and `delay` are given.
        """
        given = {"at": at, "delay": delay, "key": key, "priority": priority, "expires": expires}
        return BoundTask(task=self, _options=read_job_options(self.name, {**given, "on_conflict": on_conflict}))

    async def cancel(self, *, key: str) -> bool:
        """Cancel the job with this key; return whether it was pending, so that it never starts.

        A running job is not stopped, but not retried.

        Raises:
            ConfigError: `key` is not a key.
            BackendError: The store can't be used.
        """
        return await self._manager.cancel(task=self.name, key=checked(job_key, key, f"{self.name}: key"))

    def cancel_sync(self, *, key: str) -> bool:
        """Cancel the job with this key where no event loop is running. Blocks."""
        return blocking(lambda: self.cancel(key=key), instead=f"await {self.name}.cancel(...)")

    def _bound(self) -> BoundTask[P]:
        return self._without_options

    @cached_property
    def _without_options(self) -> BoundTask[P]:
        return BoundTask(task=self, _options=JobOptions())


def undecorated(function: Any) -> Any:
    """Return the function of a task, and anything else unchanged."""
    return function.function if isinstance(function, Task) else function
