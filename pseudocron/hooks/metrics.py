"""Metrics of polls and of pending jobs, for the functions that are registered for them."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pseudocron.backends.model import State
from pseudocron.errors import PseudoCronError
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pseudocron.backends.contract import Backend
    from pseudocron.host import Host

COUNT_AGAIN = 15.0
"""Minimum seconds between two counts of jobs: metrics are usually collected as often."""

COUNTED = 100_000
"""Maximum number of jobs that are counted."""


class Metrics:
    """Reports the results of polls and the number of pending jobs.

    Args:
        backend: The store.
        host: Its clocks.

    Attributes:
        again: When the jobs may be counted again, by the monotonic clock.
    """

    def __init__(self, backend: Backend, host: Host) -> None:
        self._backend = backend
        self._host = host
        self.again = -inf

    def polled(self, reports: Iterable[Callable[[str], object]], result: str) -> None:
        """Report the result of a poll."""
        for report in reports:
            try:
                report(str(result))
            except Exception:
                logger.exception("metrics: result of a poll not reported")

    async def count(self, reports: Iterable[Callable[[int, float], object]]) -> None:
        """Report the number of pending jobs and the age of the next one; not `again` for `COUNT_AGAIN` seconds."""
        self.again = self._host.monotonic() + COUNT_AGAIN
        try:
            pending = (await self._backend.counts(COUNTED))[State.PENDING]
            age = await self._age() if pending else 0.0
            for tell in reports:
                tell(pending, max(0.0, age))
        except PseudoCronError as error:
            logger.debug("metrics: jobs not counted: %s", error)
        except Exception:
            logger.exception("who counts jobs could not be told")

    async def _age(self) -> float:
        """Return for how many seconds the pending job has been due that was due first."""
        first = min((await self._backend.waiting()).values(), default=self._host.now())
        return (self._host.now() - first).total_seconds()
