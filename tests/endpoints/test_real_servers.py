"""The trigger URL on real servers: whose wrong tokens count as whose, and what their logs hold."""

from __future__ import annotations

import socket
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from servers.serving import Server

from endpoints.calling import BEARER, TOKEN

if TYPE_CHECKING:
    from pathlib import Path

APP = f"""
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from pseudocron import trigger

async def hello(request):
    return PlainTextResponse("hello")

app = Starlette(routes=[Route("/", hello), Route("/tick", trigger("crons.py", token="{TOKEN}"))])
"""


def serving(folder: Path) -> Server:
    server = Server(folder, '{}\nBACKEND = "memory:"\n')
    (folder / "app.py").write_text(APP)
    return server


def ask(server: Server, path: str, caller: str = "127.0.0.1", **headers: str) -> int:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10, source_address=(caller, 0))
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no socket for IPv4 and IPv6")
def test_behind_a_dual_stack_socket_no_ipv4_caller_is_locked_out(tmp_path: Path) -> None:
    server = serving(tmp_path)
    server.start("gunicorn", "app:app", "-k", "uvicorn_worker.UvicornWorker", "-b", f"[::]:{server.port}")
    with server:
        for number in range(24):
            assert ask(server, "/tick", "127.0.0.2", authorization=f"Bearer {number}{TOKEN}") == 404
            if number < 9:
                assert ask(server, "/tick", "127.0.0.3", authorization=f"Bearer {number}{TOKEN}") == 404
        assert [ask(server, "/tick", f"127.0.0.{caller}", **BEARER) for caller in (1, 2, 3)] == [200] * 3
        server.stop()
    lines = [line for line in server.log.splitlines() if "wrong tokens" in line]
    assert len(lines) == 1, server.log
    assert lines[0].endswith("trigger: many wrong tokens within a minute from '127.0.0.2'")


SERVERS = {
    "uvicorn": ["--port", "{port}", "--log-level", "debug"],
    "hypercorn": ["--bind", "127.0.0.1:{port}", "--access-logfile", "-", "--access-logformat", "%(R)s %(q)s %(s)s"],
    "granian": [
        "--interface",
        "asgi",
        "--port",
        "{port}",
        "--access-log",
        "--access-log-fmt",
        "%(path)s %(query_string)s",
    ],
}


@pytest.mark.parametrize("name", SERVERS)
def test_the_token_of_a_redirected_request_reaches_no_access_log(name: str, tmp_path: Path) -> None:
    encoded = TOKEN.replace("-", "%2D")
    statuses = {
        f"/tick?token={TOKEN}": 200,
        f"/tick/?token={TOKEN}": 307,
        f"/tick/?wait=0&token={encoded}&more=1": 307,
        f"/tikc?to%6ben={TOKEN}": 404,
        "/tikc?token=of-another-application": 404,
    }
    server = serving(tmp_path)
    server.start(name, *(word.format(port=server.port) for word in SERVERS[name]), "app:app")
    with server:
        assert {path: ask(server, path) for path in statuses} == statuses
        server.stop()
    assert TOKEN not in server.log
    assert encoded not in server.log
    assert server.log.count("=***") >= 4, server.log
    assert "token=of-another-application" in server.log
    assert "Traceback" not in server.log
