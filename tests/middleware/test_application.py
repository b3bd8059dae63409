"""What is no ASGI application is refused by one line that says what to do."""

from __future__ import annotations

import asyncio
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from support import hello, visit

from pseudocron import ConfigError, PseudoCronMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Flask:
    """As that of Flask, Django, Pyramid, Falcon and Bottle."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"hello"]


class Old:
    """An application of ASGI 2: a class, whose instances are called with what remains."""

    def __init__(self, scope: dict[str, Any]) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    return Flask()(environ, start_response)


WRONG: list[tuple[object, str]] = [
    (Flask(), "is a WSGI application, must be ASGI: import the middleware from pseudocron.wsgi"),
    (wsgi, "or run the crons beside it with `pseudocron work`"),
    (Old, "is an ASGI 2 application, must be ASGI 3: wrap it, asgiref"),
    (lambda: None, "must be an ASGI application, which takes scope, receive and send"),
    (None, "app: None: must be the ASGI application that it wraps"),
    ("shop:app", "app: 'shop:app': must be the ASGI application that it wraps"),
]


@pytest.mark.parametrize(("app", "words"), WRONG, ids=range(len(WRONG)))
def test_it_is_refused_where_it_is_handed_over(app: Any, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        PseudoCronMiddleware(app, crons={})
    assert words in str(error.value)
    assert str(error.value).startswith("PseudoCronMiddleware: app: ")
    assert str(error.value).isprintable()


def test_without_an_application_it_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="app: None: must be the ASGI application"):
        PseudoCronMiddleware(crons={})  # type: ignore[call-arg]


@wraps(wsgi)
async def decorated(scope: Any, receive: Any, send: Any) -> None:
    await hello(scope, receive, send)


async def of_any_arguments(*args: Any) -> None:
    await hello(*args)


async def with_more(scope: Any, receive: Any, send: Any, *, greeting: bytes = b"") -> None:
    await hello(scope, receive, send)


@pytest.mark.parametrize(
    "app",
    [
        hello,
        Starlette(),
        FastAPI(),
        PlainTextResponse("hello"),
        PseudoCronMiddleware(hello, crons={}),
        decorated,
        of_any_arguments,
        partial(with_more, greeting=b"good morning"),
    ],
    ids=range(8),
)
def test_an_application_is_served(app: Any) -> None:
    assert asyncio.run(visit(PseudoCronMiddleware(app, crons={})))[0]["status"] in {200, 404}


def test_a_wsgi_server_is_told_what_to_use_instead() -> None:
    app = PseudoCronMiddleware(hello, crons={})
    for _ in range(2):
        with pytest.raises(
            ConfigError,
            match=r"called by a WSGI server: serve .* with an ASGI server, .* from pseudocron\.wsgi",
        ):
            app({"PATH_INFO": "/", "REQUEST_METHOD": "GET"}, lambda *_: None)  # type: ignore[arg-type]
