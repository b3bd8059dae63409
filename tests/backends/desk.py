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
from typing import TYPE_CHECKING, Any

from backends.worlds import LEASE, NOON, World
from pseudocron.backends.file import File, store
from pseudocron.backends.jobs import Job, JobClaim, JobEnd, JobState, NewJob

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime


@dataclass
class Desk:
    """The queue of a world; its jobs are named `j1`, `j2` and so on."""

    world: World
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

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
        return self.world.do(self.world.backend.defer(jobs, max_age=60))

    def claims(self, limit: int = 100, **tasks: int | None) -> Sequence[JobClaim]:
        """What a claim of these tasks gets; of `mail`, if none is named."""
        backend = self.world.backend
        return self.world.do(backend.claim_jobs(tasks or {"mail": None}, limit=limit, worker="host:1", lease=LEASE))

    def claim(self) -> JobClaim:
        (claim,) = self.claims()
        return claim

    def started(self, limit: int = 100, **tasks: int | None) -> list[str]:
        return [claim.job_id for claim in self.claims(limit, **tasks)]

    def end(self, claim: JobClaim, state: JobState = JobState.SUCCEEDED, **options: Any) -> JobState | None:
        (ended,) = self.end_all((claim, JobEnd(state=state, **options)))
        return ended

    def end_all(self, *ends: tuple[JobClaim, JobEnd]) -> Sequence[JobState | None]:
        return self.world.do(self.world.backend.finish_jobs(ends))

    def release(self, *claims: JobClaim) -> None:
        self.world.do(self.world.backend.release_jobs(claims))

    def cancel(self, job_id: str | None = None, **named: str) -> bool:
        return self.world.do(self.world.backend.cancel(job_id=job_id, **named))

    def lose(self) -> Sequence[Job]:
        """Nobody renews; what is reaped then."""
        self.world.forward(LEASE)
        return self.world.do(self.world.backend.reap_jobs())

    def job(self, job_id: str) -> Job:
        job = self.world.do(self.world.backend.job(job_id))
        assert job
        return job

    def state(self, job_id: str) -> JobState:
        return self.job(job_id).state

    def listed(self, **options: Any) -> list[str]:
        return [job.job_id for job in self.world.do(self.world.backend.jobs(**options))]

    def next(self, *tasks: str) -> datetime | None:
        return self.world.do(self.world.backend.next_due(dict.fromkeys(tasks or ("mail",))))

    def waiting(self) -> set[str]:
        return set(self.world.do(self.world.backend.waiting_tasks()))

    def count(self, **options: Any) -> dict[JobState, int]:
        return dict(self.world.do(self.world.backend.count_jobs(**options)))

    def retry(self, job_id: str) -> bool:
        return self.world.do(self.world.backend.retry(job_id))


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
