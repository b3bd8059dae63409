"""Where the name of a store becomes a backend; each kind is imported when it is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pseudocron.backends.contract import Backend
from pseudocron.dataclass import dataclass
from pseudocron.errors import ConfigError, cause, did_you_mean, show, unspoken
from pseudocron.host import Host

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from pathlib import Path

Durability = Literal["power", "process"]
"""What a change outlives once it is stored: a power cut, or any death of a process but not that of the machine."""

MakeClient: TypeAlias = Callable[[], Any]
"""Makes a `redis.Redis` or a `redis.asyncio` client: a new one each time, which is closed with the store."""

Store: TypeAlias = "str | Backend | MakeClient"
"""What the setting `backend` takes."""

PLUGINS = "pseudocron.backends"
"""The group of entry points by which other packages add URL schemes, each named as its scheme.

Such an entry point is a function `open(url: str, options: Options) -> Backend` that opens nothing yet.
"""

QUOTED = "; in a user or password write %2F for '/', %3F for '?', %23 for '#', %5B for '['"

DEFAULT_APP = "pseudocron"
APP = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a backend is made with.

    Args:
        app: The name under which everything is stored.
        folder: What relative paths count from.
        keep: How many runs, and how many skips, are kept of each cron.
        durability: What a change outlives.
        cron_max_time: The configured `CRON_MAX_TIME` in seconds.
        host: Where the clock, the chance and the threads come from.
    """

    app: str
    folder: Path
    keep: int
    durability: Durability
    cron_max_time: float
    host: Host


def connect(
    store: Store,
    *,
    app: str | None = None,
    folder: Path,
    unfit: Callable[[], str | None] | None = None,
    keep: int = 20,
    durability: Durability = "power",
    cron_max_time: float = 60.0,
    host: Host = Host(),  # noqa: B008  frozen
) -> Backend:
    """Return the backend that `store` names; nothing is opened yet.

    Args:
        store: `memory:`, a new one with every call; `file:FOLDER`; the URL of a Redis server; a URL whose scheme
            another package has added. Or a `Backend`, which is used as it is, or what makes a Redis client.
        app: The name under which everything is stored. Any but the default has a folder of its own in FOLDER. None for
            the default, which a store that other applications can reach does not have.
        folder: What a relative FOLDER counts from.
        unfit: Returns why `folder` can't be a place for data, or None if it can. It may block.
        keep: How many runs, and how many skips, are kept of each cron.
        durability: What a change outlives; `memory:` outlives nothing, and a Redis server has settings of its own.
        cron_max_time: The configured `CRON_MAX_TIME` in seconds.
        host: Where the clock, the chance and the threads come from.

    Raises:
        ConfigError: `store` or `app` is not understood, or its library is not installed; or `app` or `folder` has to be
            named.
    """
    if why := wrong_with(store):
        raise ConfigError(f"backend {show(store)}: {why}")
    if isinstance(store, Backend):
        return store
    if app is None and (callable(store) or store.partition(":")[0] in REDIS):
        raise _nameless(store)
    if unfit and isinstance(store, str) and _is_relative(store) and (why := unfit()):
        raise ConfigError(
            f"backend {show(store)}: has no folder to count from: {why}; "
            "set Crons(folder=...) to an absolute one, or PSEUDOCRON_BACKEND=file:/var/lib/shop"
        )
    is_named, app = app is not None, DEFAULT_APP if app is None else app
    if not APP.fullmatch(app):
        raise ConfigError(f"app {app!r} is not a name of letters, digits, '_', '-' and '.'")
    options = Options(app=app, folder=folder, keep=keep, durability=durability, cron_max_time=cron_max_time, host=host)
    if callable(store):
        return _redis(store, options)
    scheme = store.partition(":")[0]
    if scheme in SCHEMES:
        return SCHEMES[scheme](store, options)
    backend = _of_plugin(scheme, store, options)
    if backend.has_own_clock and not is_named:  # a server
        raise _nameless(store)
    return backend


def _nameless(store: Store) -> ConfigError:
    return ConfigError(
        f"backend {show(named(store))}: other applications can reach it; name this one by Crons(app=...), "
        "APP or PSEUDOCRON_APP"
    )


def _is_relative(store: str) -> bool:
    """Return whether a store is at a relative path: `file:FOLDER`, or the like of another package."""
    rest = store.partition(":")[2]
    return bool(rest) and not rest.startswith("/")


def located(store: Store, *, app: str, folder: Path) -> str:
    """Return what to call a store for people who look for it: a folder by its absolute path, never a password.

    Args:
        store: The store.
        app: The name under which everything is stored.
        folder: What a relative path counts from.
    """
    if isinstance(store, str) and store.startswith("file:"):
        return f"file:{_root(store, app, folder)}"
    return named(store)


