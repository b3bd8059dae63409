"""What one process has of one configuration: when to poll next, its source, its store, a runtime per event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from pseudocron.backends.usage import usage
from pseudocron.host import Host
from pseudocron.log import logger
from pseudocron.polling import READ_AGAIN
from pseudocron.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Mapping

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import CronState
    from pseudocron.config.source import Source
    from pseudocron.crons import Crons


class Process:
    """What all middlewares of one configuration share in a process.

    It owns the deadline of the process: the moment, by `monotonic`, until which no request needs to do anything.
    Several event loops may poll at once; a poll that began before another one, or before the deadline was brought
    forward, can only bring it forward too.

    Args:
        ref: The configuration, as the middleware takes it. It is not looked at before it is loaded.
        host: Time, sleep, chance and threads.

    Attributes:
        deadline: To be read by requests, and written by nobody but this object.
        monotonic: The clock of the deadline.
    """

    # Each request reads the deadline, and from a slot that is quickest.
    __slots__ = ("__dict__", "__weakref__", "deadline")

    def __init__(self, ref: object, host: Host | None = None) -> None:
        self.deadline = -inf
        self._deadline_lock = threading.Lock()
        self._latest_poll = 0
        self._ref = ref
        self._given_host = host
        self._host = host or Host()
        self.monotonic = self._host.monotonic
        self._backend: Backend | None = None
        self._warned = False
        self._runtimes: dict[asyncio.AbstractEventLoop, Runtime] = {}

    def request_polls(self) -> None:
        """Let one request poll, behind its response; until then no other one needs to."""
        self.deadline = self.monotonic() + READ_AGAIN

    def poll_began(self) -> int:
        """Return the number of a poll that begins now."""
        with self._deadline_lock:
            self._latest_poll += 1
            return self._latest_poll

    def poll_ended(self, number: int, seconds: float) -> None:
        """Set the deadline as a poll wants it that began with `poll_began`.

        Args:
            number: Which one.
            seconds: Until the next poll is due, from now.
        """
        with self._deadline_lock:
            until = self.monotonic() + seconds
            self.deadline = until if number == self._latest_poll else min(self.deadline, until)

    def bring_forward(self, seconds: float = -inf) -> None:
        """Let the next poll be due so many seconds from now at the latest, whatever a poll that goes on finds."""
        with self._deadline_lock:
            self._latest_poll += 1
            self.deadline = min(self.deadline, self.monotonic() + seconds)

    @cached_property
    def source(self) -> Source:
        """Where the configuration comes from. Blocks when first asked for."""
        from pseudocron.config.source import open_source  # noqa: PLC0415  here it does not block an event loop

        return open_source(self._ref)

    def warn_of_environment(self) -> None:
        """Log variables of the environment that look like settings and are none, once."""
        from pseudocron.config.environment import unknown_variables  # noqa: PLC0415  likewise

        lines, self._warned = () if self._warned else unknown_variables(os.environ), True
        for line in lines:
            logger.warning("%s", line)

    def reload(self) -> Crons:
        """Return the configuration as it is now, or raise `PseudoCronError` if it has never been right. Blocks."""
        return self.source.reload()

    def runtime(self) -> Runtime:
        """Return the scheduling on the running event loop. There may be several loops, as with test clients."""
        loop = asyncio.get_running_loop()
        if loop not in self._runtimes:
            # Each event loop has a thread of its own: the others may come and go meanwhile.
            closed = [other for other in list(self._runtimes) if other.is_closed()]
            for runtime in [runtime for other in closed if (runtime := self._runtimes.pop(other, None)) is not None]:
                runtime.forsake()
            self._runtimes[loop] = Runtime(self, self._host)
        return self._runtimes[loop]

    @property
    def stuck(self) -> bool:
        """Whether so many threads have outlasted their runs in this process that no further ones are started."""
        return any(runtime.stuck for runtime in list(self._runtimes.values()))

    async def connect(self, crons: Crons) -> Backend:
        """Return the store that the configuration names, the same object for the life of the process."""
        if self._backend is None:
            # That of `defer` in this process; crons that are read again name the same store until a restart.
            # Off the loop: the kind of store that is named is imported now.
            self._backend = await self._host.hop(crons._connect, self._given_host)
        return self._backend

    @asynccontextmanager
    async def store(self) -> AsyncIterator[tuple[Crons, Backend]]:
        """Yield the crons as they are now, and their store, open; nothing is run."""
        crons = await self._host.hop(self.reload)
        async with self.opened(crons) as backend:
            yield crons, backend

    @asynccontextmanager
    async def opened(self, crons: Crons) -> AsyncIterator[Backend]:
        """Yield the store of the crons, open; nothing is run."""
        backend = await self.connect(crons)
        user = object()
        await usage(backend).begin(user)
        try:
            yield backend
        finally:
            await asyncio.shield(usage(backend).end(user))

    async def states(self) -> tuple[Crons, Mapping[str, CronState]]:
        """Return the crons as they are now, and what the store knows of them; nothing is run."""
        async with self.store() as (crons, backend):
            return crons, (await backend.states([cron.name for cron in crons])).crons


_processes: WeakValueDictionary[Hashable, Process] = WeakValueDictionary()


def process_of(ref: object) -> Process:
    """Return what this process has of the configuration that `ref` means: always the same object."""
    key = os.fspath(ref) if isinstance(ref, str | os.PathLike) else id(ref)
    found = _processes.get(key)
    if found is None:
        found = _processes[key] = Process(ref)
    return found
