"""How long the server lets a worker live after it was told to end, where that can be known."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import FrameType

RESERVE = 2.5
"""Seconds of the grace that no drain may use: a coroutine may take 2 s to end, then its end is recorded."""

_SETTINGS = {
    "gunicorn": ("cfg", "graceful_timeout", "--graceful-timeout"),
    "hypercorn": ("config", "shutdown_timeout", "shutdown_timeout"),
}
"""By server: the attribute of its objects with its settings, the setting, and how a user writes that."""


class Grace(NamedTuple):
    """Seconds from the end of serving to the death of the process.

    Args:
        seconds: How many.
        server: The server that sets them.
        setting: The setting of the server, as users write it.
    """

    seconds: float
    server: str
    setting: str

    def allowed(self, drain: float) -> float:
        """Return the seconds of a drain after which runs that are cut off can still be recorded."""
        return min(drain, max(0.0, self.seconds - RESERVE))

    def advice(self, drain: float) -> str | None:
        """Return what to change, in one line, if the drain does not fit into the grace; else None."""
        if self.allowed(drain) == drain:
            return None
        return (
            f"drain: {drain:g} s do not fit into the {self.seconds:g} s that {self.server} gives a worker to end: runs "
            f"have {self.allowed(drain):g} s; set {self.setting} to at least {drain + RESERVE:g}, or a shorter drain"
        )


def server_grace() -> Grace | None:
    """Return the grace of the server that calls this code, from the settings of the objects on its stack.

    Called in the lifespan, which the server runs in its own thread. No server tells an application its settings.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way
    while frame is not None:
        server = str(frame.f_globals.get("__name__")).partition(".")[0]
        # uvicorn's worker for gunicorn is a module of its own.
        for name in ("gunicorn",) if server == "uvicorn_worker" else (server,):
            if name in _SETTINGS and (grace := _of(name, frame.f_locals.get("self"))) is not None:
                return grace
        frame = frame.f_back
    return None


def _of(server: str, owner: object) -> Grace | None:
    attribute, setting, written = _SETTINGS[server]
    seconds = getattr(getattr(owner, attribute, None), setting, None)
    return Grace(float(seconds), server, written) if isinstance(seconds, int | float) else None
