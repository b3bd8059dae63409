"""A process on a clock that the test owns, with a store that goes away and comes back."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import START

from pseudocron.backends.file.backend import Memory
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from pseudocron.polling import PollReason
from pseudocron.report import history_of
from pseudocron.worker.poll import Poller
from pseudocron.worker.runs import Runs

if TYPE_CHECKING:
    from datetime import datetime

    from support import Clock

    from pseudocron.report import HistoryLine


class Leaving(Memory):
    """A store that goes away and comes back."""

    away = False

    async def stale_in(self) -> float:
        if self.away:
            raise BackendError("away")
        return await super().stale_in()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def ready(crons: Crons) -> Crons:
    """The same crons, all resolved, off the event loop."""
    return open_source(crons).load()


def every(seconds: float, *, name: str = "cron", **more: Any) -> Crons:
    crons = Crons(backend="memory:")
    crons.add(name, int, seconds, **more)
    return ready(crons)


class Process:
    """One process on an owned clock.

    Args:
        crons: What there is to run.
        clock: Its clock.
        backend: A store that it shares with another process; None makes a new one.
        concurrency: How many runs it has at once.
        worker: What it is called.
        lease: Seconds for which a claim holds.
    """

    def __init__(
        self,
        crons: Crons,
        clock: Clock,
        *,
        backend: Leaving | None = None,
        concurrency: int = 10,
        worker: str = "me",
        lease: float = 1e6,
    ) -> None:
        self.clock = clock
        self.backend = backend or Leaving(host=clock.host)
        with suppress(StopIteration):  # it waits for nothing
            self.backend.open().send(None)
        source = open_source(crons)
        source.load()
        self.crons = crons
        self.runs = Runs(self.backend, host=clock.host, worker=worker, concurrency=concurrency, lease=lease)
        self.poller = Poller(source, self.backend, clock.host, self.runs)

    async def visit(self, *, after: float = 0, stay: bool = False) -> None:
        """Poll as behind a request."""
        self.clock.forward(after)
        if self.backend.away:
            with pytest.raises(BackendError):
                await self.poller.poll({PollReason.REQUEST})
            return
        await self.poller.poll({PollReason.REQUEST})
        if not stay:
            await self.runs.idle()

    async def run_once(self) -> None:
        """Run the cron by hand."""
        await self.runs.start_by_hand(self.crons, "cron")

    async def lines(self, name: str = "cron") -> list[HistoryLine]:
        """The history of a cron, newest first."""
        return await history_of(self.backend, name, limit=99)

    async def newest(self, name: str = "cron") -> HistoryLine:
        """The newest run of a cron."""
        return next(line for line in await self.lines(name) if not line.is_skip)
