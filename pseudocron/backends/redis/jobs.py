"""The verbs of jobs."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import State
from pseudocron.backends.redis import batches
from pseudocron.backends.redis.codec import exact, given, micros_of
from pseudocron.backends.redis.grouping import Groups, is_grouped
from pseudocron.backends.redis.verbs import Verbs
from pseudocron.errors import BackendAwayError, JobConflictError, show

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence
    from datetime import timedelta

    from pseudocron.backends.questions import NewJob

PURGED_AT_ONCE = 100
"""How many jobs one script deletes."""

NOT_SENT = ("connecting to", "is full", "is a replica", "is still loading", "nothing is stored")
"""In the errors of calls that have stored nothing."""


class Jobs(Verbs):
    """The verbs that store, change and delete jobs."""

    async def defer(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """See `Backend.defer`."""
        if len(jobs) == 1 and self._connection.is_pipelined and is_grouped(jobs[0]):
            with _telling_of(jobs):
                return [await self._groups.defer(_new(jobs[0]))]
        return await self._defer(jobs, self._call)

    @cached_property
    def _groups(self) -> Groups:
        return Groups(lambda jobs, stored: self._send("defer", stored, jobs=jobs))

    def defer_blocking(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """See `Backend.defer_blocking`."""

        async def call(verb: str, **arguments: object) -> Any:
            return self._call_blocking(verb, **arguments)

        return _completed(self._defer(jobs, call))

    async def _defer(self, jobs: Sequence[NewJob], call: batches.Call) -> Sequence[str]:
        if not jobs:
            return []
        with _telling_of(jobs):
            answer = await batches.defer(call, list(map(_new, jobs)))
        if isinstance(answer, batches.Taken):
            raise _conflict(jobs[answer.number], answer.by)
        return answer

    async def cancel(self, *, run_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """See `Backend.cancel`."""
        return bool(await self._call("cancel", run_id=run_id, task=task, key=key))

    async def retry(self, run_id: str) -> bool:
        """See `Backend.retry`."""
        return bool(await self._call("retry", run_id=run_id))

    async def purge(self, keep: Mapping[State, timedelta], limit: int = 1000) -> int:
        """See `Backend.purge`; many are deleted some at a time."""
        ages = [{"state": state, "age": micros_of(age.total_seconds())} for state, age in keep.items()]
        deleted = 0
        while deleted < limit:
            some = min(limit - deleted, PURGED_AT_ONCE)
            count = int(await self._call("purge", ages=ages, limit=some, states=list(State)))
            deleted += count
            if count < some:
                break
        return deleted


def _new(job: NewJob) -> dict[str, object]:
    return given(
        run_id=job.run_id,
        task=job.task,
        arguments=job.arguments,
        due=exact(job.due, f"{job.task}: due"),
        key=job.key,
        on_conflict=job.on_conflict,
        priority=job.priority or None,
        expires=None if job.expires is None else exact(job.expires, f"{job.task}: expires"),
    )


def _completed(coroutine: Coroutine[Any, Any, Sequence[str]]) -> Sequence[str]:
    """Return the result of a coroutine all of whose calls block."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        ids: Sequence[str] = end.value
        return ids
    raise RuntimeError("a call did not block")


@contextmanager
def _telling_of(jobs: Sequence[NewJob]) -> Iterator[None]:
    """Say how to ask whether jobs are stored, if the answer did not come."""
    try:
        yield
    except BackendAwayError as error:
        if any(part in str(error) for part in NOT_SENT):
            raise
        what = f"job {jobs[0].run_id} is" if len(jobs) == 1 else f"the {len(jobs)} jobs are, all or none,"
        fix = f"whether {what} stored is not known: 'pseudocron jobs show {jobs[0].run_id}' tells"
        raise BackendAwayError(f"{error}; {fix}") from error


def _conflict(job: NewJob, by: str) -> JobConflictError:
    return JobConflictError(
        f"task {show(job.task)}: key {show(job.key)} is taken by pending job {show(by)}; "
        "cancel that job, or defer with on_conflict='replace' or 'keep'"
    )
