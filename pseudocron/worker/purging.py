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
    from pseudocron.config.settings import Settings
    from pseudocron.crons import Crons
    from pseudocron.host import Host

DONE = (State.SUCCEEDED, State.CANCELLED, State.REPLACED, State.EXPIRED)
FAILED = (State.FAILED, State.TIMED_OUT, State.INTERRUPTED, State.LOST)
"""The states of jobs that somebody may want to look into, or to retry: by default they are kept for longer."""

PURGED, PURGE_AGAIN = 1000, 60.0
"""How many jobs are deleted in one transaction, and the seconds after which there may be more to delete."""


def kept_for(settings: Settings) -> Mapping[State, timedelta]:
    """Return how long jobs are kept after their end, by their states."""
    done, failed = timedelta(seconds=settings.retention), timedelta(seconds=settings.retention_failed)
    return {**dict.fromkeys(DONE, done), **dict.fromkeys(FAILED, failed)}


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

    async def purge(self, crons: Crons) -> None:
        """Delete at most `PURGED` old jobs; not `again` for `PURGE_AGAIN` seconds, unless there are so many."""
        self.again = self._host.monotonic() + PURGE_AGAIN
        try:
            purged = await self._backend.purge(kept_for(crons.settings), PURGED)
        except BackendError as error:  # the poll has done its work, and the next purge is not urgent
            logger.debug("jobs: not purged: %s", error)
            return
        if purged >= PURGED:
            self.again = -inf
