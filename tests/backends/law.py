"""The law of the gate, stated of a store by what it tells of its jobs, and by the leases that a test knows of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pseudocron.backends.jobs import JobState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from backends.worlds import World
    from pseudocron.backends.jobs import Job


async def state_the_law(
    world: World, leases: Mapping[tuple[str, int], datetime], limits: Mapping[str, int | None]
) -> None:
    """The gate is stale as soon as something is due; then a poll that finds nothing dates it again."""
    backend = world.backends[-1]
    due = await earliest(world, leases, limits)
    fresh = await backend.fresh_for(60)
    assert fresh <= (60 if due is None else max(0.0, (due - world.now).total_seconds()))
    if await backend.enter(60) and (upcoming := await backend.next_due(limits)):
        await backend.lower(upcoming, 60)


async def earliest(
    world: World, leases: Mapping[tuple[str, int], datetime], limits: Mapping[str, int | None]
) -> datetime | None:
    """When the first pending job is due that nothing holds back, or the first lease ends."""
    backend = world.backends[-1]
    running = await backend.jobs(states=[JobState.RUNNING], limit=1000)
    kept = [job for one in await backend.lingering() if one.is_job and (job := await backend.job(one.run_id))]
    pending = await backend.jobs(states=[JobState.PENDING], limit=1000)
    free = free_of(pending, [*running, *kept], {job.job_id for job in kept}, limits)
    return min([*(job.due for job in free), *leases.values()], default=None)


def free_of(
    pending: Sequence[Job], held: Sequence[Job], kept: Collection[str], limits: Mapping[str, int | None]
) -> list[Job]:
    living, busy = Counter(job.task for job in held), {(job.task, job.key) for job in held if job.key}
    crowded = {task for task, most in limits.items() if most is not None and living[task] >= most}
    return [
        job
        for job in pending
        if job.task in limits and job.task not in crowded and (job.task, job.key) not in busy and job.job_id not in kept
    ]
