"""The verbs of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pseudocron.backends.model import State
from pseudocron.backends.redis import batches
from pseudocron.backends.redis.codec import exact, given, micros_of
from pseudocron.backends.redis.verbs import Verbs
from pseudocron.errors import BackendAwayError, JobConflictError, show

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
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
        return await self._defer(jobs, self._call)

    def defer_blocking(self, jobs: Sequence[NewJob]) -> Sequence[str]:
        """See `Backend.defer_blocking`."""

        async def call(verb: str, **arguments: object) -> Any:
            return self._call_blocking(verb, **arguments)

        return _completed(self._defer(jobs, call))

    async def _defer(self, jobs: Sequence[NewJob], call: batches.Call) -> Sequence[str]:
        if not jobs:
            return []
        try:
            answer = await batches.defer(call, list(map(_new, jobs)))
        except BackendAwayError as error:
            if any(part in str(error) for part in NOT_SENT):
                raise
            raise BackendAwayError(f"{error}; {_ask(jobs)}") from error
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


def _ask(jobs: Sequence[NewJob]) -> str:
    what = f"job {jobs[0].run_id} is" if len(jobs) == 1 else f"the {len(jobs)} jobs are, all or none,"
    return f"whether {what} stored is not known: 'pseudocron jobs show {jobs[0].run_id}' tells"


def _conflict(job: NewJob, by: str) -> JobConflictError:
    return JobConflictError(
        f"task {show(job.task)}: key {show(job.key)} is taken by pending job {show(by)}; "
        "cancel that job, or defer with on_conflict='replace' or 'keep'"
    )
