"""Keeps the leases of this process's runs alive, from a plain thread: a blocked event loop must not lose them."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from pseudocron.errors import PseudoCronError

if TYPE_CHECKING:
    from pseudocron.backends.base import Backend, Claim

logger = logging.getLogger("pseudocron")


class Keeper:
    """Renews every held claim at a third of the lease.

    The thread lives while something is held. What a lease can't promise: a process that is stopped for
    longer than its lease, and then goes on, runs beside its successor. The fence is for that.

    Args:
        backend: Where the leases are.
        lease: Their length in seconds.
    """

    def __init__(self, backend: Backend, lease: float) -> None:
        self._backend = backend
        self._lease = lease
        self._held: dict[str, Claim] = {}
        self._ending: set[str] = set()
        self._lock = threading.Lock()
        self._idle = threading.Event()

    def hold(self, claim: Claim) -> None:
        """Renew this claim from now on."""
        with self._lock:
            first = not self._held
            self._held[claim.run_id] = claim
        if first:
            self._start()

    def end(self, claim: Claim) -> None:
        """Its result is being recorded: renew it until it is dropped, but that its lease is over is no loss."""
        self._ending.add(claim.run_id)

    def drop(self, claim: Claim) -> None:
        """Renew this claim no more."""
        with self._lock:
            self._held.pop(claim.run_id, None)
            self._ending.discard(claim.run_id)
            if not self._held:
                self._idle.set()

    def holds(self, claim: Claim) -> bool:
        """Whether the lease was still ours when it was last renewed."""
        return claim.run_id in self._held

    def close(self) -> None:
        """Renew nothing more; what is still held is left to its end."""
        with self._lock:
            self._held.clear()
            self._ending.clear()
            self._idle.set()

    def renew(self) -> None:
        """Renew all that is held, now; blocks. `BackendError` if the store can't be reached."""
        with self._lock:
            claims = list(self._held.values())
        living = self._backend.renew(claims, self._lease) if claims else ()
        for claim in claims:
            if claim.run_id not in living and claim.run_id not in self._ending and self.holds(claim):
                logger.warning("%s: the lease of slot %s is lost", claim.name, claim.slot.isoformat())
                self.drop(claim)

    def _start(self) -> None:
        self._idle = idle = threading.Event()
        threading.Thread(target=self._keep, args=(idle,), name="pseudocron-leases", daemon=True).start()

    def _keep(self, idle: threading.Event) -> None:
        while not idle.wait(self._lease / 3):
            try:
                self.renew()
            except PseudoCronError as error:
                if not idle.is_set():
                    logger.warning("leases could not be renewed, trying again: %s", error)
