"""ASGI middleware that polls for due runs after a request has been served."""

from __future__ import annotations

import asyncio
from functools import wraps
from inspect import iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any, TypeVar

from pseudocron.application import check_asgi
from pseudocron.config.values import from_zero
from pseudocron.errors import ConfigError, did_you_mean, show
from pseudocron.lifespan import Lifespan
from pseudocron.log import logger
from pseudocron.polling import PollReason
from pseudocron.response_state import ResponseState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pseudocron.config.values import Duration


F = TypeVar("F", bound="Callable[..., None]")


def _forgiving(init: F) -> F:
    """Keep an error in the names of the options until the application starts.

    Raised when the middleware is made, it would be a 500 for each request: servers take an application that raises in
    its lifespan for one that has none.
    """
    known = [name for name, option in signature(init).parameters.items() if option.kind is option.KEYWORD_ONLY]

    @wraps(init)
    def wrapper(self: PseudoCronMiddleware, app: Any = None, **options: Any) -> None:
        check_asgi(app)
        unknown = [name for name in options if name not in known]
        init(self, app, **{"crons": None} | {name: options[name] for name in options if name in known})
        for name in unknown:
            self._mistake = f"PseudoCronMiddleware: unknown option {show(name)}{did_you_mean(name, known)}"

    return wrapper  # type: ignore[return-value]


class PseudoCronMiddleware:
    """Runs the due crons of a configuration behind the requests of any ASGI application.

    Pure ASGI: `app.add_middleware(PseudoCronMiddleware, crons="crons.py")`, or around any application.
    It holds no state of a request; all middlewares of one configuration share one runtime.

    Args:
        app: The ASGI application.
        crons: A path to a `.py` or `.toml` file, an import string (`"shop.crons:crons"`), a mapping, or a `Crons`.
        when: Filter for requests: a plain function of the scope that returns whether the request may poll. By
            default every request may.
        ticker: Whether this process also wakes by itself, when the next poll is due.
        execute: Whether this process polls and runs; False leaves that to other processes.
        wait: Maximum seconds for which the call of a request that polls is held open after its response until the
            runs have ended, for hosts that freeze the process after the response.

    Raises:
        ConfigError: `app` is no ASGI application. Other errors stop the start of the application.
    """

    @_forgiving
    def __init__(
        self,
        app: ASGIApp,
        *,
        crons: Any,
        when: Callable[[Scope], bool] | None = None,
        ticker: bool = False,
        execute: bool = True,
        wait: Duration = 0,
    ) -> None:
        from pseudocron.process import process_of  # noqa: PLC0415  with it come the worker and all that it needs

        self.app = app
        self._process = process_of(crons)
        self._monotonic = self._process.monotonic
        self._when = when
        self._ticker = ticker and execute
        self._execute = execute
        self._mistake = _mistake(when, wait)
        self._wait = 0.0 if self._mistake else from_zero(wait)
        # Servers tell ASGI 3 by whether the instance's `__call__` is a coroutine function. Python itself calls
        # the class's, which may be the cheaper plain function that hands on the application's own awaitable.
        # Not by way of `vars()`: that makes a dictionary of the attributes, from which each is read more slowly.
        self.__call__ = self._serve  # type: ignore[method-assign, assignment]

    def __call__(self, scope: Scope, receive: Receive, send: Send = None) -> Awaitable[None]:  # type: ignore[assignment]
        """Serve, and only when a look may be due see to it behind the response."""
        # What has no path is a lifespan, or nothing we know; to ask for its type would cost twice as much.
        if self._monotonic() < self._process.deadline and "path" in scope:
            return self.app(scope, receive, send)
        if send is None:
            raise ConfigError(_WSGI_SERVER)
        return self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and _on_asyncio():
            lifespan = Lifespan(
                self.app, self._process.runtime(), ticker=self._ticker, execute=self._execute, mistake=self._mistake
            )
            await lifespan(scope, receive, send)
        elif self._may_poll(scope):
            await self._serve_and_poll(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _may_poll(self, scope: Scope) -> bool:
        if not self._execute or scope["type"] not in {"http", "websocket"} or not _on_asyncio():
            return False
        runtime = self._process.runtime()
        if self._mistake:
            runtime.complain(self._mistake)
            return False
        try:
            return self._when is None or bool(self._when(scope))
        except Exception as error:  # noqa: BLE001 - it must not fail the request
            runtime.complain(f"PseudoCronMiddleware: when: failed: {show(error, 1000)}", traceback=True)
            return False

    async def _serve_and_poll(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and poll behind it; until then no other request needs to."""
        self._process.request_polls()
        runtime = self._process.runtime()
        state = ResponseState()

        async def send_and_poll(message: Message) -> None:
            await send(message)
            served = state.served
            state.update(message)
            if state.served and not served:
                runtime.request_poll(PollReason.REQUEST, ticker=self._ticker)

        try:
            await self.app(scope, receive, send_and_poll)
        finally:
            if not state.served:
                runtime.request_poll(PollReason.REQUEST, ticker=self._ticker)
        # The server ends an incomplete response when this call returns: do not wait then.
        if self._wait and state.complete:
            await runtime.settle(self._wait)


_WSGI_SERVER = (
    "PseudoCronMiddleware: called by a WSGI server: serve the application with an ASGI server, such as uvicorn, or "
    "import the middleware of a WSGI application from pseudocron.wsgi"
)


def _mistake(when: object, wait: object) -> str | None:
    """Return what is wrong with the options, in one line; None if nothing is."""
    if when is not None and (not callable(when) or iscoroutinefunction(when)):
        return f"PseudoCronMiddleware: when: {show(when)}: must be a plain function of the scope, or None"
    try:
        from_zero(wait)
    except ValueError as error:
        return f"PseudoCronMiddleware: wait: {show(wait)}: {error}"
    return None


_ASYNCIO_ONLY = "event loop: not asyncio, so nothing is scheduled; requests are served"
_warned = False


def _on_asyncio() -> bool:
    """Return whether an asyncio loop is running; log once if not, as under trio."""
    global _warned  # noqa: PLW0603 - once a process
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        if not _warned:
            logger.warning(_ASYNCIO_ONLY)
        _warned = True
        return False
    return True
