"""The client of a Redis server that is named by its URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pseudocron.errors import BackendError, show, unspoken

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER = 2.0
"""Seconds for one attempt: a connection that has gone silent is given up, and the call repeated on another."""

FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def from_url(url: str) -> Callable[[], Redis]:
    """Return a function that makes a client of the server at `url`. Options in its query string override ours."""

    def make_client() -> Redis:
        _check_files(url)
        # A socket of the machine has no keepalive, and its connection takes no such option.
        keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
        return Redis.from_url(
            url,
            socket_timeout=ANSWER,
            socket_connect_timeout=ANSWER,
            retry=Retry(NoBackoff(), 0),  # the connection repeats
            **keepalive,
        )

    return make_client


def _check_files(url: str) -> None:
    """Raise `BackendError` if a file is not there: for the client that is a server which can't be reached."""
    options = parse_qs(urlsplit(url).query)
    for name in FILES:
        for path in options.get(name, ())[:1]:
            if not Path(path).is_file():
                raise BackendError(f"Redis at {unspoken(url)}: {name}: there is no file {show(path)}; fix the path")
