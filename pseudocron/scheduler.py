"""From the gate to the runs: polls when the gate is stale, and brings it forward to when the next poll is due."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

from pseudocron.errors import BackendError, PseudoCronError
from pseudocron.hooks.metrics import Metrics
from pseudocron.polling import FREED, PollReason
from pseudocron.runner.due import Absence

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from pseudocron.backends.base import Backend
    from pseudocron.config.source import Source
    from pseudocron.crons import Crons
    from pseudocron.host import Host
    from pseudocron.runner import Runner
    from pseudocron.runner.looked import Looked

READ_AGAIN = 1.0
"""Seconds after which a fresh gate is read again: another process may have brought it forward.

After a poll that had to leave what is due, they are also the pace: others may be able to take it, and this process
polls no sooner unless it can take more itself.
"""

ENTER_AGAIN, ENTER_AT_MOST = 0.05, 3
"""Seconds after which a gate that was just being entered or dated is read again, and how often it is tried."""


class NoLook(StrEnum):
    """Why a request for a poll has led to none."""

    NOTHING_DUE = "nothing_due"  # the gate is fresh
    TAKEN = "taken"  # another process entered the gate at that moment, and polls
    NO_ROOM = "no_room"  # this process has no capacity left
    DISABLED = "disabled"  # `PSEUDOCRON_ENABLED` says that nothing is run
    BAD_CONFIG = "bad_config"  # the configuration has never been right in this process
    BACKEND_DOWN = "backend_down"  # the store can't be used
    ERROR = "error"  # an unexpected error, in the log
    CLOSED = "closed"  # the process is being shut down


@dataclass(frozen=True, slots=True)
class Polled:
    """What came of a request for a poll.

    Args:
        came_of_it: What the poll did, or why there was none.
        again: Seconds until the next one is due in this process.
        left: Whether something due was left that this process takes when it has capacity again.
        paced: Whether it comes too soon after a poll that had to leave to others what was due.
        error: What kept it from polling, if that is an error.
    """

    came_of_it: Looked | NoLook
    again: float = READ_AGAIN
    left: bool = False
    paced: bool = False
    error: Exception | None = None

    def follows_in(self, reasons: AbstractSet[PollReason]) -> float | None:
        """Return after how many seconds a poll has to follow that nobody may ask for; None if none has to.

        Args:
            reasons: Why there was this one.
        """
        has_deferred, has_capacity = PollReason.DEFERRED in reasons, bool(reasons & FREED)
        if self.error:
            return self.again if self.left or has_deferred or has_capacity else None
        if self.paced:
            return self.again if has_capacity else None
        if not (self.came_of_it is NoLook.TAKEN or self.came_of_it is NoLook.NOTHING_DUE):
            return None
        # Another process has entered the gate just now: it may not have the task, or no free capacity.
        if has_capacity and self.left:
            return self.again
        return READ_AGAIN if has_deferred else None


class Scheduler:
    """What an open runtime does over and over.

    Args:
        source: Where the configuration comes from, loaded.
        backend: The gate and the memory, open.
        runner: What polls and runs.
        host: Time, sleep, chance and threads.
        has_entered: Whether a poll of this process has entered the gate and will never end.
    """

    def __init__(
        self, source: Source, backend: Backend, runner: Runner, *, host: Host, has_entered: bool = False
    ) -> None:
        self.runner = runner
        self._source = source
        self.backend = backend
        self._host = host
        self._observer = Metrics(backend, host)
        self._absence = Absence()
        self.has_entered = has_entered
        """Whether a poll has entered the gate, and has not come to date it by what is due next."""
        self._pace = -inf
        self.left = False
        """Whether the last poll left something due that this process takes when it has capacity again."""

    async def poll(self, reasons: AbstractSet[PollReason]) -> Polled:
        """Poll if the gate is stale and this process is the one who enters it; for the command, in any case.

        A process without free capacity does not enter: others may have it.
        """
        if PollReason.TICK in reasons:
            return await self._poll_anyway()
        if self.runner.full:
            self.runner.waits.place(self._host.now())
            self.left = True  # perhaps: what has come due since is looked for as soon as a run ends
            return self._none(NoLook.NO_ROOM, READ_AGAIN)
        if (wait := self._pause(reasons)) > 0:
            return replace(self._none(NoLook.NOTHING_DUE, wait), paced=True)
        try:
            polled = await self._pass_gate(has_capacity=self.left and bool(reasons & FREED))
        except BackendError:
            self._miss(self._host.now())
            self._looked(NoLook.BACKEND_DOWN)
            raise
        self.runner.waits.gate(self._host.now(), polled.again)
        return polled

    def _pause(self, reasons: AbstractSet[PollReason]) -> float:
        """Return for how many seconds what others are to take keeps this process from polling again."""
        if reasons & {PollReason.DEFERRED, PollReason.URL} or (self.left and reasons & FREED):
            return 0.0
        return self._pace - self._host.monotonic()

    def _miss(self, now: datetime) -> None:
        """Note that the store is away: until it is back it is unknown what is due."""
        self._absence = replace(self._absence, away=self._absence.away or now)
        self.runner.waits.store(now)

    async def _poll_anyway(self) -> Polled:
        crons = await self._host.hop(self._source.reload)
        self.backend.cron_max_time = crons.settings.cron_max_time
        await self.backend.enter(crons.settings.cron_max_time)
        looked, _ = await self._look(crons)
        return Polled(looked, left=self.left)

    async def _pass_gate(self, *, has_capacity: bool) -> Polled:
        max_age = self.backend.cron_max_time = self._source.load().settings.cron_max_time
        if self.has_entered or has_capacity:
            # Either the store was away before the gate could be dated by what is due next, or a run has made way for
            # what the last poll left, of which the store does not know when it is due.
            await self.backend.lower(self._host.now(), max_age)
        if (kept_out := await self._enter(max_age)) is not None:
            return kept_out
        try:
            looked, fresh = await self._look(await self._host.hop(self._source.reload))
        except asyncio.CancelledError:
            # This event loop ends, and what it has not looked at is due: nobody shall wait for CRON_MAX_TIME.
            with suppress(PseudoCronError):
                await self.backend.lower(self._host.now(), max_age)
            raise
        self.has_entered = False
        if looked.remains:  # the gate is stale for others: to poll at once would be in vain
            self._pace = self._host.monotonic() + READ_AGAIN
            return Polled(looked, again=READ_AGAIN, left=self.left)
        self._pace = -inf
        return Polled(looked, again=min(fresh, READ_AGAIN), left=self.left)

    async def _enter(self, max_age: float) -> Polled | None:
        """Enter the gate, or say why not.

        A gate that is being entered or dated at that moment is tried again: who asks for this poll may be the last one
        for long, as a run that has ended is.
        """
        why = NoLook.NOTHING_DUE
        for _ in range(ENTER_AT_MOST):
            fresh = await self.backend.fresh_for(max_age)
            if fresh > 0:
                return self._none(why, min(fresh, READ_AGAIN))
            self.has_entered = True
            if await self.backend.enter(max_age):
                return None
            self.has_entered, why = False, NoLook.TAKEN
            await self._host.sleep(ENTER_AGAIN)
        return self._none(why, ENTER_AGAIN)

    async def _look(self, crons: Crons) -> tuple[Looked, float]:
        """Let the runner look, and the gate say when the next poll is due; seconds until then."""
        began = self._host.now()
        max_age = self.backend.cron_max_time = crons.settings.cron_max_time
        try:
            looked = await self.runner.look(crons, absence=self._absence)
        except Exception:
            with suppress(PseudoCronError):
                await self.backend.lower(began + timedelta(seconds=READ_AGAIN), max_age)
            raise
        self._absence = Absence(looked=began)
        self.left = looked.left
        fresh = max_age if looked.next is None else await self.backend.lower(looked.next, max_age)
        self._looked("polled")
        await self._observer.count(crons)
        return looked, fresh

    def _none(self, why: NoLook, again: float) -> Polled:
        self._looked(why)
        return Polled(why, again=again, left=self.left)

    def _looked(self, result: str) -> None:
        self._observer.polled(self._source.load()._hooks, result)
