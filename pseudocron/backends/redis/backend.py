"""The backend on a Redis server: one store for all hosts that reach it."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pseudocron.backends.contract import Backend
from pseudocron.backends.legible import instant
from pseudocron.backends.redis.codec import micros
from pseudocron.backends.redis.connection import Connection
from pseudocron.backends.redis.jobs import Jobs
from pseudocron.backends.redis.runs import Runs
from pseudocron.backends.redis.server_check import check_server, dangers
from pseudocron.backends.redis.slots import Slots
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from pseudocron.backends.redis.async_client import Client

SLOW = 12_000_000
"""Microseconds by which two answers of a server may be apart from how they were sent; more is a step of its clock."""


class Redis(Slots, Jobs, Runs, Backend):
    """A backend for many hosts. Every verb is one script on the server, whose clock decides.

    Args:
        make_client: Makes a `redis.Redis`, or a `redis.asyncio` client, which connects on the event loop of our
            thread; a new one each time.
        name: What to call the server in errors; without a password.
        app: The hash tag of all keys.
        keep: How many ended runs, and how many skips, are kept of each cron.
        cron_max_time: The `CRON_MAX_TIME` of this process in seconds.
        host: Where the threads come from.
        clock: The time in microseconds since the epoch, if a simulation owns it; None for the server's own.
    """

    durable: ClassVar[bool] = True
    has_own_clock: ClassVar[bool] = True

    def __init__(
        self,
        make_client: Callable[[], Client],
        *,
        name: str,
        app: str,
        keep: int = 20,
        cron_max_time: float = 60.0,
        host: Host = Host(),  # noqa: B008 - frozen
        clock: Callable[[], int] | None = None,
    ) -> None:
        connection = Connection(make_client, name=name, prefix=f"{{{app}}}:", on_time=self._note_time, clock=clock)
        super().__init__(connection, keep=keep, cron_max_time=cron_max_time)
        self._host = host
        self._elapsed = clock or _elapsed_by(host)
        self._time: tuple[int, int] | None = None
        self._before_steps: tuple[int, int] | None = None  # of the last answer before them
        self._is_steady = clock is not None or sys.platform == "linux"  # and no step of the host's clock
        self._is_checked = False
        self._openers: set[object] = set()

    @property
    def ahead(self) -> timedelta:
        """See `Backend.ahead`; a step of this host's clock changes it by as much, at once."""
        if self._time is None:
            return timedelta()
        at_server, at = self._time
        return timedelta(microseconds=at_server + self._elapsed() - at - micros(self._host.now()))

    async def open(self) -> None:
        """See `Backend.open`."""
        if self._connection.is_open and self._is_checked:  # a second caller needs the checks too
            return
        opener = object()
        self._openers.add(opener)
        try:
            await self._host.hop(self._connection.open)
            await check_server(self._connection)
            self._is_checked = True
        finally:
            self._openers.discard(opener)
            if not self._is_checked:
                # Unless others are opening it too, who still ask by the same connection.
                await self._host.hop(self._connection.close, self._openers)

    async def close(self) -> None:
        """See `Backend.close`."""
        self._is_checked = False
        if self._connection.is_open:
            await self._host.hop(self._connection.close)

    async def advice(self) -> Sequence[str]:
        """See `Backend.advice`."""
        return await dangers(self._connection)

    def _note_time(self, time: int) -> None:
        # The server is a little past that by now, so that nothing is proposed too early.
        at = self._elapsed()
        self._time = time, at
        before = self._before_steps
        if before is None or abs(time - before[0] - (at - before[1])) <= SLOW:
            self._before_steps = time, at

    def _expected_time(self) -> tuple[int, int] | None:
        """Return what the server's clock shows if it was not stepped, and since when that counts, in microseconds."""
        if self._before_steps is None or not self._is_steady:
            return None
        at_server, at = self._before_steps
        elapsed = self._elapsed() - at
        return at_server + elapsed, elapsed

    def _note_steps(self) -> None:
        self._before_steps = self._time

    def _server_time(self) -> datetime:
        return instant(self._time[0] if self._time else 0)


def _elapsed_by(host: Host) -> Callable[[], int]:
    """Return what counts microseconds in a suspended machine too; by the host's clock, if the system does not."""
    if sys.platform == "linux":
        return lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return lambda: micros(host.now())
