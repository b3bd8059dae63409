"""Opens and drains the scheduling inside of the application's own lifespan."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pseudocron.errors import PseudoCronError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pseudocron.runtime import Runtime

logger = logging.getLogger("pseudocron")


class Lifespan:
    """One lifespan: opened after the application has started, drained before it shuts down.

    The application's resources must live for as long as runs may use them. A configuration that can't be
    opened answers `lifespan.startup.failed` with its one line, after the application has been shut down
    again: an exception instead would not stop the server.

    An application that has no lifespan (it raises or returns before its first `receive()`) gets this one.

    Args:
        app: The application.
        runtime: What to open and drain.
        ticker: Whether the process is to look without being asked.
        mistake: What is wrong with the middleware's options, in one line.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime, *, ticker: bool, mistake: str | None = None) -> None:
        self._app = app
        self._runtime = runtime
        self._ticker = ticker
        self._mistake = mistake
        self._asked = False
        self._failure: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the lifespan on to the application, and take part in it."""
        self._scope, self._receive, self._send = scope, receive, send
        try:
            await self._app(scope, self._hear, self._say)
        except Exception:
            if self._asked and self._failure is None:
                raise
            logger.debug("the application has no lifespan, or fails to end it", exc_info=True)
        if not self._asked:
            await self._alone()
        elif self._failure is not None:
            await self._fail()

    async def _hear(self) -> Message:
        """What the application receives: a failed start is a shutdown to it, and a shutdown waits for the drain."""
        if self._failure is not None:
            return {"type": "lifespan.shutdown"}
        self._asked = True
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            await self._runtime.stop()
        return message

    async def _say(self, message: Message) -> None:
        """What the application sends: its complete start opens the scheduling before the server hears of it."""
        if self._failure is not None:
            return
        if message["type"] == "lifespan.startup.complete" and not await self._open():
            return
        await self._send(message)

    async def _alone(self) -> None:
        """The lifespan of an application that has none."""
        await self._receive()
        if not await self._open():
            await self._fail()
            return
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._runtime.stop()
        await self._send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> bool:
        if self._mistake:
            self._failure = self._mistake
            return False
        try:
            await self._runtime.start(state=self._scope.get("state"), ticker=self._ticker)
        except PseudoCronError as error:
            self._failure = str(error)
        return self._failure is None

    async def _fail(self) -> None:
        await self._send({"type": "lifespan.startup.failed", "message": self._failure})
