"""Help for the tests of applications: crons and jobs in memory, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from pseudocron.config.settings import checked
from pseudocron.config.values import aware
from pseudocron.host import Host
from pseudocron.runner import Runner

if TYPE_CHECKING:
    from pseudocron.backends.jobs import JobClaim, JobState
    from pseudocron.backends.records import Outcome
    from pseudocron.crons import Crons

START = datetime(2024, 1, 1, tzinfo=UTC)

MOMENT = timedelta(seconds=1)
"""How long a world waits at least until it looks again."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What fell due and was run.

    Args:
        name: The cron's, or the task's.
        due: Its slot, or when the job was due, aware UTC.
        outcome: How the run ended, or the state of the job then: `pending` if it is to be tried again.
    """

    name: str
    due: datetime
    outcome: Outcome | JobState | None


class World:
    """One process that runs the crons and jobs of a `Crons`, in memory, while the test moves the clock.

    What the application defers lands in it as well. `with World(crons) as world:` gives the `Crons` its own store and
    clock back in the end.

    Args:
        crons: Its store and its clock are replaced.
        start: The time at first, aware.

    Raises:
        ConfigError: `start` is not aware.
    """

    def __init__(self, crons: Crons, *, start: datetime = START) -> None:
        self.now: datetime = checked(aware, start, "World: start")
        host = Host(now=lambda: self.now, monotonic=self._seconds, sleep=self._pass_by, random=lambda: 1.0)
        settings = self._before = crons.settings
        crons.pin(backend="memory:", app=settings.app)
        self._crons = crons
        self._runner = Runner(
            crons.connect(host),
            host=host,
            worker="test",
            concurrency=settings.concurrency,
            lease=settings.lease,
            on_job_end=self._note,
        )
        self._jobs: list[Ran] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._crons.pin(backend=self._before.backend, app=self._before.app)
        self._crons.connect(Host())

    async def advance(
        self, *, weeks: float = 0, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> list[Ran]:
        """Move the clock, and run what falls due on the way, each at its time; what ran, in that order."""
        end = self.now + timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        ran: list[Ran] = []
        while (due := await self._run_due(ran)) is not None and due <= end:
            self.now = max(self.now, due)
        self.now = end
        return ran

    async def _run_due(self, ran: list[Ran]) -> datetime | None:
        """Look until nothing is due any more; when the next is."""
        while True:
            looked = await self._runner.look(self._crons)
            ran += [Ran(run.claim.name, run.claim.slot, (await run.task).outcome) for run in looked.started]
            await self._runner.idle()
            ran += self._jobs
            self._jobs = []
            if not (looked.started or looked.jobs):
                # What is due and can't start, as its task is not registered here, keeps no time from passing.
                return looked.next and max(looked.next, self.now + MOMENT)

    def _note(self, claim: JobClaim, state: JobState | None) -> None:
        self._jobs.append(Ran(claim.task, claim.due, state))

    def _seconds(self) -> float:
        return self.now.timestamp()

    async def _pass_by(self, seconds: float) -> None:
        """Sleeping takes no time, and lets it pass."""
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)
