"""As the outermost application it is taken for what it is: ASGI 3."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import httpx2 as httpx
import trio
import uvicorn
from hypercorn.utils import is_asgi
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from support import hello, visit

from pseudocron import Crons, PseudoCronMiddleware

if TYPE_CHECKING:
    import pytest


def wrapped() -> PseudoCronMiddleware:
    return PseudoCronMiddleware(hello, crons=Crons(backend="memory:"))


def test_uvicorn_takes_it_for_asgi_3() -> None:
    config = uvicorn.Config(wrapped(), log_config=None)
    config.load()
    assert config.interface == "asgi3"


def test_hypercorn_takes_it_for_asgi() -> None:
    assert is_asgi(wrapped())


def test_the_test_client_takes_it_for_asgi_3() -> None:
    crons, ran = Crons(backend="memory:"), []

    @crons.every(hours=5)
    async def cron() -> None:
        ran.append(1)

    async def home(_: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", home)])
    with TestClient(PseudoCronMiddleware(app, crons=crons)) as client:
        assert client.get("/").text == "hello"
    assert ran == [1]


def test_starlettes_add_middleware_is_all_it_takes() -> None:
    crons, ran = Crons(backend="memory:"), []

    @crons.every(hours=5)
    async def cron() -> None:
        ran.append(1)

    app = Starlette()
    app.add_middleware(PseudoCronMiddleware, crons=crons)
    with TestClient(app) as client:
        assert client.get("/").status_code == 404
    assert ran == [1]


def test_httpx_can_call_it() -> None:
    async def main() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(wrapped()), base_url="http://test") as client:
            return (await client.get("/")).text

    assert asyncio.run(main()) == "hello"


def test_under_trio_it_serves_and_says_once_that_it_does_not_schedule(caplog: pytest.LogCaptureFixture) -> None:
    app = wrapped()
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        assert trio.run(visit, app)[0]["status"] == 200
    assert caplog.text.count("event loop: not asyncio") == 1
