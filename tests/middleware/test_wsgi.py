"""The WSGI middleware: responses stay the same, polls come behind them, and what is no WSGI application is refused."""

from __future__ import annotations

import asyncio
import io
import threading
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import demo_app
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from support import hello, wait_until

from pseudocron import ConfigError, Crons, background
from pseudocron.wsgi import PseudoCronMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(background, "_background", None)
    yield
    background.close()


def environ(**more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"QUERY_STRING": ""}
    setup_testing_defaults(made)
    return made | more


def plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hel", b"lo"]


def streaming(closed: list[str]) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            yield b"hello"
        finally:
            closed.append("app")

    return app


def visit(app: Callable[..., Iterable[bytes]], **more: Any) -> bytes:
    response = app(environ(**more), lambda *_: lambda _: None)
    try:
        return b"".join(response)
    finally:
        if hasattr(response, "close"):
            response.close()


class Ran(list[str]):
    """The names of the threads in which a cron has run."""

    def note(self) -> None:
        self.append(threading.current_thread().name)

    async def note_async(self) -> None:
        asyncio.get_running_loop()
        self.note()


def crons(tmp_path: Path, ran: Ran) -> Crons:
    made = Crons(backend="memory:", folder=tmp_path)
    made.add("each", ran.note_async, 3600)
    return made


def test_a_run_starts_behind_the_response_in_a_thread_of_the_loop(tmp_path: Path) -> None:
    ran, closed = Ran(), list[str]()
    app = PseudoCronMiddleware(streaming(closed), crons=crons(tmp_path, ran))
    response = app(environ(), lambda *_: lambda _: None)
    assert b"".join(response) == b"hello"
    assert background._background is None, "it polls before the response is closed"
    response.close()  # type: ignore[attr-defined]
    assert closed == ["app"]
    wait_until(lambda: ran == ["pseudocron-loop"], 5)


def test_two_visits_at_once_lead_to_one_thread_and_one_run(tmp_path: Path) -> None:
    ran = Ran()
    app = PseudoCronMiddleware(plain, crons=crons(tmp_path, ran))
    visitors = [threading.Thread(target=visit, args=(app,)) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    wait_until(lambda: bool(ran), 5)
    background.close()
    assert ran == ["pseudocron-loop"]


def test_a_request_that_fails_fails_as_before_and_polls(tmp_path: Path) -> None:
    def broken(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        raise LookupError("sold out")

    ran = Ran()
    app = PseudoCronMiddleware(broken, crons=crons(tmp_path, ran))
    with pytest.raises(LookupError, match="sold out"):
        visit(app)
    wait_until(lambda: bool(ran), 5)


def test_responses_conform_and_keep_their_length(tmp_path: Path) -> None:
    app = PseudoCronMiddleware(plain, crons=crons(tmp_path, Ran()))
    response = app(environ(), lambda *_: lambda _: None)
    assert response is not None
    assert len(response) == 2  # type: ignore[arg-type]
    response.close()  # type: ignore[attr-defined]
    app._process.bring_forward()
    assert not hasattr(PseudoCronMiddleware(streaming([]), crons={})(environ(), print), "__len__")
    checked = validator(PseudoCronMiddleware(validator(plain), crons={}))
    assert visit(checked) == b"hello"


def test_a_file_of_the_server_stays_its_own(tmp_path: Path) -> None:
    made = FileWrapper(io.BytesIO(b"hello"))
    ran = Ran()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> FileWrapper:
        start_response("200 OK", [])
        return made

    ours = PseudoCronMiddleware(app, crons=crons(tmp_path, ran))
    assert ours(environ(**{"wsgi.file_wrapper": FileWrapper}), print) is made
    wait_until(lambda: bool(ran), 5)


@pytest.mark.parametrize(("when", "execute"), [(lambda environ: environ["PATH_INFO"] != "/", True), (None, False)])
def test_some_requests_do_not_poll(when: Any, execute: bool) -> None:  # noqa: FBT001
    app = PseudoCronMiddleware(plain, crons={}, when=when, execute=execute)
    assert visit(app) == b"hello"
    app.start() if not execute else None
    assert background._background is None


def test_a_filter_that_fails_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    app = PseudoCronMiddleware(plain, crons={}, when=lambda environ: environ["nothing"])
    assert visit(app) == b"hello"
    assert "when: failed: KeyError" in caplog.text


def test_a_configuration_that_is_wrong_is_logged_and_fails_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = PseudoCronMiddleware(plain, crons=str(tmp_path / "none.py"))
    assert visit(app) == b"hello"
    wait_until(lambda: "none.py" in caplog.text, 5)
    assert "Traceback" not in caplog.text


def test_a_thread_that_can_not_start_fails_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        assert visit(PseudoCronMiddleware(plain, crons={})) == b"hello"
    assert "can't start new thread" in caplog.text


@pytest.mark.parametrize("options", [{}, {"enable-threads": True}, {"threads": b"2"}])
def test_uwsgi_without_threads_is_told_how_to_start(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = ModuleType("uwsgi")
    server.opt = options  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "uwsgi", server)
    app = PseudoCronMiddleware(plain, crons={})
    for _ in range(2):
        app._process.bring_forward()
        assert visit(app) == b"hello"
    assert caplog.text.count("start it with --enable-threads") == (not options)
    assert (background._background is None) == (not options)


class Flask:
    """As that of Flask and Bottle."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return plain(environ, start_response)


class Iterating:
    """An application that is a class, whose instances are the responses."""

    def __init__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        start_response("200 OK", [])

    def __iter__(self) -> Iterator[bytes]:
        yield b"hello"


@pytest.mark.parametrize("app", [plain, Flask(), Flask().__call__, Iterating, demo_app, partial(plain)], ids=range(6))
def test_an_application_is_served(app: Any) -> None:
    assert visit(PseudoCronMiddleware(app, crons={})).lower().startswith(b"hello")


async def two(receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (
            Starlette(),
            "is an ASGI application, must be WSGI: import the middleware from pseudocron instead of pseudocron.wsgi",
        ),
        (FastAPI(), "is an ASGI application, must be WSGI"),
        (hello, "is an ASGI application, must be WSGI"),
        (two, "must be a WSGI application, which takes environ and start_response"),
        (lambda: None, "must be a WSGI application, which takes environ and start_response"),
        (None, "app: None: must be the WSGI application that it wraps"),
        ("shop:app", "app: 'shop:app': must be the WSGI application that it wraps"),
    ],
    ids=range(7),
)
def test_what_is_no_wsgi_application_is_refused(app: Any, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        PseudoCronMiddleware(app, crons={})
    assert words in str(error.value)
    assert str(error.value).startswith("PseudoCronMiddleware: app: ")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("when", ["/health", two])
def test_a_filter_that_is_no_plain_function_is_refused(when: Any) -> None:
    with pytest.raises(ConfigError, match=r"when: .*must be a plain function of the environ, or None"):
        PseudoCronMiddleware(plain, crons={}, when=when)


def test_an_asgi_server_is_told_what_to_use_instead() -> None:
    app: Any = PseudoCronMiddleware(plain, crons={})
    for scope in [({"type": "lifespan"},), ({"type": "http"}, print, print)]:
        with pytest.raises(
            ConfigError, match=r"called by an ASGI server: serve .* with a WSGI server, such as gunicorn"
        ):
            app(*scope)
