"""Keeps the leases of this process's runs alive, from a plain thread: a blocked event loop must not lose them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pseudocron.errors import PseudoCronError
from pseudocron.host import Pulse
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

C = TypeVar("C")


TRUSTED = 0.9
"""The part of a lease for which its holder trusts it: the rest is for clocks that do not run at the same pace."""


@dataclass(slots=True)
class _Held(Generic[C]):
    """A claim whose lease is renewed.

    Args:
        claim: The claim.
        until: Until when its lease is trusted, by the monotonic clock.
        lost: Whether it ever was not.
        ended: Whether its code has ended, and its result is being recorded.
        final: Whether it was renewed since, so that it is renewed no more.
        is_over: Of a run that is recorded while its code goes on: whether that has ended.
        is_gone: Whether the event loop of the run is closed, so that nobody will record its end.
    """

    claim: C
    until: float
    is_gone: Callable[[], bool]
    lost: bool = False
    ended: bool = False
    final: bool = False
    is_over: Callable[[], bool] | None = None

    @property
    def is_needed(self) -> bool:
        """Whether its lease is to be renewed on."""
        return not (self.is_over or self.is_gone)()


class Keeper(Generic[C]):
    """Renews every held claim at a third of the lease.

    The thread lives while something is held, and until it has found nothing to renew: those who hold one claim after
    another need no thread for each. A lease that could not be renewed in time is trusted no more, though what became
    of it is not known: the run is told by its flag (`current_run().cancelled`). It is renewed on, so that the result
    is recorded unless the store has given the claim up meanwhile.

    What a lease can't promise: that nobody else runs the same. A process that is stopped for longer than its lease,
    and then goes on, runs beside its successor, and so does code that does not heed the flag. What such a run writes
    to the store is refused by its fence. What it does elsewhere is up to its code: hand on the slot as an idempotency
    key, or the fence to a store that refuses a lower one.

    Args:
        renew: Lets leases end so many seconds from now, and gives the identities of those still living; blocks.
        lease: Their length in seconds.
        identity: What `renew` calls a claim.
        pulse: When to renew, and by which clock a lease is trusted.
    """

    def __init__(
        self,
        renew: Callable[[Sequence[C], float], Collection[str]],
        lease: float,
        identity: Callable[[C], str],
        *,
        pulse: Pulse = Pulse(),  # noqa: B008 - frozen
    ) -> None:
        self._renew = renew
        self._lease = lease
        self._identity = identity
        self._pulse = pulse
        self._held: dict[str, _Held[C]] = {}
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None  # the beat that goes on

    def asked(self) -> float:
        """The moment in which a claim is asked for, after which its lease begins."""
        return self._pulse.monotonic()

    def hold(self, claim: C, asked: float, *, is_gone: Callable[[], bool] = lambda: False) -> None:
        """Renew this claim, that was asked for then, from now on.

        Args:
            claim: The claim.
            asked: When it was asked for.
            is_gone: Whether the event loop of its run is closed; called from any thread. Its lease then ends by itself.

        Raises:
            RuntimeError: There is no thread to be had that renews it; it is not held then.
        """
        with self._lock:
            if self._stop is None:
                self._stop = self._pulse.beat(self._lease / 3, self._keep)
            self._held[self._identity(claim)] = _Held(claim, asked + TRUSTED * self._lease, is_gone)

    def end(self, claim: C) -> None:
        """Its result is being recorded: that its lease is over is no loss any more.

        It is renewed once more, for a store that was away meanwhile, and not again: a result that the store refuses
        for good must not keep others waiting for ever.
        """
        if (held := self._held.get(self._identity(claim))) is not None:
            held.ended = True

    def outlast(self, claim: C, is_over: Callable[[], bool]) -> None:
        """Renew a recorded claim until its code has ended, also when the event loop is closed.

        Args:
            claim: The claim.
            is_over: Whether the code has ended; called from any thread.
        """
        if (held := self._held.get(self._identity(claim))) is not None:
            held.is_over = is_over

    def drop(self, claim: C) -> None:
        """Renew this claim no more."""
        self._drop(self._identity(claim))

    def holds(self, claim: C) -> bool:
        """Whether the lease is still ours, and always was; what is not known for sure is not."""
        held = self._held.get(self._identity(claim))
        return held is not None and self._trusts(held)

    def _trusts(self, held: _Held[C]) -> bool:
        if not held.lost and self._pulse.monotonic() > held.until:
            held.lost = True
            if not held.ended:
                run = self._identity(held.claim)
                logger.warning("the lease of run %s could not be renewed in time: it is told to stop", run)
        return not held.lost

    def close(self) -> None:
        """Renew nothing more but what outlasts its run; what else is still held is left to its end."""
        with self._lock:
            self._held = {identity: held for identity, held in self._held.items() if held.is_over}
            if self._stop and not self._held:
                self._stop()
                self._stop = None

    def renew(self) -> None:
        """Renew all that is held, now; blocks. `BackendError` if the store can't be reached."""
        with self._lock:
            over = [identity for identity, held in self._held.items() if not held.is_needed]
            for identity in over:
                del self._held[identity]
            held = {identity: one for identity, one in self._held.items() if not one.final}
        asked = self._pulse.monotonic()
        for one in held.values():
            self._trusts(one)
        living = set(self._renew([one.claim for one in held.values()], self._lease) if held else ())
        for identity in living & held.keys():
            held[identity].until = asked + TRUSTED * self._lease
            held[identity].final = held[identity].ended
        for identity in held.keys() - living:
            if identity in self._held and not (held[identity].ended or held[identity].is_over):
                logger.warning("the lease of run %s is lost", identity)
                self._drop(identity)

    def _drop(self, identity: str) -> None:
        with self._lock:
            self._held.pop(identity, None)

    def _keep(self) -> bool:
        """One beat; False if nothing is held, so that the next claim needs another thread."""
        with self._lock:
            if not self._held:
                self._stop = None
                return False
        try:
            self.renew()
        except PseudoCronError as error:
            logger.warning("leases could not be renewed, trying again: %s", error)
        except Exception:
            # The thread must outlive it: without, nothing of this process would be renewed any more.
            logger.exception("leases could not be renewed, trying again")
        return True
