"""Outbox: the jobs in a store in memory, as the tests of an application read them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Where
from pseudocron.jobs.arguments import unpack
from pseudocron.jobs.propagation import without_context

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import datetime

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Run
    from pseudocron.jobs.manager import JobManager

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeferredJob:
    """A job as it was deferred, to be compared with the one that a test expects.

    Args:
        task: Name of the task.
        arguments: Arguments by parameter name, converted to the types of the annotations. Arguments that the call
            left out are left out here too.
        due: When the job is due, aware UTC.
        key: Its key; None without one.
        priority: Its priority.
        expires: Latest start, aware UTC; None without one.
        state: State of the job now, a `State`.
        attempts: Number of attempts that have started.
        id: Identity of the job, as in `JobHandle.id`; not compared.
    """

    task: str
    arguments: Mapping[str, Any]
    due: datetime
    key: str | None = None
    priority: int = 0
    expires: datetime | None = None
    state: str = State.PENDING
    attempts: int = 0
    id: str = field(default="", compare=False)


def read(
    backend: Backend,
    function_of: Callable[[str], Callable[..., Any]],
    *,
    task: str | None = None,
    key: str | None = None,
    state: str | None = State.PENDING,
) -> list[DeferredJob]:
    """Return jobs of a store in memory, in the order in which they were deferred.

    Args:
        backend: The store, open.
        function_of: Returns the function of a task by its name.
        task: Name of a task: only its jobs.
        key: Only jobs with this key.
        state: Only jobs in this state; None for jobs in any state.
    """
    states = set() if state is None else {State(state)}
    where = Where(states=states, kinds={Kind.JOB}, name=task, key=key)
    jobs = completed(backend.runs(where, limit=sys.maxsize))
    return [_deferred(job, function_of(job.name)) for job in reversed(jobs)]


def _deferred(job: Run, function: Callable[..., Any]) -> DeferredJob:
    return DeferredJob(
        task=job.name,
        arguments=unpack(function, without_context(job.arguments or "{}")).arguments,
        due=job.due,
        key=job.key,
        priority=job.priority,
        expires=job.expires,
        state=job.state,
        attempts=job.attempts,
        id=job.run_id,
    )


def completed(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing, as those of the store in memory; needs no event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    coroutine.close()
    raise RuntimeError("the store in memory had to wait")


def clear(backend: Backend) -> None:
    """Cancel all pending jobs of a store in memory."""
    completed(backend.open())
    for job in completed(backend.runs(Where(states={State.PENDING}, kinds={Kind.JOB}), limit=sys.maxsize)):
        completed(backend.cancel(run_id=job.run_id))


def clear_all() -> None:
    """Clear the outbox of every `Crons` of this process that is switched off."""
    for manager in list(switched_off):
        clear(manager.connect())


switched_off: WeakSet[JobManager] = WeakSet()
"""The job managers that keep their jobs in this process."""
