"""Short words for the queue of jobs of a world, and programs that use one until they are done or killed.

python desk.py defer FOLDER          defers jobs, and prints the id of each when it is stored
python desk.py drain FOLDER LIMIT    claims and finishes jobs until there are none, and prints the id of each
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backends.law import state_the_law
from backends.worlds import LEASE, NOON, SECOND, World
from pseudocron.backends.file import File, store
from pseudocron.backends.jobs import Job, JobClaim, JobEnd, JobState, NewJob

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence
    from datetime import datetime

    from pseudocron.backends.job_rules import Claims

T = TypeVar("T")


@dataclass
class Desk:
    """The queue of a world; its jobs are named `j1`, `j2` and so on.

    A desk that is `lawful` states the law of the gate after each verb, see `law.py`.
    """

    world: World
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    lawful: bool = False
    leases: dict[tuple[str, int], datetime] = field(default_factory=dict)
    limits: dict[str, int | None] = field(default_factory=dict)

    def do(self, verb: Coroutine[Any, Any, T]) -> T:
        result = self.world.do(verb)
        if self.lawful:
            self.world.do(state_the_law(self.world, self.leases, self.limits))
        return result

    def new(self, key: str | None = None, *, due: datetime | None = None, **options: Any) -> NewJob:
        fresh: dict[str, Any] = {
            "job_id": f"j{next(self.numbers)}",
            "task": "mail",
            "arguments": "[]",
            "due": due or self.world.now,
        }
        return NewJob(key=key, **fresh | options)

    def defer(self, key: str | None = None, **options: Any) -> str:
        (job_id,) = self.defer_all(self.new(key, **options))
        return job_id

    def defer_all(self, *jobs: NewJob) -> Sequence[str]:
        return self.do(self.world.backend.defer(jobs, max_age=60))

    def claims(self, limit: int = 100, **tasks: int | None) -> Claims:
        """What a claim of these tasks gets; of `mail`, if none is named."""
        self.limits = dict(tasks or {"mail": None})
        claims = self.do(self.polled(limit))
        self.leases |= {(claim.job_id, claim.fence): self.world.now + LEASE * SECOND for claim in claims}
        return claims

    async def polled(self, limit: int) -> Claims:
        """A claim, and if it is to be lawful the end of the poll of which it is a part."""
        backend = self.world.backend
        claims = await backend.claim_jobs(self.limits, limit=limit, worker="host:1", lease=LEASE)
        if self.lawful and (upcoming := await backend.next_due(self.limits)):
            await backend.lower(upcoming, 60)
        return claims

    def claim(self) -> JobClaim:
        (claim,) = self.claims()
        return claim

    def started(self, limit: int = 100, **tasks: int | None) -> list[str]:
        return [claim.job_id for claim in self.claims(limit, **tasks)]

    def end(self, claim: JobClaim, state: JobState = JobState.SUCCEEDED, **options: Any) -> JobState | None:
        (ended,) = self.end_all((claim, JobEnd(state=state, **options)))
        return ended

    def end_all(self, *ends: tuple[JobClaim, JobEnd]) -> Sequence[JobState | None]:
        for claim, end in ends:
            if not end.goes_on:
                self.leases.pop((claim.job_id, claim.fence), None)
        return self.do(self.world.backend.finish_jobs(ends))

    def release(self, *claims: JobClaim) -> None:
        kept = {one.run_id for one in self.world.do(self.world.backend.lingering())}
        for claim in claims:
            if claim.job_id in kept:
                self.leases.pop((claim.job_id, claim.fence), None)
        self.do(self.world.backend.release_jobs(claims))

    def cancel(self, job_id: str | None = None, **named: str) -> bool:
        return self.do(self.world.backend.cancel(job_id=job_id, **named))

    def lose(self) -> Sequence[Job]:
        """Nobody renews; what is reaped then."""
        self.world.forward(LEASE)
        return self.reap()

    def reap(self) -> Sequence[Job]:
        self.leases = {claim: end for claim, end in self.leases.items() if end > self.world.now}
        return self.do(self.world.backend.reap_jobs())

    def job(self, job_id: str) -> Job:
        job = self.do(self.world.backend.job(job_id))
        assert job
        return job

    def state(self, job_id: str) -> JobState:
        return self.job(job_id).state

    def listed(self, **options: Any) -> list[str]:
        return [job.job_id for job in self.do(self.world.backend.jobs(**options))]

    def next(self, *tasks: str) -> datetime | None:
        return self.do(self.world.backend.next_due(dict.fromkeys(tasks or ("mail",))))

    def waiting(self) -> set[str]:
        return set(self.do(self.world.backend.waiting_tasks()))

    def count(self, **options: Any) -> dict[JobState, int]:
        return dict(self.do(self.world.backend.count_jobs(**options)))

    def retry(self, job_id: str) -> bool:
        return self.do(self.world.backend.retry(job_id))


async def defer(folder: Path) -> None:
    backend = File(folder)
    await backend.open()
    for n in count():
        new = NewJob(job_id=f"job-{n}", task="mail", arguments="[]", due=NOON)
        (job_id,) = await backend.defer([new], max_age=60)
        print(job_id, flush=True)  # noqa: T201  its output


async def drain(folder: Path, limit: int) -> None:
    store.PATIENCE = 30.0  # it is about who gets what, not about how long a busy disk may take
    backend = File(folder)
    await backend.open()
    while claims := await backend.claim_jobs({"mail": None}, limit=limit, worker=str(os.getpid()), lease=300):
        for claim in claims:
            (state,) = await backend.finish_jobs([(claim, JobEnd(state=JobState.SUCCEEDED))])
            assert state is JobState.SUCCEEDED
            print(claim.job_id)  # noqa: T201  its output
    await backend.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["defer", folder]:
            asyncio.run(defer(Path(folder)))
        case ["drain", folder, limit]:
            asyncio.run(drain(Path(folder), int(limit)))
