"""Responses to HTTP requests: JSON, and the 404 of the application for a URL that does not exist."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send


async def respond(send: Send, status: int, value: object, *, body: bool = True, **headers: str) -> None:
    """Send JSON that must not be cached.

    Args:
        send: The send function of the request.
        status: The HTTP status.
        value: JSON value.
        body: False for a response to HEAD: headers only.
        headers: Further headers, by lower-case name.
    """
    text = json.dumps(value).encode()
    default = {"content-type": "application/json", "cache-control": "no-store", "content-length": str(len(text))}
    await send({"type": "http.response.start", "status": status, "headers": _raw(default | headers)})
    await send({"type": "http.response.body", "body": text if body else b""})


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond as the router of the surrounding application does without a route."""
    from starlette.applications import Starlette  # noqa: PLC0415  only for refused calls
    from starlette.exceptions import HTTPException  # noqa: PLC0415
    from starlette.responses import PlainTextResponse  # noqa: PLC0415

    if isinstance(scope.get("app"), Starlette):
        raise HTTPException(status_code=404)
    await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
