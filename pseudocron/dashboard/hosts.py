"""Names of hosts, as browsers and proxies write them."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/?#@\[\]]+)(?::\d*)?", re.IGNORECASE | re.ASCII)


def hostname(host: str) -> str | None:
    """Return the name in a `Host` header, in lower case without port, brackets and final dot, or None."""
    found = _HOST.fullmatch(host)
    return bare(found[1]) if found else None


def bare(name: str) -> str:
    """Return a host without port as `hostname` returns it."""
    return name.lower().removeprefix("[").removesuffix("]").removesuffix(".")


def is_loopback(name: str) -> bool:
    """Return whether a host, as `hostname` returns it, is this machine, whatever a name server says."""
    if name == "localhost":
        return True
    try:
        ip = ip_address(name)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped.is_loopback
    return ip.is_loopback
