"""Rate limiter: counts the failures of each address, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from pseudocron.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable


class Limiter:
    """A counter of failures in one process; with too many addresses it forgets the one that failed least recently.

    Args:
        most: Number of failures within `seconds` at which an address is blocked.
        seconds: Seconds after its first failure for which an address is counted.
        addresses: Maximum number of addresses that are kept.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        *,
        most: int = 10,
        seconds: float = 60.0,
        addresses: int = 1024,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._addresses = addresses
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def blocks(self, address: str) -> bool:
        """Return whether an address has failed too often."""
        return self._count(_network(address)) >= self._most

    def failed(self, address: str) -> bool:
        """Count one failure; return whether the address is blocked by it."""
        network = _network(address)
        count = self._count(network) + 1
        since = self._failures[network][0] if count > 1 else self._clock()
        self._failures[network] = since, count
        self._failures.move_to_end(network)
        if len(self._failures) > self._addresses:
            self._failures.popitem(last=False)
        return count == self._most

    def _count(self, network: str) -> int:
        since, count = self._failures.get(network, (0.0, 0))
        return count if self._clock() - since < self._seconds else 0


def _network(address: str) -> str:
    """Return the owner of an address: an IPv6 customer has a whole /64."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address[:64]
    return str(ip_network((ip.packed[:8] + bytes(8), 64))) if ip.version == 6 else str(ip)
