"""Tasks of which jobs are pending though nobody registers them, as a deployment has removed them: named to people."""

from __future__ import annotations

import logging
from math import inf
from shlex import quote
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pseudocron.errors import show

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pseudocron.backends.base import Backend
    from pseudocron.host import Host

logger = logging.getLogger("pseudocron")

ASK_AGAIN = 60.0
"""Seconds between two questions: a deployment is rare, and each costs a look a transaction."""

_told: WeakKeyDictionary[Backend, set[str]] = WeakKeyDictionary()  # for all event loops of a process


class Strangers:
    """Logs each such task once in a process.

    Args:
        backend: The queue.
        host: Where the clock comes from.
    """

    def __init__(self, backend: Backend, host: Host) -> None:
        self._backend = backend
        self._host = host
        self._ask_again = -inf

    async def tell(self, tasks: Collection[str]) -> None:
        """Name those that are not among the registered tasks, and have not been named yet."""
        if self._host.monotonic() < self._ask_again:
            return
        self._ask_again = self._host.monotonic() + ASK_AGAIN
        told = _told.setdefault(self._backend, set())
        for name in await strangers(self._backend, tasks):
            if name not in told:
                told.add(name)
                logger.warning("%s", complaint(name))


async def strangers(backend: Backend, tasks: Collection[str]) -> Sequence[str]:
    """The names of tasks of which jobs are pending, but that are not among the registered ones."""
    return sorted(set(await backend.waiting_tasks()).difference(tasks))


def complaint(name: str) -> str:
    """What is wrong with such a task, and the mend."""
    return (
        f"task {show(name)} is not registered here, but jobs of it are pending: they run when it is registered again, "
        f"or cancel them, see: pseudocron jobs --state pending --task {quote(name)}"
    )
