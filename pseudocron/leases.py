"""Keeps the leases of this process's runs alive, from a plain thread: a blocked event loop must not lose them."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from pseudocron.errors import PseudoCronError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

logger = logging.getLogger("pseudocron")

C = TypeVar("C")


class Keeper(Generic[C]):
    """Renews every held claim at a third of the lease.

    The thread lives while something is held, and until it has found nothing to renew: those who hold one claim after
    another need no thread for each. What a lease can't promise: a process that is stopped for
    longer than its lease, and then goes on, runs beside its successor. The fence is for that.

    Args:
        renew: Lets leases end so many seconds from now, and gives the identities of those still living; blocks.
        lease: Their length in seconds.
        identity: What `renew` calls a claim.
    """

    def __init__(
        self, renew: Callable[[Sequence[C], float], Collection[str]], lease: float, identity: Callable[[C], str]
    ) -> None:
        self._renew = renew
        self._lease = lease
        self._identity = identity
        self._held: dict[str, C] = {}
        self._ending: set[str] = set()
        self._lock = threading.Lock()
        self._closed: threading.Event | None = None  # of the thread that lives

    def hold(self, claim: C) -> None:
        """Renew this claim from now on."""
        with self._lock:
            self._held[self._identity(claim)] = claim
            if self._closed is None:
                self._closed = self._start()

    def end(self, claim: C) -> None:
        """Its result is being recorded: renew it until it is dropped, but that its lease is over is no loss."""
        self._ending.add(self._identity(claim))

    def drop(self, claim: C) -> None:
        """Renew this claim no more."""
        self._drop(self._identity(claim))

    def holds(self, claim: C) -> bool:
        """Whether the lease was still ours when it was last renewed."""
        return self._identity(claim) in self._held

    def close(self) -> None:
        """Renew nothing more; what is still held is left to its end."""
        with self._lock:
            self._held.clear()
            self._ending.clear()
            if self._closed:
                self._closed.set()
            self._closed = None

    def renew(self) -> None:
        """Renew all that is held, now; blocks. `BackendError` if the store can't be reached."""
        with self._lock:
            held = dict(self._held)
        living = self._renew(list(held.values()), self._lease) if held else ()
        for identity in held.keys() - set(living) - self._ending:
            if identity in self._held:
                logger.warning("the lease of run %s is lost", identity)
                self._drop(identity)

    def _drop(self, identity: str) -> None:
        with self._lock:
            self._held.pop(identity, None)
            self._ending.discard(identity)

    def _start(self) -> threading.Event:
        closed = threading.Event()
        threading.Thread(target=self._keep, args=(closed,), name="pseudocron-leases", daemon=True).start()
        return closed

    def _keep(self, closed: threading.Event) -> None:
        while not closed.wait(self._lease / 3) and not self._is_idle(closed):
            try:
                self.renew()
            except PseudoCronError as error:
                if self._held and not closed.is_set():
                    logger.warning("leases could not be renewed, trying again: %s", error)

    def _is_idle(self, closed: threading.Event) -> bool:
        """Whether nothing is held, so that the thread ends and the next claim needs another."""
        with self._lock:
            if not self._held and self._closed is closed:
                self._closed = None
            return self._closed is not closed
