"""The renewal of the leases of a process, from a plain thread: a blocked event loop must not lose them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pseudocron.errors import PseudoCronError
from pseudocron.host import Pulse
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pseudocron.backends.questions import Claim

TRUSTED = 0.9
"""The part of a lease for which its holder trusts it: the rest is for clocks that do not run at the same pace."""


class Lease:
    """A lease that is renewed.

    Args:
        claim: The claim.
        until: Until when it is trusted, by the monotonic clock.
        is_gone: Whether the event loop of the run is closed, so that its end will never be recorded; any thread asks.

    Attributes:
        lost: Whether it was ever not renewed in time.
        is_over: Of a run that is recorded while its code still runs: whether that code has ended; any thread asks.
    """

    __slots__ = ("claim", "has_ended", "is_final", "is_gone", "is_over", "lost", "until")

    def __init__(self, claim: Claim, until: float, is_gone: Callable[[], bool]) -> None:
        self.claim = claim
        self.until = until
        self.is_gone = is_gone
        self.is_over: Callable[[], bool] | None = None
        self.lost = self.has_ended = self.is_final = False

    def is_needed(self) -> bool:
        """Return whether it must still be renewed."""
        return not (self.is_over or self.is_gone)()


class LeaseRenewer:
    """Renews every held lease at a third of its length.

    The thread lives while a lease is held, and until it has found none: claims that follow one another need no thread
    each. A lease that could not be renewed in time is trusted no more, and the run is notified by its flag
    (`current_run().cancelled`). The lease is renewed on, so that the result is recorded unless the store has given the
    run away.

    A lease can't promise that nobody else executes the same. A process that is stopped for longer than its lease, and
    then continues, runs beside its successor, and so does code that does not heed the flag. What such a run writes to
    the store is refused by its fence. For everything else the code has its slot as an idempotency key, and its fence.

    Args:
        renew: Lets leases end so many seconds from now, and returns the ids of the runs still living; blocks.
        seconds: The length of a lease.
        pulse: When to renew, and by which clock a lease is trusted.

    Attributes:
        asked: Returns the moment in which claims are asked for; their leases begin later.
    """

    def __init__(
        self,
        renew: Callable[[Sequence[Claim], float], Collection[str]],
        seconds: float,
        *,
        pulse: Pulse = Pulse(),  # noqa: B008 - frozen
    ) -> None:
        self._renew = renew
        self._seconds = seconds
        self._pulse = pulse
        self.asked = pulse.monotonic
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None  # the beat that goes on

    def hold(self, claims: Sequence[Claim], asked: float, is_gone: Callable[[], bool]) -> None:
        """Renew the leases of these claims from now on.

        Args:
            claims: The claims.
            asked: When they were asked for.
            is_gone: Whether the event loop of their runs is closed; called from any thread.

        Raises:
            RuntimeError: No thread can be started that renews them; none of them is held then.
        """
        until = asked + TRUSTED * self._seconds
        with self._lock:
            if self._stop is None:
                self._stop = self._pulse.beat(self._seconds / 3, self._keep)
            for claim in claims:
                self._held[claim.run_id] = Lease(claim, until, is_gone)

    def ended(self, claim: Claim) -> None:
        """Note that the code of a run has ended, and that its result is being recorded.

        That the lease is over is no loss any more. It is renewed once more, for a store that was away, and not again:
        a result that the store refuses for good must not keep others waiting for ever.
        """
        if (lease := self._held.get(claim.run_id)) is not None:
            lease.has_ended = True

    def outlast(self, claim: Claim, is_over: Callable[[], bool]) -> None:
        """Renew a recorded claim until its code has ended, also when the event loop is closed.

        Args:
            claim: The claim.
            is_over: Whether the code has ended; called from any thread.
        """
        if (lease := self._held.get(claim.run_id)) is not None:
            lease.is_over = is_over

    def drop(self, claim: Claim) -> None:
        """Renew this lease no more, unless a later claim of the same run is held."""
        with self._lock:
            lease = self._held.get(claim.run_id)
            if lease is not None and lease.claim.fence == claim.fence:
                del self._held[claim.run_id]

    def holds(self, claim: Claim) -> bool:
        """Return whether the lease is still held, and always was; what is not known for sure is not."""
        lease = self._held.get(claim.run_id)
        return lease is not None and lease.claim.fence == claim.fence and self._trusts(lease)

    def _trusts(self, lease: Lease) -> bool:
        if not lease.lost and self._pulse.monotonic() > lease.until:
            lease.lost = True
            if not lease.has_ended:
                run = lease.claim.run_id
                logger.warning("run %s: lease not renewed in time: the run is notified to stop", run)
        return not lease.lost

    def needed(self) -> list[Lease]:
        """Return the leases that are to be renewed."""
        with self._lock:
            for lease in [lease for lease in self._held.values() if not lease.is_needed()]:
                del self._held[lease.claim.run_id]
            return [lease for lease in self._held.values() if not lease.is_final]

    def holding(self) -> Sequence[Claim]:
        """Return the claims whose leases a poll renews."""
        return [lease.claim for lease in self.needed()] if self._held else ()

    def _renewed(self, asked: float, living: Collection[str], leases: Sequence[Lease]) -> None:
        """Note which of these leases the store has renewed that was asked then."""
        for lease in leases:
            run_id = lease.claim.run_id
            if run_id in living:
                lease.until = asked + TRUSTED * self._seconds
                lease.is_final = lease.has_ended
            elif self._held.get(run_id) is lease and not (lease.has_ended or lease.is_over):
                logger.warning("run %s: lease lost", run_id)
                self.drop(lease.claim)

    def renew(self) -> None:
        """Renew all leases now; blocks. Raises `BackendError` if the store can't be reached."""
        leases, asked = self.needed(), self.asked()
        for lease in leases:
            self._trusts(lease)
        if leases:
            self._renewed(asked, set(self._renew([lease.claim for lease in leases], self._seconds)), leases)

    def close(self) -> None:
        """Renew nothing more but what outlasts its run; other leases that are still held are left to their ends."""
        with self._lock:
            self._held = {run_id: lease for run_id, lease in self._held.items() if lease.is_over}
            if self._stop and not self._held:
                self._stop()
                self._stop = None

    def _keep(self) -> bool:
        """Renew at one beat; return False if nothing is held, so that the next claim needs another thread."""
        with self._lock:
            if not self._held:
                self._stop = None
                return False
        try:
            self.renew()
        except PseudoCronError as error:
            logger.warning("leases: not renewed: %s; retried", error)
        except Exception:
            # The thread must outlive it: without, nothing of this process would be renewed any more.
            logger.exception("leases: not renewed; retried")
        return True
