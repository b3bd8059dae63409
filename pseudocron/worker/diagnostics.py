"""What people should know though nothing has failed: a store that may forget, jobs of tasks that are gone."""

from __future__ import annotations

from math import inf
from shlex import quote
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pseudocron.errors import show
from pseudocron.log import logger
from pseudocron.worker.pool import OUTLASTING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Run
    from pseudocron.host import Host

ASK_AGAIN = 60.0
"""Seconds between two questions: what there is to say changes rarely, and to ask costs a look a few transactions."""

_told: WeakKeyDictionary[Backend, set[str]] = WeakKeyDictionary()  # for all event loops of a process


class Diagnostics:
    """Logs each advice once in a process.

    Args:
        backend: What it is about.
        host: Where the clock comes from.

    Attributes:
        again: When there may be something new to say, by the monotonic clock.
    """

    def __init__(self, backend: Backend, host: Host) -> None:
        self._backend = backend
        self._host = host
        self.again = -inf

    async def tell(self, tasks: Collection[str]) -> None:
        """Say what has not been said yet, not `again` for `ASK_AGAIN` seconds; `tasks` are the registered ones."""
        self.again = self._host.monotonic() + ASK_AGAIN
        told = _told.setdefault(self._backend, set())
        for line in await advice(self._backend, tasks):
            if line not in told:
                told.add(line)
                logger.warning("%s", line)


async def advice(backend: Backend, tasks: Collection[str]) -> Sequence[str]:
    """Return what people should know, a line each, with the fix; `tasks` are the registered ones."""
    strangers = sorted(set(await backend.waiting()).difference(tasks))
    return [*await backend.advice(), *map(_stranger, strangers)]


def outlasting(lingering: Iterable[Run], *, concurrency: int) -> Sequence[str]:
    """Return a line for each worker with code that has outlasted its runs.

    Args:
        lingering: The leases of such runs.
        concurrency: How many runs a worker has at once.
    """
    of: dict[str, list[str]] = {}
    for one in lingering:
        of.setdefault(one.worker or "?", []).append(one.name)
    return [_outlasting(worker, names, OUTLASTING * concurrency) for worker, names in sorted(of.items())]


def _outlasting(worker: str, names: Sequence[str], most: int) -> str:
    line = f"{worker}: runs that have ended while their code goes on: {len(names)} ({', '.join(sorted(set(names)))})"
    if len(names) < most:
        return f"{line}; a thread can't be killed: give what it waits for a timeout"
    return f"{line}; at {most} it starts no further threads, so restart that process"


def _stranger(name: str) -> str:
    """Return advice on a task that is not registered but has pending jobs, as a deployment has removed it."""
    return (
        f"task {show(name)} is not registered here, but jobs of it are pending: they run when it is registered again, "
        f"or cancel them, see: pseudocron jobs --state pending --task {quote(name)}"
    )
