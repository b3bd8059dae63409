"""From the gate to the runs: looks when the gate is stale, and lowers it to when the next look is due."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from pseudocron.errors import BackendError, PseudoCronError
from pseudocron.hooks.observing import Observer
from pseudocron.runner.due import Absence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from pseudocron.backends.base import Backend
    from pseudocron.backends.records import Claim, Result
    from pseudocron.config.source import Source
    from pseudocron.crons import Crons
    from pseudocron.host import Host
    from pseudocron.runner import Looked, Runner, Started

READ_AGAIN = 1.0
"""Seconds after which a fresh gate is read again: another process may have pulled it forward."""


ENTER_AGAIN = 0.05
"""Seconds after which a gate that somebody else was just entering is read again."""


class NoLook(StrEnum):
    """Why somebody who came by has not looked."""

    NOTHING_DUE = "nothing_due"  # the gate is fresh
    TAKEN = "taken"  # somebody else entered the gate at that moment, and looks
    NO_ROOM = "no_room"  # as many runs go on in this process as its `concurrency` allows
    DISABLED = "disabled"  # `PSEUDOCRON_ENABLED` says that nothing is run
    BAD_CONFIG = "bad_config"  # the configuration has never been right in this process
    BACKEND_DOWN = "backend_down"  # the store can't be used
    ERROR = "error"  # something that nobody thought of, in the log
    CLOSED = "closed"  # the process is being shut down


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of it that somebody came by, and who sees to what a look had to leave, if it did."""

    came_of_it: Looked | NoLook
    following: asyncio.Task[asyncio.Task[Visit] | None] | None = None


class Scheduler:
    """What an open runtime does over and over.

    Args:
        source: Where the configuration comes from, loaded.
        backend: The gate and the memory, open.
        runner: What looks and runs.
        host: Time, sleep, chance and threads.
    """

    def __init__(self, source: Source, backend: Backend, runner: Runner, *, host: Host) -> None:
        self.runner = runner
        self._source = source
        self._backend = backend
        self._host = host
        self._observer = Observer(backend, host)
        self._absence = Absence()
        self._entered = False
        self.crowded = False
        """Whether the last look left slots for want of room."""

        self.came_of_it: Looked | NoLook = NoLook.NOTHING_DUE
        """What came of the last time that somebody wanted to pass the gate."""

    async def pass_gate(self) -> float:
        """Look if the gate is stale and we are the one who enters; seconds until it should be read again.

        A process that has no room for another run does not enter: others may have it.
        """
        if self.runner.full:
            self.runner.waits.place(self._host.now())
            self._no_look(NoLook.NO_ROOM)
            return READ_AGAIN
        try:
            again = min(await self._pass_gate(), READ_AGAIN)
        except BackendError:
            self._miss(self._host.now())
            self._looked(NoLook.BACKEND_DOWN)
            raise
        self.runner.waits.gate(self._host.now(), again)
        return again

    def _miss(self, now: datetime) -> None:
        """The store is away, and until it is back nobody knows what is due."""
        self._absence = replace(self._absence, away=self._absence.away or now)
        self.runner.waits.store(now)

    async def tick(self) -> AsyncIterator[tuple[Claim, Result]]:
        """Look, whatever the gate says, until nothing is due any more; each run as it is over."""
        crons = await self._host.hop(self._source.reload)
        self._backend.cron_max_time = crons.settings.cron_max_time
        await self._backend.enter(crons.settings.cron_max_time)
        started: list[Started] = []
        again = True
        while again:
            looked = await self._look(crons)
            started += looked.started
            again = looked.crowded and await self.runner.room()
            for run in [run for run in started if run.task.done() or not again]:
                yield run.claim, await asyncio.shield(run.task)
                started.remove(run)
        await self.runner.idle()

    async def room(self) -> bool:
        """Wait for room for what the last look left, and open the gate for the next; False if there is none."""
        if not await self.runner.room():
            return False
        await self._backend.lower(self._host.now(), self._source.load().settings.cron_max_time)
        return True

    async def _pass_gate(self) -> float:
        max_age = self._backend.cron_max_time = self._source.load().settings.cron_max_time
        if self._entered:  # the store was gone before the gate could be told when the next look is due
            await self._backend.lower(self._host.now(), max_age)
        fresh = await self._backend.fresh_for(max_age)
        if fresh > 0:
            self._no_look(NoLook.NOTHING_DUE)
            return fresh
        try:
            self._entered = True
            if not await self._backend.enter(max_age):
                self._entered = False
                self._no_look(NoLook.TAKEN)
                return ENTER_AGAIN
            self.came_of_it = await self._look(await self._host.hop(self._source.reload))
        except asyncio.CancelledError:
            # This event loop ends, and what it has not looked at is due: nobody shall wait for CRON_MAX_TIME.
            with suppress(PseudoCronError):
                await self._backend.lower(self._host.now(), max_age)
            raise
        self._entered = False
        return await self._backend.fresh_for(max_age)

    async def _look(self, crons: Crons) -> Looked:
        """Let the runner look; whatever comes of it, the gate then says when somebody should look again."""
        began = self._host.now()
        soon = began + timedelta(seconds=READ_AGAIN)
        max_age = crons.settings.cron_max_time
        try:
            looked = await self.runner.look(crons, absence=self._absence)
        except Exception:
            with suppress(PseudoCronError):
                await self._backend.lower(soon, max_age)
            raise
        self._absence = Absence(looked=began)
        self.crowded = looked.crowded
        dues = [due for due in (looked.next, soon if looked.crowded else None) if due is not None]
        if dues:
            await self._backend.lower(min(dues), max_age)
        self._looked("looked")
        await self._observer.count(crons)
        return looked

    def _no_look(self, why: NoLook) -> None:
        self.came_of_it = why
        self._looked(why)

    def _looked(self, result: str) -> None:
        self._observer.looked(self._source.load().hooks, result)
