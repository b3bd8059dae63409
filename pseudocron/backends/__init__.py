"""Where a backend's URL becomes a backend; each is imported when it is named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pseudocron.errors import ConfigError, did_you_mean
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pseudocron.backends.base import Backend

DEFAULT_APP = "pseudocron"
APP = re.compile(r"\w[\w.-]*", re.ASCII)


def connect(
    url: str,
    *,
    app: str = DEFAULT_APP,
    folder: Path,
    keep: int = 20,
    host: Host = Host(),  # noqa: B008  frozen
) -> Backend:
    """The backend that `url` names; nothing is opened yet.

    Args:
        url: `memory:`, a new one with every call, or `file:FOLDER`.
        app: The name under which everything is stored. Any but the default has a folder of its own in FOLDER.
        folder: What a relative FOLDER counts from.
        keep: How many runs, and how many skips, are kept of each cron.
        host: Where the clock, the chance and the threads come from.

    Raises:
        ConfigError: `url` or `app` is not understood.
    """
    if why := wrong_with(url):
        raise ConfigError(f"backend {url!r}: {why}")
    scheme, _, rest = url.partition(":")
    if not APP.fullmatch(app):
        raise ConfigError(f"app {app!r} is not a name of letters, digits, '_', '-' and '.'")
    return SCHEMES[scheme](rest, app, folder, keep, host)


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


def _memory(_rest: str, _app: str, _folder: Path, keep: int, host: Host) -> Backend:
    from pseudocron.backends.memory import Memory  # noqa: PLC0415  only when named

    return Memory(keep=keep, host=host)


def _file(rest: str, app: str, folder: Path, keep: int, host: Host) -> Backend:
    from pseudocron.backends.file import File  # noqa: PLC0415  only when named

    root = folder / rest
    return File(root if app == DEFAULT_APP else root / app, keep=keep, host=host)


SCHEMES: dict[str, Callable[[str, str, Path, int, Host], Backend]] = {"file": _file, "memory": _memory}
