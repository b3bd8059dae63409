"""The verbs of jobs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pseudocron.backends.redis.codec import given, micros, micros_of
from pseudocron.backends.redis.grouping import Groups, is_grouped
from pseudocron.backends.redis.verbs import Verbs
from pseudocron.errors import JobConflictError, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from pseudocron.backends.model import State
    from pseudocron.backends.questions import NewJob


class Jobs(Verbs):
    """The verbs that store, change and delete jobs."""

    async def defer(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """See `Backend.defer`."""
        if len(jobs) == 1 and self._connection.is_pipelined and is_grouped(jobs[0]):
            return [await self._groups.defer(_new(jobs[0]))]
        return _ids(jobs, await self._call("defer", jobs=list(map(_new, jobs)))) if jobs else []

    @cached_property
    def _groups(self) -> Groups:
        return Groups(lambda jobs, stored: self._ask("defer", stored, jobs=jobs))

    def defer_blocking(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """See `Backend.defer_blocking`."""
        return _ids(jobs, self._call_blocking("defer", jobs=list(map(_new, jobs)))) if jobs else []

    async def cancel(self, *, run_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """See `Backend.cancel`."""
        return bool(await self._call("cancel", run_id=run_id, task=task, key=key))

    async def retry(self, run_id: str) -> bool:
        """See `Backend.retry`."""
        return bool(await self._call("retry", run_id=run_id))

    async def purge(self, keep: Mapping[State, timedelta], limit: int = 1000) -> int:
        """See `Backend.purge`."""
        ages = [{"state": state, "age": micros_of(age.total_seconds())} for state, age in keep.items()]
        return int(await self._call("purge", ages=ages, limit=limit))


def _new(job: NewJob) -> dict[str, object]:
    return given(
        run_id=job.run_id,
        task=job.task,
        arguments=job.arguments,
        due=micros(job.due),
        key=job.key,
        on_conflict=job.on_conflict,
        priority=job.priority or None,
        expires=None if job.expires is None else micros(job.expires),
    )


def _ids(jobs: Sequence[NewJob], answer: Any) -> Sequence[str]:
    """Return the ids of the jobs that stand for these.

    Raises:
        JobConflictError: A key is taken.
    """
    if isinstance(answer, dict) and "refused" in answer:
        refused = jobs[answer["refused"] - 1]
        raise JobConflictError(
            f"task {show(refused.task)}: key {show(refused.key)} is taken by pending job {show(answer['by'])}; "
            "cancel that job, or defer with on_conflict='replace' or 'keep'"
        )
    return list(answer)
