"""The verbs of the queue of jobs, each one call of `lua/queue.lua`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pseudocron.backends.job_rules import BATCH, IN_USE_FOR, REASONS, SEEN_AGAIN, Claims, claim_of, taken
from pseudocron.backends.jobs import JobState, Queue
from pseudocron.backends.legible import EPOCH
from pseudocron.backends.redis.records import instant, job_of, micros, micros_of
from pseudocron.truncation import kept

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from pseudocron.backends.jobs import Job, JobClaim, JobEnd, NewJob
    from pseudocron.backends.redis.wire import Wire

SCAN = 1000
"""How many jobs are looked at in one call: while a script runs, the server does nothing else."""


class Jobs(Queue):
    """The verbs of the queue.

    Args:
        wire: The way to the server.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def _ask_queue(self, verb: str, **arguments: object) -> Any:
        return await self._wire.ask("queue", verb, **self._rules(), **arguments)

    def _rules(self) -> dict[str, object]:
        """What each verb may need to know."""
        return {
            "reasons": REASONS,
            "batch": BATCH,
            "lost_at_most": self.lost_at_most,
            "cron_max_time": micros_of(self.cron_max_time),
            "in_use_for": micros_of(IN_USE_FOR * self.cron_max_time),
            "seen_again": micros_of(SEEN_AGAIN * self.cron_max_time),
        }

    async def defer(self, jobs: Sequence[NewJob], *, max_age: float) -> Sequence[str]:
        """See `Queue.defer`; the gate is lowered in the same call."""
        if not jobs:
            return []
        answer = await self._ask_queue("defer", jobs=[_new(job) for job in jobs], max_age=micros_of(max_age))
        if isinstance(answer, dict):
            raise taken(jobs[answer["refused"] - 1], answer["by"])
        return list(answer)

    async def cancel(self, *, job_id: str | None = None, task: str | None = None, key: str | None = None) -> bool:
        """See `Queue.cancel`."""
        return bool(await self._ask_queue("cancel", job_id=job_id, task=task, key=key))

    async def claim_jobs(self, tasks: Mapping[str, int | None], *, limit: int, worker: str, lease: float) -> Claims:
        """See `Queue.claim_jobs`."""
        if limit < 1:
            return Claims()
        claimed, is_cut_short = await self._ask_queue(
            "claim_jobs", tasks=_limits(tasks), limit=limit, worker=worker, lease=micros_of(lease)
        )
        claims = (claim_of(job, job.started or EPOCH) for job in map(job_of, claimed))
        return Claims(claims, is_cut_short=bool(is_cut_short))

    async def release_jobs(self, claims: Sequence[JobClaim]) -> None:
        """See `Queue.release_jobs`."""
        if claims:
            await self._ask_queue("release_jobs", claims=list(map(_claim, claims)))

    async def next_due(self, tasks: Mapping[str, int | None]) -> datetime | None:
        """See `Queue.next_due`."""
        soonest = await self._ask_queue("next_due", tasks=_limits(tasks))
        return None if soonest is None else instant(soonest)

    def renew_jobs(self, claims: Sequence[JobClaim], lease: float) -> Collection[str]:
        """See `Queue.renew_jobs`."""
        own = list(map(_claim, claims))
        return set(self._wire.ask_blocking("queue", "renew_jobs", claims=own, lease=micros_of(lease))) if own else set()

    async def finish_jobs(self, ends: Sequence[tuple[JobClaim, JobEnd]]) -> Sequence[JobState | None]:
        """See `Queue.finish_jobs`."""
        states = await self._ask_queue("finish_jobs", ends=[_end(claim, end) for claim, end in ends])
        return [JobState(state) if state else None for state in states]

    async def reap_jobs(self) -> Sequence[Job]:
        """See `Queue.reap_jobs`."""
        return [job_of(job) for job in await self._ask_queue("reap_jobs")]

    async def waiting_tasks(self) -> Collection[str]:
        """See `Queue.waiting_tasks`."""
        return set(await self._ask_queue("waiting_tasks"))

    async def count_jobs(self, *, at_most: int = 10_000) -> Mapping[JobState, int]:
        """See `Queue.count_jobs`."""
        counts = await self._ask_queue("count_jobs", states=list(JobState))
        return {state: min(count, at_most) for state, count in zip(JobState, counts, strict=True)}

    async def job(self, job_id: str) -> Job | None:
        """See `Queue.job`."""
        job = await self._ask_queue("job", job_id=job_id)
        return None if job is None else job_of(job)

    async def jobs(
        self,
        *,
        states: Collection[JobState] = (),
        task: str | None = None,
        key: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[Job]:
        """See `Queue.jobs`; many are looked through some at a time, and may change meanwhile."""
        below = "+inf" if before is None else await self._ask_queue("place", job_id=before)
        found: list[Job] = []
        while below is not None and len(found) < limit:
            part = await self._ask_queue(
                "jobs", states=list(set(states) or JobState), task=task, key=key, below=below, scan=SCAN
            )
            found += map(job_of, part["found"])
            below = part.get("below")
        return found[:limit]

    async def retry(self, job_id: str) -> bool:
        """See `Queue.retry`."""
        return bool(await self._ask_queue("retry", job_id=job_id))

    async def purge(self, keep: Mapping[JobState, timedelta], *, limit: int = 1000) -> int:
        """See `Queue.purge`."""
        ages = [{"state": state, "age": micros_of(age.total_seconds())} for state, age in keep.items()]
        return int(await self._ask_queue("purge", keep=ages, limit=limit))


def _new(job: NewJob) -> dict[str, object]:
    new = {
        "job_id": job.job_id,
        "task": job.task,
        "arguments": job.arguments,
        "due": micros(job.due),
        "key": job.key,
        "on_conflict": job.on_conflict,
        "priority": job.priority,
        "expires": None if job.expires is None else micros(job.expires),
    }
    return _there(new)


def _limits(tasks: Mapping[str, int | None]) -> list[dict[str, object]]:
    return [_there({"name": task, "most": most}) for task, most in tasks.items()]


def _claim(claim: JobClaim) -> dict[str, object]:
    return {"job_id": claim.job_id, "task": claim.task, "fence": claim.fence}


def _end(claim: JobClaim, end: JobEnd) -> dict[str, object]:
    ending = _claim(claim) | {
        "state": end.state,
        "due": None if end.due is None else micros(end.due),
        "error": kept(end.error),
        "reason": end.reason,
        "counts": end.counts,
        "goes_on": end.goes_on or None,
        "unfit": end.unfit or None,
    }
    return _there(ending)


def _there(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
