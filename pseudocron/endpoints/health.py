"""The door for probes: whether what is due runs, in one status code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pseudocron.endpoints.responses import reply
from pseudocron.endpoints.vitals import vitals
from pseudocron.process import process_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pseudocron.endpoints.vitals import Vitals


SHOWN = 20
"""How many overdue crons are told by their names."""


def health(crons: object, *, verbose: bool = False) -> ASGIApp:
    """An ASGI application that answers 200 if all is well and 503 if not, with JSON, to GET and HEAD.

    Unwell are a configuration that has never been right in this process, a store that can't be used or does not answer
    within 2 seconds, a cron that is overdue by more than its `tolerance`, and a process in which so many threads have
    outlasted their runs that it starts no further ones. It asks the store at most once a second
    in each process.

    Args:
        crons: The configuration, as the middleware takes it.
        verbose: Whether the answer tells the errors too, which may name files and servers.
    """
    return _Health(crons, verbose=verbose)


class _Health:
    """The application: an object, as routers take a function for a view."""

    def __init__(self, crons: object, *, verbose: bool) -> None:
        self._process = process_of(crons)
        self._verbose = verbose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - that is how ASGI calls
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http" and scope["method"] not in {"GET", "HEAD"}:
            await reply(send, 405, {"error": "must be GET or HEAD"}, allow="GET, HEAD")
        elif scope["type"] == "http":
            found = await vitals(self._process)
            status = 200 if found.healthy else 503
            await reply(send, status, _as_json(found, verbose=self._verbose), body=scope["method"] == "GET")


def _as_json(found: Vitals, *, verbose: bool) -> dict[str, Any]:
    """What JSON knows; instants are ISO text in UTC, spans are seconds."""
    late = [
        {
            "name": one.name,
            "slot": one.slot.isoformat(),
            "late": one.late.total_seconds(),
            "tolerance": one.tolerance.total_seconds(),
        }
        for one in found.overdue[:SHOWN]
    ]
    said: dict[str, Any] = {
        "healthy": found.healthy,
        "config": found.config,
        "backend": found.backend,
        "enabled": found.enabled,
        "crons": found.crons,
        "overdue": len(found.overdue),
        "latest": late,
        "lingering": found.lingering,
        "stuck": found.stuck,
    }
    return said | {"errors": list(found.errors)} if verbose else said
