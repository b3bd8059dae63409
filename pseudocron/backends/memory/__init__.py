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
        host: Where the clock comes from.
    """

    def __init__(self, *, store: Store | None = None, keep: int = 20, host: Host = Host()) -> None:  # noqa: B008
        shared = store or Store()
        Slots.__init__(self, shared, keep=keep, now=host.now)
        Jobs.__init__(self, shared.lock, shared.shelf, host.now, self.lower)
