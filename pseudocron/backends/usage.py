"""Keeps a store open for as long as somebody uses it: event loops, pages that read it, calls that defer."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pseudocron.errors import BackendError, PseudoCronError, cause

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pseudocron.backends.contract import Backend

TURN_AGAIN = 0.001
"""Seconds between two attempts to open or close a store that another thread is just opening or closing."""


class Usage:
    """Who uses one store in this process, from whatever thread and event loop.

    The store is opened for the first user and closed after the last one. Opening and closing never overlap, and a
    user that has begun finds the store open until it ends.

    Args:
        backend: The store.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.reset()

    def reset(self) -> None:
        """Have no users, and know nothing of the store."""
        self._users: set[Hashable] = set()
        self._is_open = self._stays_open = False
        self._lock = threading.Lock()  # of what is above, for microseconds
        self._turn = threading.Lock()  # held while the store is opened or closed

    async def begin(self, user: Hashable) -> None:
        """Use the store from now on, opening it if need be.

        Raises:
            BackendError: It can't be opened; `user` is no user then.
        """
        with self._lock:
            self._users.add(user)
            is_open = self._is_open
        try:
            if is_open:
                await self._open_backend()  # nothing, unless this process is a fork of the one that opened it
            else:
                await self._open()
        except BaseException:
            self.forget(user)
            raise

    def begin_if_open(self, user: Hashable) -> bool:
        """Use the store from now on if it is open, and stays open between short users; return whether it does."""
        with self._lock:
            is_open = self._is_open and self._stays_open
            if is_open:
                self._users.add(user)
            return is_open

    async def _open(self) -> None:
        await self._take_turn()
        try:
            await self._open_backend()
            with self._lock:
                self._is_open = True
        finally:
            self._turn.release()

    async def _open_backend(self) -> None:
        try:
            await self._backend.open()
        except PseudoCronError:
            raise
        except Exception as error:
            # The backend, or the client that it makes, may be the user's: whoever opens it expects one line.
            raise BackendError(f"{type(self._backend).__name__}: can't be opened: {cause(error)}") from error

    async def end(self, user: Hashable, *, for_good: bool = False) -> None:
        """Use the store no longer, and close it if nobody else does.

        Args:
            user: The same as in `begin`.
            for_good: Whether to close it also if short users want to find it open, as a process ends.
        """
        self.forget(user)
        with self._lock:
            self._stays_open = self._stays_open and not for_good
        if not self._is_idle():
            return
        await self._take_turn()
        try:
            if self._is_idle():  # or else it was opened again in the meantime
                await self._backend.close()
        finally:
            self._turn.release()

    def stay_open(self) -> None:
        """Keep the store open between short users, until one ends for good: opening costs more than they do."""
        with self._lock:
            self._stays_open = True

    def forget(self, user: Hashable) -> None:
        """Remove a user that can't end by itself, as its event loop is closed; the store stays as it is."""
        with self._lock:
            self._users.discard(user)

    def _is_idle(self) -> bool:
        with self._lock:
            is_idle = not self._users and not self._stays_open
            if is_idle:
                self._is_open = False  # who begins from now on waits for its turn, and opens the store
            return is_idle

    async def _take_turn(self) -> None:
        # Another event loop may have it: its lock can't be awaited here, and must not be waited for in a thread.
        while not self._turn.acquire(blocking=False):  # noqa: ASYNC110 - as above
            await asyncio.sleep(TURN_AGAIN)


class ShortUse:
    """A context in which a store is open, and after which it stays open for the next; for an event loop or a thread.

    Args:
        backend: The store.
    """

    __slots__ = ("_backend", "_usage")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._usage = _usages.get(backend) or usage(backend)

    async def __aenter__(self) -> Backend:
        """Open the store, and return it."""
        if not self._usage.begin_if_open(self):
            self._usage.stay_open()
            await self._usage.begin(self)
        return self._backend

    async def __aexit__(self, *_: object) -> None:
        """Allow others to close it."""
        self._usage.forget(self)

    def __enter__(self) -> Backend:
        """Open the store, and return it; blocks."""
        if not self._usage.begin_if_open(self):
            asyncio.run(self.__aenter__())
        return self._backend

    def __exit__(self, *_: object) -> None:
        """Allow others to close it."""
        self._usage.forget(self)


_making = threading.Lock()
_usages: WeakKeyDictionary[Backend, Usage] = WeakKeyDictionary()


def usage(backend: Backend) -> Usage:
    """Return who uses a store: one object for all event loops of this process."""
    if (known := _usages.get(backend)) is not None:
        return known
    with _making:
        found = _usages.get(backend)
        if found is None:
            found = _usages[backend] = Usage(backend)
        return found


def _begin_anew() -> None:
    """Reset all users in a forked child: they are the parent's, and a lock may be held by a thread that is gone."""
    global _making  # noqa: PLW0603 - see above
    _making = threading.Lock()
    for of in tuple(_usages.values()):
        of.reset()


os.register_at_fork(after_in_child=_begin_anew)
