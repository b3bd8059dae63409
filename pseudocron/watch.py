"""What one process has of one configuration: when to look next, its source, its store, a runtime per event loop."""

from __future__ import annotations

import asyncio
import os
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from pseudocron.host import Host
from pseudocron.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pseudocron.backends.base import Backend
    from pseudocron.config.source import Source
    from pseudocron.crons import Crons


class Watch:
    """What all middlewares of one configuration share in a process.

    `deadline` is the moment, by `time.monotonic`, until which no request needs to do anything.

    Args:
        ref: The configuration, as the middleware takes it. It is not looked at before it is loaded.
        host: Time, sleep, chance and threads.
    """

    # Each request reads the deadline, and from a slot that is quickest.
    __slots__ = ("__dict__", "__weakref__", "deadline")

    def __init__(self, ref: object, host: Host | None = None) -> None:
        self.deadline = -inf
        self._ref = ref
        self._given_host = host
        self._host = host or Host()
        self._backend: Backend | None = None
        self._runtimes: dict[asyncio.AbstractEventLoop, Runtime] = {}

    @cached_property
    def source(self) -> Source:
        """Where the configuration comes from. Blocks when first asked for."""
        from pseudocron.config.source import open_source  # noqa: PLC0415  here it does not block an event loop

        return open_source(self._ref)

    def reload(self) -> Crons:
        """The configuration as it is now; `PseudoCronError` if it has never been right. Blocks."""
        return self.source.reload()

    def runtime(self) -> Runtime:
        """The scheduling on the running event loop, of which there may be several, as with test clients."""
        loop = asyncio.get_running_loop()
        if loop not in self._runtimes:
            # Each event loop has a thread of its own: the others may come and go meanwhile.
            for closed in [other for other in list(self._runtimes) if other.is_closed()]:
                gone = self._runtimes.pop(closed, None)
                if gone is not None and self._backend is not None:
                    _users(self._backend).discard(gone)
            self._runtimes[loop] = Runtime(self, self._host)
        return self._runtimes[loop]

    async def connect(self, runtime: Runtime, crons: Crons) -> Backend:
        """The store that the configuration names, open, and the same object for the life of the process."""
        if self._backend is None:
            # That of `defer` in this process; crons that are read again name the same store until a restart.
            # Off the loop: the kind of store that is named is imported now.
            self._backend = await self._host.hop(crons.connect, self._given_host)
        await self._backend.open()
        _users(self._backend).add(runtime)
        return self._backend

    async def disconnect(self, runtime: Runtime) -> None:
        """Let go of the store, if no other event loop needs it; it may be opened again."""
        if self._backend is None:
            return
        users = _users(self._backend)
        users.discard(runtime)
        if not users:
            await self._backend.close()


_using: WeakKeyDictionary[Backend, WeakSet[Runtime]] = WeakKeyDictionary()


def _users(backend: Backend) -> WeakSet[Runtime]:
    """Who needs a store to be open: two watches of the same crons have the same."""
    return _using.setdefault(backend, WeakSet())


_watches: WeakValueDictionary[Hashable, Watch] = WeakValueDictionary()


def watch(ref: object) -> Watch:
    """The one watch of this process over the configuration that `ref` means."""
    key = os.fspath(ref) if isinstance(ref, str | os.PathLike) else id(ref)
    found = _watches.get(key)
    if found is None:
        found = _watches[key] = Watch(ref)
    return found
