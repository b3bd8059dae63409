"""Bound tasks, which store calls with their options, and handles of jobs."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from pseudocron.backends.jobs import JobState
from pseudocron.context import CurrentRun, running
from pseudocron.jobs.arguments import pack, unpack
from pseudocron.jobs.manager import blocking
from pseudocron.jobs.propagation import attach

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence

    from pseudocron.backends.jobs import NewJob
    from pseudocron.jobs.manager import JobManager
    from pseudocron.jobs.options import JobOptions
    from pseudocron.jobs.tasks import Task

    Call = tuple[Sequence[Any], Mapping[str, Any]]

P = ParamSpec("P")

NOTHING: Mapping[str, str] = MappingProxyType({})

FEW = 20
"""Maximum number of calls that are checked and packed on the event loop; more would block it, and go to a thread."""


class Deferrable(Generic[P]):
    """What tasks and bound tasks have in common."""

    def _bound(self) -> BoundTask[P]:
        raise NotImplementedError

    async def defer(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Store a call, to be run by any process that has the task; the job is durable when this returns.

        Raises:
            ArgumentError: The arguments do not fit the function, or can't be stored.
            ConfigError: The job expires before it is due.
            JobConflictError: Another pending job has the key, with `on_conflict="raise"`.
            BackendError: The store can't be used. After any error, nothing is stored.
        """
        return (await self._bound()._hand_in([(args, kwargs)]))[0]

    def defer_sync(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Store a call where no event loop is running: in a sync view, a thread, a script. Blocks.

        Raises:
            EventLoopError: An event loop is running in this thread. Other errors are those of `defer`.
        """
        return self._bound()._hand_in_sync([(args, kwargs)], instead="defer(...)")[0]

    async def defer_many(self, calls: Iterable[Mapping[str, Any]]) -> list[JobHandle]:
        """Store many calls, all of them or none: `await send.defer_many([{"user": 1}, {"user": 2}])`.

        Args:
            calls: The arguments of each call, by name.

        Raises:
            ArgumentError, ConfigError, JobConflictError, BackendError: As in `defer`.
        """
        return await self._bound()._hand_in([((), call) for call in calls])

    def defer_many_sync(self, calls: Iterable[Mapping[str, Any]]) -> list[JobHandle]:
        """Store many calls where no event loop is running; errors are those of `defer_sync`. Blocks."""
        return self._bound()._hand_in_sync([((), call) for call in calls], instead="defer_many(...)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundTask(Deferrable[P]):
    """A task with options; immutable, and reusable."""

    task: Task[P, Any]
    _options: JobOptions

    def _bound(self) -> BoundTask[P]:
        return self

    async def _hand_in(self, calls: Sequence[Call]) -> list[JobHandle]:
        """Store calls, or run them inside of `Crons.immediate()`."""
        if self.task._manager.inline:
            return [await self._run(job) for job in self._jobs(calls)]
        few, manager = len(calls) <= FEW, self.task._manager
        async with await manager.opened():  # the clock of a store is known once it is open
            carried = self.task._hooks.propagated()  # here: a thread does not have the context of the caller
            jobs = self._jobs(calls, carried) if few else await manager.host.hop(self._jobs, calls, carried)
            ids = await manager.store(jobs) if jobs else []
        return [self._handle(job_id) for job_id in ids]

    def _hand_in_sync(self, calls: Sequence[Call], *, instead: str) -> list[JobHandle]:
        """Store or run calls where no event loop is running. Blocks."""
        instead = f"await {self.task.name}.{instead}"
        if self.task._manager.inline:
            return [self._run_sync(job, instead) for job in self._jobs(calls)]
        return blocking(lambda: self._hand_in(calls), instead=instead)

    def _jobs(self, calls: Sequence[Call], carried: Mapping[str, str] = NOTHING) -> list[NewJob]:
        _ = self.task.process  # raises here, and not when the job is due, if no child process can run the task
        task, now = self.task, self.task._manager.now()
        packed = (attach(pack(task.function, args, kwargs), carried) for args, kwargs in calls)
        return [self._options.job(task=task.name, arguments=text, now=now) for text in packed]

    async def _run(self, job: NewJob) -> JobHandle:
        with _inside(job):
            value = self._call(job)
            if inspect.isawaitable(value):
                await value
        return self._handle(job.job_id, ended=JobState.SUCCEEDED)

    def _run_sync(self, job: NewJob, instead: str) -> JobHandle:
        with _inside(job):
            value = self._call(job)
            if inspect.isawaitable(value):
                blocking(lambda: _awaited(value), instead=instead)
        return self._handle(job.job_id, ended=JobState.SUCCEEDED)

    def _call(self, job: NewJob) -> Any:
        # The arguments pass through JSON, as those of a stored job.
        bound = unpack(self.task.function, job.arguments)
        return self.task.function(*bound.args, **bound.kwargs)

    def _handle(self, job_id: str, ended: JobState | None = None) -> JobHandle:
        return JobHandle(
            id=job_id, task=self.task.name, key=self._options.key, _manager=self.task._manager, _ended=ended
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHandle:
    """A job that was deferred.

    Attributes:
        id: Identity of the job, for `Crons.job`; with `on_conflict="keep"` it may be an older job's.
        task: Name of the task.
        key: Key of the job; None without one.
    """

    id: str
    task: str
    key: str | None
    _manager: JobManager = field(repr=False, compare=False)
    _ended: JobState | None = field(default=None, repr=False, compare=False)

    async def state(self) -> JobState | None:
        """Return the state of the job; None if it ended so long ago that it was removed."""
        if self._ended is not None:
            return self._ended
        job = await self._manager.job(self.id)
        return job.state if job else None

    async def cancel(self) -> bool:
        """Cancel the job; return whether it was pending. A running job is not stopped, but not retried."""
        return self._ended is None and await self._manager.cancel(job_id=self.id)

    def cancel_sync(self) -> bool:
        """Cancel the job where no event loop is running. Blocks."""
        return blocking(self.cancel, instead="await job.cancel()")


@contextmanager
def _inside(job: NewJob) -> Iterator[None]:
    """Set what `current_run()` returns in a call that is run inline."""
    run = CurrentRun(name=job.task, slot=job.due, fence=1, attempt=1, run_id=job.job_id, is_job=True)
    token = running.set(run)
    try:
        yield
    finally:
        running.reset(token)


async def _awaited(value: Awaitable[Any]) -> None:
    await value