def risks(store: Store, *, app: str, folder: Path) -> list[str]:
    """Return why a store may be lost by a deployment or restart, a line each, with the fix. Arguments as above."""
    if not isinstance(store, str) or not store.startswith("file:"):
        return []
    from pseudocron.backends.file import risks as of_folders  # noqa: PLC0415  only when asked for

    return of_folders.risks(_root(store, app, folder))


def _root(url: str, app: str, folder: Path) -> Path:
    root = folder.absolute() / url.partition(":")[2]
    return root if app == DEFAULT_APP else root / app


def named(store: Store) -> str:
    """Return what to call a store in what people read: never with a password."""
    if isinstance(store, Backend):
        return type(store).__name__
    if callable(store):
        return f"the client of {getattr(store, '__name__', type(store).__name__)}()"
    return unspoken(store)


def wrong_with(store: Store) -> str | None:
    """Return why it is no backend and names none, with the fix; None if it does."""
    if isinstance(store, Backend):
        return None
    if isinstance(store, type) and issubclass(store, Backend):
        return f"is a class, must be an object of it: {store.__name__}(...)"
    return _without_redis() if callable(store) else _wrong_with_text(store)


def _wrong_with_text(store: str) -> str | None:
    scheme, colon, rest = store.partition(":")
    if colon and scheme in REDIS:
        return _wrong_with_url(store) or _without_redis()
    if not colon or scheme not in SCHEMES:
        return None if colon and _plugin(scheme) else _unknown(scheme)
    if scheme == "memory" and rest:
        return f"takes nothing behind the colon, did you mean {show(f'file:{rest}')}?"
    if scheme == "file" and not rest:
        return "names no folder, did you mean 'file:.pseudocron'?"
    return None


def _unknown(scheme: str) -> str:
    others = sorted(plugin.name for plugin in _plugins())
    known = ", ".join(f"'{name}:'" for name in ("file", "memory", *others))
    return f"is unknown, must begin with {known} or 'redis://'{did_you_mean(scheme, (*SCHEMES, *others))}"


def _wrong_with_url(url: str) -> str | None:
    """Return why a URL names no Redis server, with the fix, or None if it names one."""
    quoted = QUOTED if "@" in url else ""
    try:
        parts = urlsplit(url)
        there = parts.path if parts.scheme == "unix" else parts.hostname
        _ = parts.port
    except ValueError:  # whose message may show a part of the password
        return f"is no URL, did you mean 'redis://localhost:6379/0'?{quoted}"
    if not there:
        return f"names no server, did you mean 'redis://localhost:6379/0'?{quoted}"
    database = parts.path.strip("/")
    if parts.scheme != "unix" and database and not (database.isascii() and database.isdigit()):
        return f"must end with the number of a database, as 'redis://localhost:6379/0' does{quoted}"
    return None


def _without_redis() -> str | None:
    from importlib.util import find_spec  # noqa: PLC0415  only when a Redis server is named

    return None if find_spec("redis") else "needs the Redis client: pip install 'pseudocron[redis]'"


def _plugins() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415  only where a scheme is none of ours

    return list(entry_points(group=PLUGINS))


def _plugin(scheme: str) -> EntryPoint | None:
    return next((plugin for plugin in _plugins() if plugin.name == scheme), None)


def _of_plugin(scheme: str, url: str, options: Options) -> Backend:
    plugin = _plugin(scheme)
    assert plugin is not None  # noqa: S101 - `wrong_with` has found it
    try:
        backend = plugin.load()(url, options)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"backend {show(url)}: {plugin.value}: {cause(error)}") from error
    if not isinstance(backend, Backend):
        raise ConfigError(f"backend {show(url)}: {plugin.value}: returned {show(backend)}, must be a Backend")
    return backend


def _memory(_: str, options: Options) -> Backend:
    from pseudocron.backends.file.backend import Memory  # noqa: PLC0415  only when named

    return Memory(keep=options.keep, cron_max_time=options.cron_max_time, host=options.host)


def _file(url: str, options: Options) -> Backend:
    from pseudocron.backends.file.backend import File  # noqa: PLC0415  only when named

    return File(
        _root(url, options.app, options.folder),
        keep=options.keep,
        durability=options.durability,
        cron_max_time=options.cron_max_time,
        host=options.host,
    )


def _redis(store: str | MakeClient, options: Options) -> Backend:
    from pseudocron.backends.redis.backend import Redis  # noqa: PLC0415  only when named
    from pseudocron.backends.redis.client import from_url  # noqa: PLC0415

    return Redis(
        store if callable(store) else from_url(store),
        name=f"Redis at {named(store)}",
        app=options.app,
        keep=options.keep,
        cron_max_time=options.cron_max_time,
        host=options.host,
    )


REDIS = ("redis", "rediss", "unix")
SCHEMES: dict[str, Callable[[str, Options], Backend]] = {
    "file": _file,
    "memory": _memory,
    **dict.fromkeys(REDIS, _redis),
}
