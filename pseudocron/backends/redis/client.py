"""The client of a Redis server that is named by its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER = 2.0
"""Seconds for one attempt: a connection that has gone silent is given up, and the call repeated on another."""


def from_url(url: str) -> Callable[[], Redis]:
    """Return a function that makes a client of the server at `url`. Options in its query string override ours."""
    return lambda: Redis.from_url(
        url,
        socket_timeout=ANSWER,
        socket_connect_timeout=ANSWER,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),  # the wire repeats
    )
