"""The purge: jobs that ended long ago are deleted, now and then and in small transactions."""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

from pseudocron.backends.model import State
from pseudocron.errors import BackendError
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pseudocron.backends.contract import Backend
    from pseudocron.host import Host

_FOR_A_WEEK = (State.SUCCEEDED, State.CANCELLED, State.REPLACED, State.EXPIRED)
_FOR_A_MONTH = (State.FAILED, State.TIMED_OUT, State.INTERRUPTED, State.LOST)

KEEP: Mapping[State, timedelta] = {
    **dict.fromkeys(_FOR_A_WEEK, timedelta(days=7)),
    **dict.fromkeys(_FOR_A_MONTH, timedelta(days=30)),
}
"""How long jobs are kept after their end."""

PURGED, PURGE_AGAIN = 1000, 60.0
"""How many jobs are deleted in one transaction, and the seconds after which there may be more to delete."""


class Purger:
    """Deletes old jobs behind the polls of one process.

    Args:
        backend: The store, open.
        host: Gives the clock.

    Attributes:
        again: When there may be more to delete, by the monotonic clock.
    """

    def __init__(self, backend: Backend, host: Host) -> None:
        self._backend = backend
        self._host = host
        self.again = -inf

    async def purge(self) -> None:
        """Delete at most `PURGED` old jobs; not `again` for `PURGE_AGAIN` seconds, unless there are so many."""
        self.again = self._host.monotonic() + PURGE_AGAIN
        try:
            purged = await self._backend.purge(KEEP, PURGED)
        except BackendError as error:  # the poll has done its work, and the next purge is not urgent
            logger.debug("jobs: not purged: %s", error)
            return
        if purged >= PURGED:
            self.again = -inf
