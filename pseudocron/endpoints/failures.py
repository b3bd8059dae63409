"""Counter of failed calls by the network of their caller, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from pseudocron.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable


class FailureCounter:
    """A counter of failures in one process; with too many networks it forgets the one that failed least recently.

    It blocks no network: several callers may share an address, such as that of a proxy, and one of them has the right
    token.

    Args:
        most: Number of failures within `seconds` that are worth a line in the log.
        seconds: Seconds after its first failure for which a network is counted.
        networks: Maximum number of networks that are kept.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        *,
        most: int = 10,
        seconds: float = 60.0,
        networks: int = 1024,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._networks = networks
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def failed(self, address: str) -> str | None:
        """Count one failure.

        Args:
            address: The address of the caller.

        Returns:
            The network of the address if this failure is the one that is worth a line in the log, else None.
        """
        network, now = _network(address), self._clock()
        since, count = self._failures.get(network, (now, 0))
        if now - since >= self._seconds:
            since, count = now, 0
        self._failures[network] = since, count + 1
        self._failures.move_to_end(network)
        if len(self._failures) > self._networks:
            self._failures.popitem(last=False)
        return network if count + 1 == self._most else None


def _network(address: str) -> str:
    """Return the owner of an address: an IPv6 customer has a whole /64."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:  # an IPv4 caller of a socket for both
        return str(ip.ipv4_mapped)
    return str(ip_network((ip.packed[:8] + bytes(8), 64)))
