"""Bound tasks, which store calls with their options, and handles of jobs."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from pseudocron.backends.model import State
from pseudocron.context import CurrentRun, running
from pseudocron.dataclass import dataclass
from pseudocron.jobs.manager import blocking, refuse_event_loop
from pseudocron.jobs.propagation import attach

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence

    from pseudocron.backends.questions import NewJob
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
            EventLoopError: The event loop is not asyncio's.
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
        async with await manager.opened() as backend:  # only an open store has told what time it is
            carried = self.task._hooks.propagated()  # asked here: a thread has not the context of who defers
            jobs = self._jobs(calls, carried) if few else await manager.host.hop(self._jobs, calls, carried)
            ids = await manager.store(backend, jobs) if jobs else []
        return list(map(self._handle, ids))

    def _hand_in_sync(self, calls: Sequence[Call], *, instead: str) -> list[JobHandle]:
        """Store calls as `_hand_in` does; blocks."""
        instead = f"await {self.task.name}.{instead}"
        refuse_event_loop(instead)
        if self.task._manager.inline:
            return [self._run_sync(job, instead) for job in self._jobs(calls)]
        carried = self.task._hooks.propagated()
        ids = self.task._manager.store_blocking(lambda: self._jobs(calls, carried))
        return [self._handle(job_id) for job_id in ids]

    def _jobs(self, calls: Sequence[Call], carried: Mapping[str, str] = NOTHING) -> list[NewJob]:
        from pseudocron.jobs.arguments import pack  # noqa: PLC0415  see `TaskRegistry._task`

        _ = self.task.process  # what no child process can run is said here, and not when it is due
        task, now = self.task, self.task._manager.now()
        jobs = []
        for args, kwargs in calls:
            text = attach(pack(task.function, args, kwargs), carried)
            jobs.append(self._options.job(task=task.name, arguments=text, now=now))
        return jobs

    async def _run(self, job: NewJob) -> JobHandle:
        from anyio import to_thread  # noqa: PLC0415  Starlette has it, and only tests need it

        with _inside(job):
            value = self._call(job) if self.task.target.is_async else await to_thread.run_sync(self._call, job)
            if inspect.isawaitable(value):
                await value
        return self._handle(job.run_id, ended=State.SUCCEEDED)

    def _run_sync(self, job: NewJob, instead: str) -> JobHandle:
        with _inside(job):
            value = self._call(job)
            if inspect.isawaitable(value):
                blocking(lambda: _awaited(value), instead=instead)
        return self._handle(job.run_id, ended=State.SUCCEEDED)

    def _call(self, job: NewJob) -> Any:
        from pseudocron.jobs.arguments import unpack  # noqa: PLC0415  likewise

        # By way of JSON, as it will be.
        bound = unpack(self.task.function, job.arguments)
        return self.task.function(*bound.args, **bound.kwargs)

    def _handle(self, job_id: str, ended: State | None = None) -> JobHandle:
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
    _ended: State | None = field(default=None, repr=False, compare=False)

    async def state(self) -> State | None:
        """Return the state of the job, or None if it ended so long ago that it is forgotten."""
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
    """Set what `current_run()` returns in a call that is made at once."""
    run = CurrentRun(name=job.task, slot=job.due, fence=1, attempt=1, run_id=job.run_id, is_job=True)
    token = running.set(run)
    try:
        yield
    finally:
        running.reset(token)


async def _awaited(value: Awaitable[Any]) -> None:
    await value
