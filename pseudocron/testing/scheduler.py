"""Help for the tests of applications: crons and jobs in memory, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from pseudocron.backends.model import State
from pseudocron.config.settings import checked
from pseudocron.config.source import Source
from pseudocron.config.values import aware
from pseudocron.errors import ConfigError
from pseudocron.host import Host
from pseudocron.jobs import outbox
from pseudocron.jobs.outbox import DeferredJob, completed
from pseudocron.worker.poll import Poller
from pseudocron.worker.runs import Runs

if TYPE_CHECKING:
    from pseudocron.crons import Crons
    from pseudocron.worker.run import Run

__all__ = ["START", "DeferredJob", "FakeScheduler", "FinishedRun"]

START = datetime(2024, 1, 1, tzinfo=UTC)

MOMENT = timedelta(seconds=1)
"""Minimum time between two polls of a fake scheduler."""

EVER = timedelta(days=36_500).total_seconds()
"""`CRON_MAX_TIME` of a fake scheduler: without other processes there is nothing to poll for until a run is due."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run of a cron that has ended, or an attempt of a job.

    Args:
        name: Name of the cron or of the task.
        due: Slot of the cron, or when the job was due, aware UTC.
        outcome: State of the run after the attempt: "pending" if it is retried.
    """

    name: str
    due: datetime
    outcome: str | None


class FakeScheduler:
    """A process that runs the crons and jobs of a `Crons` in memory, while the test moves the clock.

    Jobs that the application defers are stored here too. `with FakeScheduler(crons) as scheduler:` restores the store
    and the clock of the `Crons` at the end.

    Args:
        crons: The crons and tasks; their store and their clock are replaced.
        start: Time of the clock at the start, an aware `datetime`.

    Attributes:
        now: Time of the clock, aware UTC.

    Raises:
        ConfigError: `start` is not aware.
    """

    def __init__(self, crons: Crons, *, start: datetime = START) -> None:
        self.now: datetime = checked(aware, start, "FakeScheduler: start")
        host = Host(now=lambda: self.now, monotonic=self._seconds, sleep=self._pass_by, random=lambda: 1.0)
        settings = self._before = crons.settings
        crons._pin(backend="memory:", app=settings.app, cron_max_time=EVER)
        self._crons = crons
        self._backend = crons._connect(host)
        completed(self._backend.open())
        runs = Runs(
            self._backend,
            host=host,
            worker="test",
            concurrency=settings.concurrency,
            lease=settings.lease,
            on_end=self._note,
        )
        self._poller = Poller(Source("the test", lambda: crons), self._backend, host, runs)
        self._attempts: list[FinishedRun] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        before = self._before
        self._crons._pin(backend=before.backend, app=before.app, named=before.named, cron_max_time=before.cron_max_time)
        with suppress(ConfigError):  # crons that have no place for a store, or no name for a server
            self._crons._connect(Host())

    def jobs(
        self, task: str | None = None, *, key: str | None = None, state: str | None = State.PENDING
    ) -> list[DeferredJob]:
        """Return the jobs that were deferred and wait to start, in the order in which they were deferred.

        Args:
            task: Name of a task: only its jobs.
            key: Only jobs with this key.
            state: Only jobs in this state; None for jobs in any state.
        """
        function_of = self._crons._task_named
        return outbox.read(self._backend, lambda name: function_of(name).function, task=task, key=key, state=state)

    async def advance(
        self, *, weeks: float = 0, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> list[FinishedRun]:
        """Move the clock, and run what falls due until then, each at its time.

        Returns:
            The runs and the attempts of jobs, in the order in which they ended.
        """
        end = self.now + timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        ran: list[FinishedRun] = []
        while (due := await self._run_due(ran)) is not None and due <= end:
            self.now = max(self.now, due)
        self.now = end
        return ran

    async def _run_due(self, ran: list[FinishedRun]) -> datetime | None:
        """Poll until nothing is due any more; return when something is due next."""
        while True:
            report = await self._poller.poll_now(self._crons, force=True)
            await self._poller.runs.idle()
            ran += self._attempts
            self._attempts = []
            if report is None or not report.started:
                # A due job that can't start, as its task is not registered here, must not stop the clock.
                fresh_for = timedelta(seconds=report.fresh_for) if report else MOMENT
                return self.now + max(fresh_for, MOMENT)

    def _note(self, run: Run) -> None:
        self._attempts.append(FinishedRun(run.claim.name, run.claim.slot or run.claim.due, run.state))

    def _seconds(self) -> float:
        return self.now.timestamp()

    async def _pass_by(self, seconds: float) -> None:
        """Move the clock instead of sleeping."""
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)
