"""The backend on a Redis server: one gate, one memory and one queue for all hosts that reach it."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from pseudocron.backends.redis.old_slots import SECOND, Slots
from pseudocron.backends.redis.queue import Jobs
from pseudocron.backends.redis.server import threats, trust
from pseudocron.backends.redis.wire import Wire
from pseudocron.errors import BackendError
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pseudocron.backends.redis.wire import Client


class Redis(Jobs, Slots):
    """A backend for many hosts. Every verb is one script on the server, whose clock decides.

    Args:
        make: Makes a `redis.asyncio` client. A new one each time: it connects on the event loop of a thread of our own.
        name: What to call the server in errors; without a password.
        app: The hash tag of all keys.
        keep: How many runs, and how many skips, are kept of each cron.
        cron_max_time: The configured `CRON_MAX_TIME` in seconds.
        host: Where the threads come from.
        clock: The time in microseconds since the epoch, where a simulation owns it; None for the server's own.
    """

    def __init__(
        self,
        make: Callable[[], Client],
        *,
        name: str,
        app: str,
        keep: int = 20,
        cron_max_time: float = 60.0,
        host: Host = Host(),  # noqa: B008  frozen
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._host = host
        self._heard = False
        self.cron_max_time = cron_max_time
        wire = Wire(make, name=name, prefix=f"{{{app}}}", clock=clock)
        Slots.__init__(self, wire, keep=keep, now=host.now, elapsed=_elapsing(host, clock))
        Jobs.__init__(self, wire)

    async def open(self) -> None:
        """See `Backend.open`."""
        if self._wire.is_open and self._heard:  # who opens it at the same time needs to know its clock too
            return
        await self._host.hop(self._wire.open)
        try:
            self._hear(await trust(self._wire))
            self._heard = True
        except BackendError:
            await self.close()
            raise

    async def advice(self) -> Sequence[str]:
        """See `Backend.advice`."""
        return await threats(self._wire)

    async def close(self) -> None:
        """See `Backend.close`."""
        self._heard = False
        if self._wire.is_open:
            await self._host.hop(self._wire.close)


def _elapsing(host: Host, clock: Callable[[], int] | None) -> Callable[[], float]:
    """Seconds that go on in a suspended machine too; where the system does not count them, by the host's clock."""
    if clock is not None:
        return lambda: clock() / SECOND
    if sys.platform == "linux":
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return lambda: host.now().timestamp()
