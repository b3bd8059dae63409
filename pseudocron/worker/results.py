"""The recording of results: as many at once as have gathered, again and again while the store is away."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from pseudocron.errors import PseudoCronError
from pseudocron.host import spawn
from pseudocron.log import logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.questions import Claim
    from pseudocron.host import Host
    from pseudocron.worker.run import Run
    from pseudocron.worker.runs import Runs

RECORD_AGAIN = 1.0
"""Seconds between two attempts to record a result while the store is away, or refuses it."""

_end_of = attrgetter("end")

AWAY = 2
"""After how many failures one by one the store counts as away, so that the others need not be tried."""


class ResultWriter:
    """Records the results of one process, and claims the next runs in the same transactions.

    Args:
        runs: The runs of the process.
        backend: Where results are recorded.
        host: Where sleep comes from.
    """

    def __init__(self, runs: Runs, backend: Backend, host: Host) -> None:
        self._runs = runs
        self._backend = backend
        self._host = host
        self._gathered: list[Run] = []
        self._refused: list[Run] = []
        self._writing: asyncio.Task[None] | None = None
        self._insisting: asyncio.Task[None] | None = None

    def record(self, run: Run) -> None:
        """Record the result of a run soon, together with others; never waits."""
        self._gathered.append(run)
        if self._writing is None:
            self._writing = spawn(self._write())

    def close(self) -> None:
        """Record nothing more; what is not recorded is found lost when its lease ends."""
        for task in (self._writing, self._insisting):
            if task is not None:
                task.cancel()

    async def _write(self) -> None:
        try:
            while self._gathered:
                runs, self._gathered = self._gathered, []
                refused = await self._write_down(runs)
                self._refused += refused  # not in one statement: that would read the list before the wait
                if self._refused and self._insisting is None:
                    self._insisting = spawn(self._insist())
        finally:
            self._writing = None

    async def _insist(self) -> None:
        """Retry what the store has refused or could not take; a run has capacity for that as long as its lease."""
        try:
            while self._refused:
                for run in self._refused:
                    if not self._runs.leases.holds(run.claim):
                        run.worker.pool.leave(run)
                await self._host.sleep(RECORD_AGAIN)
                runs, self._refused = [run for run in self._refused if not run.is_over], []
                refused = await self._write_down(runs)
                self._refused += refused
        finally:
            self._insisting = None

    async def _write_down(self, runs: Sequence[Run]) -> list[Run]:
        """Record all together, or else one by one; return those that could not be, the ones not tried first."""
        if not runs:
            return []
        try:
            await self._finish(runs)
        except Exception as error:  # noqa: BLE001 - logged, a bug with its traceback
            if self._insisting is None:
                _warn(runs, error)
            return await self._write_singly(runs) if len(runs) > 1 else list(runs)
        return []

    async def _write_singly(self, runs: Sequence[Run]) -> list[Run]:
        refused: list[Run] = []
        for number, run in enumerate(runs):
            try:
                await self._finish([run])
            except Exception:  # noqa: BLE001 - as above
                refused.append(run)
            if len(refused) == AWAY == number + 1:
                return [*runs[AWAY:], *refused]
        return refused

    async def _finish(self, runs: Sequence[Run]) -> None:
        take, asked = self._runs.refill(runs), self._runs.leases.asked()
        claims: Sequence[Claim] = ()
        try:
            finished = await self._backend.finish(list(map(_end_of, runs)), take)
            claims = finished.claims
            for run, state in zip(runs, finished.states, strict=True):
                run.recorded(state)
        finally:
            if take is not None:
                self._runs.start(take, claims, asked)
        self._runs.recorded(runs, finished)


def _warn(runs: Sequence[Run], error: Exception) -> None:
    names = ", ".join(sorted({run.claim.name for run in runs}))
    is_a_bug = not isinstance(error, PseudoCronError)
    logger.warning("%s: result not recorded yet: %s; retried", names, error, exc_info=is_a_bug)
