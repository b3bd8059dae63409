"""Filter for the access logs of servers, which masks the tokens of trigger URLs."""

from __future__ import annotations

import logging
import re
from hashlib import sha256
from urllib.parse import unquote_to_bytes

LOGGERS = ("uvicorn.access", "uvicorn.error", "hypercorn.access", "granian.access")
"""The loggers to which servers write the queries of requests."""

_PARAMETER = re.compile(r"((?:(?<=[?&])|^)[^?&=\s]*=)([^&\s]*)")
"""A parameter of a query, which may be the whole text; its value is the second group."""


class _TokenFilter(logging.Filter):
    """Masks each value of a query that is a token, in what a server is about to log.

    A request that never reaches the trigger, such as one that a router redirects, would be logged with its token. The
    filter knows only digests, and leaves every other value as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.digests: set[bytes] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask what a record says; return True, as each record is to be logged."""
        args, record.msg = record.args, self._masked(record.msg)
        if isinstance(args, tuple):
            record.args = tuple(map(self._masked, args))
        elif isinstance(args, dict):  # changed in place: hypercorn's is of a class of its own
            args.update({name: self._masked(value) for name, value in args.items()})
        return True

    def _masked(self, value: object) -> object:
        return _PARAMETER.sub(self._parameter, value) if isinstance(value, str) and "=" in value else value

    def _parameter(self, found: re.Match[str]) -> str:
        is_token = sha256(unquote_to_bytes(found[2])).digest() in self.digests
        return f"{found[1]}***" if is_token else found[0]


_filter = _TokenFilter()


def mask(digest: bytes) -> None:
    """Mask a token in the access logs of this process from now on.

    Args:
        digest: The SHA-256 digest of the token.
    """
    _filter.digests.add(digest)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_filter)
