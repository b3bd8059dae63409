"""Where the name of a store becomes a backend; each kind is imported when it is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pseudocron.errors import ConfigError, did_you_mean, show, unspoken
from pseudocron.host import Host

if TYPE_CHECKING:
    from pathlib import Path

    from pseudocron.backends.base import Backend

Durability = Literal["power", "process"]
"""What a change outlives once it is stored: a power cut, or any death of a process but not that of the machine."""

MakeClient: TypeAlias = Callable[[], Any]
"""Makes a `redis.asyncio` client: a new one each time, as it connects on an event loop of our own."""

DEFAULT_APP = "pseudocron"
APP = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """All that a backend may want to know of where it is, and of how it is to be kept; see `connect`."""

    rest: str
    app: str
    folder: Path
    keep: int
    durability: Durability
    cron_max_time: float
    host: Host


def connect(
    store: str | MakeClient,
    *,
    app: str = DEFAULT_APP,
    folder: Path,
    keep: int = 20,
    durability: Durability = "power",
    cron_max_time: float = 60.0,
    host: Host = Host(),  # noqa: B008  frozen
) -> Backend:
    """The backend that `store` names; nothing is opened yet.

    Args:
        store: `memory:`, a new one with every call; `file:FOLDER`; the URL of a Redis server, or what makes its client.
        app: The name under which everything is stored. Any but the default has a folder of its own in FOLDER.
        folder: What a relative FOLDER counts from.
        keep: How many runs, and how many skips, are kept of each cron.
        durability: What a change outlives; `memory:` outlives nothing, and a Redis server has settings of its own.
        cron_max_time: The configured `CRON_MAX_TIME` in seconds.
        host: Where the clock, the chance and the threads come from.

    Raises:
        ConfigError: `store` or `app` is not understood, or its library is not installed.
    """
    if why := wrong_with(store):
        raise ConfigError(f"backend {show(store)}: {why}")
    if not APP.fullmatch(app):
        raise ConfigError(f"app {app!r} is not a name of letters, digits, '_', '-' and '.'")
    scheme, _, rest = ("", "", "") if callable(store) else store.partition(":")
    place = Place(
        rest=rest,
        app=app,
        folder=folder,
        keep=keep,
        durability=durability,
        cron_max_time=cron_max_time,
        host=host,
    )
    return _redis(store, place) if callable(store) or scheme in REDIS else SCHEMES[scheme](place)


def named(store: str | MakeClient) -> str:
    """What to call a store in what people read: never with a password."""
    if callable(store):
        return f"the client of {getattr(store, '__name__', type(store).__name__)}()"
    return unspoken(store)


def wrong_with(store: str | MakeClient) -> str | None:
    """Why it names no backend, and the mend; None if it does."""
    if callable(store):
        return _without_redis()
    scheme, colon, rest = store.partition(":")
    if colon and scheme in REDIS:
        return _wrong_with_url(store) or _without_redis()
    if not colon or scheme not in SCHEMES:
        known = ", ".join(f"'{name}:'" for name in SCHEMES)
        return f"is unknown, must begin with {known} or 'redis://'{did_you_mean(scheme, (*SCHEMES, *REDIS))}"
    if scheme == "memory" and rest:
        return f"takes nothing behind the colon, did you mean {show(f'file:{rest}')}?"
    if scheme == "file" and not rest:
        return "names no folder, did you mean 'file:.pseudocron'?"
    return None


def _wrong_with_url(url: str) -> str | None:
    """The same of the URL of a Redis server."""
    try:
        parts = urlsplit(url)
        there = parts.path if parts.scheme == "unix" else parts.hostname
        _ = parts.port
    except ValueError as error:
        return f"is no URL: {str(error)[:100]}, did you mean 'redis://localhost:6379/0'?"
    if not there:
        return "names no server, did you mean 'redis://localhost:6379/0'?"
    database = parts.path.strip("/")
    if parts.scheme != "unix" and database and not (database.isascii() and database.isdigit()):
        return f"names database {show(database)}, must be a number as in 'redis://localhost:6379/0'"
    return None


def _without_redis() -> str | None:
    from importlib.util import find_spec  # noqa: PLC0415  only when a Redis server is named

    return None if find_spec("redis") else "needs the Redis client: pip install 'pseudocron[redis]'"


def _memory(place: Place) -> Backend:
    from pseudocron.backends.memory import Memory  # noqa: PLC0415  only when named

    return Memory(keep=place.keep, cron_max_time=place.cron_max_time, host=place.host)


def _file(place: Place) -> Backend:
    from pseudocron.backends.file import File  # noqa: PLC0415  only when named

    root = place.folder / place.rest
    root = root if place.app == DEFAULT_APP else root / place.app
    return File(
        root,
        keep=place.keep,
        durability=place.durability,
        cron_max_time=place.cron_max_time,
        host=place.host,
    )


def _redis(store: str | MakeClient, place: Place) -> Backend:
    from pseudocron.backends.redis import Redis  # noqa: PLC0415  only when named
    from pseudocron.backends.redis.client import from_url  # noqa: PLC0415

    make = store if callable(store) else from_url(store)
    return Redis(
        make,
        name=f"Redis at {named(store)}",
        app=place.app,
        keep=place.keep,
        cron_max_time=place.cron_max_time,
        host=place.host,
    )


SCHEMES: dict[str, Callable[[Place], Backend]] = {"file": _file, "memory": _memory}
REDIS = ("redis", "rediss", "unix")
