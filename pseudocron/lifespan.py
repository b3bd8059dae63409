"""Opens and drains the scheduling inside of the application's own lifespan."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pseudocron.errors import PseudoCronError, cause
from pseudocron.log import logger
from pseudocron.server_grace import server_grace

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pseudocron.runtime import Runtime
    from pseudocron.worker.pool import Lifetime

END_WITHIN = 5.0
"""Seconds that an application has to end in when the scheduling behind it could not be opened."""


class Lifespan:
    """One lifespan: opened after the application has started, drained before it shuts down.

    The application's resources must live for as long as runs may use them. A configuration that can't be
    opened answers `lifespan.startup.failed` with its one line, after the application has been shut down
    again: an exception instead would not stop the server.

    An application that has no lifespan (it raises or returns before it receives or sends anything, or answers with
    messages of HTTP) gets this one, and an application that leaves its own after the start gets the rest of it.

    Args:
        app: The application.
        runtime: What to open and drain.
        ticker: Whether the process is to poll without being asked.
        execute: Whether it runs what it defers.
        mistake: What is wrong with the middleware's options, in one line.
    """

    def __init__(
        self, app: ASGIApp, runtime: Runtime, *, ticker: bool, execute: bool = True, mistake: str | None = None
    ) -> None:
        self._app = app
        self._runtime = runtime
        self._ticker = ticker
        self._execute = execute
        self._mistake = mistake
        self._takes_part = self._has_heard = False
        self._lifetime: Lifetime | None = None
        self._failure: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the lifespan on to the application, and take part in it."""
        self._scope, self._receive, self._send = scope, receive, send
        await self._pass_on()
        if not self._takes_part:
            if not self._has_heard:
                await self._receive()
            if await self._open():
                await self._send({"type": "lifespan.startup.complete"})
        if self._failure is not None:
            await self._send({"type": "lifespan.startup.failed", "message": self._failure})
        elif self._lifetime:
            await self._wait_for_the_end()

    async def _pass_on(self) -> None:
        try:
            async with asyncio.timeout(None) as self._patience:
                await self._app(self._scope, self._hear, self._say)
        except Exception:
            if self._takes_part and self._failure is None:
                if self._lifetime:
                    self._runtime.leave(self._lifetime)
                raise
            logger.debug("the application has no lifespan, or fails to end it", exc_info=True)

    async def _hear(self) -> Message:
        """Receive for the application: a failed start is a shutdown to it, and a shutdown waits for the drain."""
        if self._failure is not None:
            return {"type": "lifespan.shutdown"}
        self._takes_part = True
        message = await self._receive()
        self._has_heard = True
        if message["type"] == "lifespan.shutdown" and self._lifetime:
            await self._stop(self._lifetime)
        return message

    async def _say(self, message: Message) -> None:
        """Send for the application: its complete start opens the scheduling before the server is notified."""
        if self._failure is not None:
            return
        if not message["type"].startswith("lifespan.") and not self._lifetime:
            self._takes_part = False
            raise RuntimeError(f"a lifespan is answered by {message['type']}")  # as servers do
        self._takes_part = True
        if message["type"] == "lifespan.startup.complete" and not await self._open():
            # The server waits for our one line; an application that hangs must not keep it.
            self._patience.reschedule(asyncio.get_running_loop().time() + END_WITHIN)
            return
        await self._send(message)

    async def _wait_for_the_end(self) -> None:
        """Wait for the end of a lifespan that its application has left, and confirm it."""
        while (await self._hear())["type"] != "lifespan.shutdown":
            pass
        await self._send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> bool:
        if self._mistake:
            self._failure = self._mistake
        elif not self._lifetime:
            state = self._scope.get("state")
            try:
                options = {"ticker": self._ticker, "execute": self._execute}
                self._lifetime = await self._runtime.start(state=state, grace=server_grace(), **options)
            except PseudoCronError as error:
                self._failure = str(error)
            except Exception as error:
                # Raised into the application, it would look as if that had no lifespan, and nothing would be polled.
                logger.exception("the scheduling could not be started")
                self._failure = f"the scheduling could not be started: {cause(error)}"
        return self._failure is None

    async def _stop(self, lifetime: Lifetime) -> None:
        self._lifetime = None
        try:
            await self._runtime.stop(lifetime)
        except Exception:
            # Raised into the application, it would keep it from shutting down.
            logger.exception("the scheduling could not be drained")
