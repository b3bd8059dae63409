"""The backend in memory: the reference of the contract, for tests and for one process."""

from __future__ import annotations

from pseudocron.backends.memory.queue import Jobs
from pseudocron.backends.memory.slots import Slots
from pseudocron.backends.memory.store import Store
from pseudocron.host import Host

__all__ = ["Memory", "Store"]


class Memory(Jobs, Slots):
    """A backend that ends with its process.

    Args:
        store: What it shares with others; its own if none is given.
        keep: How many runs, and how many skips, are kept of each cron.
        cron_max_time: The configured `CRON_MAX_TIME` in seconds.
        host: Where the clock comes from.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        keep: int = 20,
        cron_max_time: float = 60.0,
        host: Host = Host(),  # noqa: B008  frozen
    ) -> None:
        shared = store or Store()
        Slots.__init__(self, shared, keep=keep, now=host.now)
        Jobs.__init__(self, shared, host.now)
        self.cron_max_time = cron_max_time
