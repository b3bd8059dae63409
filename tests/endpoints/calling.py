"""One HTTP request to an ASGI application, and its whole answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support import nothing

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

TOKEN = "a-token-of-23-characters"  # noqa: S105 - of these tests
BEARER = {"authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(method: str = "POST", path: str = "/", **more: Any) -> dict[str, Any]:
    path, _, query = path.partition("?")
    headers = [(name.encode(), value.encode()) for name, value in more.pop("headers", {}).items()]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": ""}
    scope |= {"query_string": query.encode(), "headers": headers, "client": ("192.0.2.1", 1), "server": ("here", 80)}
    return {**scope, "scheme": "http", "http_version": "1.1", **more}


async def ask(app: ASGIApp, method: str = "POST", path: str = "/", **more: Any) -> Answer:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(request(method, path, **more), nothing, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], list(sent[0]["headers"]), body)
