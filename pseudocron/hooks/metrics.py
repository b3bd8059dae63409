"""Tells who counts what comes of looks, and, now and then, how many jobs wait; nothing where nobody counts."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pseudocron.backends.model import State
from pseudocron.errors import PseudoCronError
from pseudocron.log import logger

if TYPE_CHECKING:
    from pseudocron.backends.contract import Backend
    from pseudocron.crons import Crons
    from pseudocron.hooks import Hooks
    from pseudocron.host import Host

COUNT_AGAIN = 15.0
"""Seconds between two counts: as often as metrics are usually collected."""

COUNTED = 100_000
"""How many jobs are counted at most."""


class Observer:
    """What a scheduler tells of its looks.

    Args:
        backend: Where jobs wait.
        host: Where the clocks come from.
    """

    def __init__(self, backend: Backend, host: Host) -> None:
        self._backend = backend
        self._host = host
        self._count_again = -inf

    def looked(self, hooks: Hooks, result: str) -> None:
        """Somebody has asked whether something is due."""
        for tell in hooks.looks:
            try:
                tell(str(result))
            except Exception:
                logger.exception("who counts looks could not be told")

    async def count(self, crons: Crons) -> None:
        """Tell how many jobs wait, and for how long one that is next has been due, unless that was told just now."""
        if not crons._hooks.counts or self._host.monotonic() < self._count_again:
            return
        self._count_again = self._host.monotonic() + COUNT_AGAIN
        try:
            pending = (await self._backend.counts(COUNTED))[State.PENDING]
            age = await self._age() if pending else 0.0
            for tell in crons._hooks.counts:
                tell(pending, max(0.0, age))
        except PseudoCronError as error:
            logger.debug("jobs could not be counted: %s", error)
        except Exception:
            logger.exception("who counts jobs could not be told")

    async def _age(self) -> float:
        """Return for how many seconds the pending job has been due that was due first."""
        first = min((await self._backend.waiting()).values(), default=self._host.now())
        return (self._host.now() - first).total_seconds()
