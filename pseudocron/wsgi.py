"""WSGI middleware that polls for due runs after a request has been served."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from pseudocron.application import check_wsgi
from pseudocron.errors import ConfigError, show
from pseudocron.log import Complaints, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class PseudoCronMiddleware:
    """Runs the due crons of a configuration behind the requests of any WSGI application.

    `app.wsgi_app = PseudoCronMiddleware(app.wsgi_app, crons="crons.py")` for Flask, or around any application.
    Polls and runs go on in a daemon thread with an event loop, which starts behind the first response: after a fork.

    Args:
        app: The WSGI application.
        crons: A path to a `.py` or `.toml` file, an import string (`"shop.crons:crons"`), a mapping, or a `Crons`.
        when: Filter for requests: a plain function of the environ that returns whether the request may poll. By
            default every request may.
        ticker: Whether this process also wakes by itself, when the next poll is due, from its first request on.
        execute: Whether this process polls and runs; False leaves that to other processes.

    Raises:
        ConfigError: `app` is no WSGI application, or `when` is no plain function.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        crons: Any,
        when: Callable[[dict[str, Any]], bool] | None = None,
        ticker: bool = False,
        execute: bool = True,
    ) -> None:
        from pseudocron.process import process_of  # noqa: PLC0415  with it come the worker and all that it needs

        check_wsgi(app)
        _check_when(when)
        self.app = app
        self._process = process_of(crons)
        self._monotonic = self._process.monotonic
        self._complain = Complaints(self._monotonic).log
        self._when = when
        self._ticker = ticker
        self._execute = execute

    def __call__(
        self,
        environ: dict[str, Any],
        start_response: Any = None,
        send: object = None,
    ) -> Iterable[bytes]:
        """Serve, and only when a poll may be due request one behind the response."""
        if self._monotonic() < self._process.deadline:
            return self.app(environ, start_response)
        if start_response is None or send is not None:
            raise ConfigError(_ASGI_SERVER)
        if not self._may_poll(environ):
            return self.app(environ, start_response)
        return self._serve_and_poll(environ, start_response)

    def start(self) -> None:
        """Start the thread and poll now, for a server's hook after its fork, such as `post_worker_init` of gunicorn."""
        if self._execute:
            self._poll()

    def _may_poll(self, environ: dict[str, Any]) -> bool:
        try:
            return self._execute and (self._when is None or bool(self._when(environ)))
        except Exception as error:  # noqa: BLE001 - it must not fail the request
            self._complain(f"PseudoCronMiddleware: when: failed: {show(error, 1000)}", traceback=True)
            return False

    def _serve_and_poll(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request and poll behind it; until then no other request needs to."""
        self._process.request_polls()
        try:
            response = self.app(environ, start_response)
        except BaseException:
            self._poll()
            raise
        if _is_file(response, environ.get("wsgi.file_wrapper")):
            self._poll()
            return response
        return (_Sized if hasattr(response, "__len__") else _Response)(response, self._poll)

    def _poll(self) -> None:
        from pseudocron.background import background, without_threads  # noqa: PLC0415  in the process that polls
        from pseudocron.server_grace import server_grace  # noqa: PLC0415

        try:
            if without_threads():
                self._warn()
            else:
                background().request_poll(self._process, ticker=self._ticker, grace=server_grace())
        except Exception as error:  # noqa: BLE001 - it must not fail the request
            self._complain(error)

    def _warn(self) -> None:
        from pseudocron.background import NO_THREADS  # noqa: PLC0415

        self._execute = False  # once a process
        logger.warning(NO_THREADS)


_ASGI_SERVER = (
    "PseudoCronMiddleware: called by an ASGI server: serve the application with a WSGI server, such as gunicorn, or "
    "import the middleware of an ASGI application from pseudocron instead of pseudocron.wsgi"
)


def _check_when(when: object) -> None:
    if when is not None and (not callable(when) or iscoroutinefunction(when)):
        raise ConfigError(f"PseudoCronMiddleware: when: {show(when)}: must be a plain function of the environ, or None")


def _is_file(response: object, wrapper: object) -> bool:
    """Return whether the server knows the response as a file of its own, which it may send without reading it."""
    return hasattr(response, "fileno") or (isinstance(wrapper, type) and isinstance(response, wrapper))


class _Response:
    """A response that polls when the server closes it, which is after its last byte."""

    def __init__(self, response: Iterable[bytes], poll: Callable[[], None]) -> None:
        self._response = response
        self._poll = poll

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        """Close the response of the application, then poll."""
        try:
            if (close := getattr(self._response, "close", None)) is not None:
                close()
        finally:
            self._poll()


class _Sized(_Response):
    """One with a length, from which some servers derive `Content-Length`."""

    def __len__(self) -> int:
        return len(self._response)  # type: ignore[arg-type]
