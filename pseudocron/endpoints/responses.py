"""Answers of our own to HTTP requests: JSON, and the 404 that the application gives for what is not there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send


async def reply(send: Send, status: int, value: object, *, body: bool = True, **headers: str) -> None:
    """Answer with JSON that nobody is to keep.

    Args:
        send: To the server.
        status: The HTTP status.
        value: What JSON knows.
        body: False answers a HEAD: the headers alone.
        headers: Further ones, by lower-case name.
    """
    text = json.dumps(value).encode()
    said = {"content-type": "application/json", "cache-control": "no-store", "content-length": str(len(text))}
    await send({"type": "http.response.start", "status": status, "headers": _raw(said | headers)})
    await send({"type": "http.response.body", "body": text if body else b""})


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the router of the application around us does where it has no route."""
    from starlette.applications import Starlette  # noqa: PLC0415  for those who are refused
    from starlette.exceptions import HTTPException  # noqa: PLC0415
    from starlette.responses import PlainTextResponse  # noqa: PLC0415

    if isinstance(scope.get("app"), Starlette):
        raise HTTPException(status_code=404)
    await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
