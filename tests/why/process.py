"""A process on a clock that the test owns, with a store that goes away and comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import START

from pseudocron import polling
from pseudocron.backends.memory import Memory
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from pseudocron.runner import Runner
from pseudocron.scheduler import Scheduler

if TYPE_CHECKING:
    from datetime import datetime

    from support import Clock

    from pseudocron.backends.memory import Store
    from pseudocron.backends.records import Run


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def ready(crons: Crons) -> Crons:
    """The same crons, all resolved, off the event loop."""
    return open_source(crons).load()


def every(seconds: float, **more: Any) -> Crons:
    crons = Crons(backend="memory:")
    crons.add("cron", int, seconds, **more)
    return ready(crons)


class Process:
    """One process on an owned clock; `away` is whether its store is."""

    def __init__(
        self, crons: Crons, clock: Clock, *, store: Store | None = None, concurrency: int = 10, worker: str = "me"
    ) -> None:
        process = self

        class Leaving(Memory):
            async def fresh_for(self, max_age: float) -> float:
                if process.away:
                    raise BackendError("away")
                return await super().fresh_for(max_age)

        self.away = False
        self.clock = clock
        self.backend = Leaving(store=store, host=clock.host)
        source = open_source(crons)
        source.load()
        self.runner = Runner(self.backend, host=clock.host, worker=worker, concurrency=concurrency, lease=1e6)
        self.scheduler = Scheduler(source, self.backend, self.runner, host=clock.host)

    async def visit(self, *, after: float = 0, stay: bool = False) -> None:
        self.clock.forward(after)
        if self.away:
            with pytest.raises(BackendError):
                await self.scheduler.poll({polling.PollReason.REQUEST})
            return
        await self.scheduler.poll({polling.PollReason.REQUEST})
        if not stay:
            await self.runner.idle()

    async def newest(self, name: str = "cron") -> Run:
        return next(run for run in await self.backend.history(name) if run.reason is None)
