"""What several parts of the suite need: waiting until, an owned clock, a bare ASGI client."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from pseudocron.host import Host, hop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

START = datetime(2024, 5, 1, 12, tzinfo=UTC)

LONG = os.environ.get("LONG") == "1"
"""Whether each test does all that it can, as `make test-long` lets it, and not what is enough each time."""


def wait_until(condition: Callable[[], object], seconds: float = 5) -> None:
    """Return as soon as the condition holds; fail if it does not within some seconds.

    The default is for what a running process does at once, on a busy machine. Of a promise about time give about twice
    its seconds, and of what has to start first as many as that takes.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    """The same on an event loop, for what this process itself does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition will do, not only an event
            await asyncio.sleep(0.002)


@contextmanager
def took(least: float, most: float) -> Iterator[None]:
    """Fail if what is inside takes fewer or more seconds, by the clock of the running event loop."""
    clock = asyncio.get_running_loop().time
    began = clock()
    yield
    assert least <= round(clock() - began, 3) <= most


@dataclass
class Clock:
    """A clock that stands still until a test moves it; sleeping moves it too."""

    now: datetime = START
    slept: list[float] = field(default_factory=list)

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.forward(seconds)
        await asyncio.sleep(0)

    @property
    def host(self) -> Host:
        return Host(
            now=lambda: self.now,
            monotonic=lambda: (self.now - START) / timedelta(seconds=1),
            sleep=self.sleep,
            random=lambda: 0.5,
            hop=hop,
        )


def environ_with(folder: Path | str) -> dict[str, str]:
    """The environment of a child that also imports from a folder, and first from there."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def http(path: str = "/", **more: Any) -> MutableMapping[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": [], **more}


async def nothing() -> Message:
    """What a client sends that has sent all."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """The smallest application that knows HTTP and nothing else."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def visit(app: ASGIApp, scope: Scope | None = None) -> list[Message]:
    """One request; the messages that the application sent."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(http() if scope is None else scope, nothing, send)
    return sent


class Lifespan:
    """A server's side of one lifespan: `async with` starts the application up, and shuts it down."""

    def __init__(self, app: ASGIApp, events: list[str] | None = None) -> None:
        self.app = app
        self.events = events if events is not None else []
        self.state: dict[str, Any] = {}
        self.failure: str | None = None
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()

    async def send(self, message: Message) -> None:
        self.events.append(message["type"])
        self.failure = message.get("message")
        await self._from_app.put(message)

    async def __aenter__(self) -> Self:
        scope = {"type": "lifespan", "state": self.state}
        self._task = asyncio.ensure_future(self.app(scope, self._to_app.get, self.send))
        await self._say("lifespan.startup")
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._task.done():
            await self._say("lifespan.shutdown")
        await self._task

    async def _say(self, kind: str) -> None:
        await self._to_app.put({"type": kind})
        answer = asyncio.ensure_future(self._from_app.get())
        async with asyncio.timeout(20):
            await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        answer.cancel()
