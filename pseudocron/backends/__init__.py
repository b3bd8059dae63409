"""Where a backend's URL becomes a backend; each is imported when it is named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pseudocron.errors import ConfigError, did_you_mean
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pseudocron.backends.base import Backend

Durability = Literal["power", "process"]
"""What a change outlives once it is stored: a power cut, or any death of a process but not that of the machine."""

DEFAULT_APP = "pseudocron"
APP = re.compile(r"\w[\w.-]*", re.ASCII)


def connect(
    url: str,
    *,
    app: str = DEFAULT_APP,
    folder: Path,
    keep: int = 20,
    durability: Durability = "power",
    host: Host = Host(),  # noqa: B008  frozen
) -> Backend:
    """The backend that `url` names; nothing is opened yet.

    Args:
        url: `memory:`, a new one with every call, or `file:FOLDER`.
        app: The name under which everything is stored. Any but the default has a folder of its own in FOLDER.
        folder: What a relative FOLDER counts from.
        keep: How many runs, and how many skips, are kept of each cron.
        durability: What a change outlives; `memory:` outlives nothing.
        host: Where the clock, the chance and the threads come from.

    Raises:
        ConfigError: `url` or `app` is not understood.
    """
    if why := wrong_with(url):
        raise ConfigError(f"backend {url!r}: {why}")
    scheme, _, rest = url.partition(":")
    if not APP.fullmatch(app):
        raise ConfigError(f"app {app!r} is not a name of letters, digits, '_', '-' and '.'")
    root = folder / rest if app == DEFAULT_APP else folder / rest / app
    return SCHEMES[scheme](root, keep, durability, host)


def wrong_with(url: str) -> str | None:
    """Why a URL names no backend, and the mend; None if it does."""
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in SCHEMES:
        known = " or ".join(f"'{name}:'" for name in SCHEMES)
        return f"is unknown, must begin with {known}{did_you_mean(scheme, SCHEMES)}"
    if scheme == "memory" and rest:
        return f"takes nothing behind the colon, did you mean {f'file:{rest}'!r}?"
    if scheme == "file" and not rest:
        return "names no folder, did you mean 'file:.pseudocron'?"
    return None


def _memory(_root: Path, keep: int, _durability: Durability, host: Host) -> Backend:
    from pseudocron.backends.memory import Memory  # noqa: PLC0415  only when named

    return Memory(keep=keep, host=host)


def _file(root: Path, keep: int, durability: Durability, host: Host) -> Backend:
    from pseudocron.backends.file import File  # noqa: PLC0415  only when named

    return File(root, keep=keep, durability=durability, host=host)


SCHEMES: dict[str, Callable[[Path, int, Durability, Host], Backend]] = {"file": _file, "memory": _memory}
