"""A dashboard on a real server: as which hosts it answers, and what it does behind a proxy."""

from __future__ import annotations

import re
from http.client import HTTPConnection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

import pytest
from servers.serving import Server
from support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

APP = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from pseudocron.dashboard import NoAuth, dashboard

async def hello(request):
    return PlainTextResponse("hello")

routes = [Route("/", hello), Mount("/crons", dashboard("crons.py", auth=NoAuth()))]
app = Starlette(routes=routes)
"""
CRONS = """{"once": ("jobs:in_a_thread", "every 5 hours")}
BACKEND = "memory:"
"""


class Answer(NamedTuple):
    status: int
    cookie: str
    body: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("dashboard")
    made = Server(folder, CRONS)
    (folder / "app.py").write_text(APP)
    with made.uvicorn() as running:
        yield running


def ask(
    server: Server, headers: Mapping[str, str], path: str = "/crons/", form: Mapping[str, str] | None = None
) -> Answer:
    """One request with exactly these headers, as a browser or a proxy sends them."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.putrequest("POST" if form else "GET", path, skip_host=True, skip_accept_encoding=True)
        body = urlencode(form or {}).encode()
        kind = {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))} if form else {}
        for name, value in {"host": f"127.0.0.1:{server.port}", **kind, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers.get("set-cookie", ""), answer.read().decode())
    finally:
        connection.close()


def act(server: Server, headers: Mapping[str, str], path: str = "/crons") -> Answer:
    """Start the cron, as the form of a page does that was loaded before."""
    page = ask(server, {}, f"{path}/")
    cookie = page.cookie.partition(";")[0]
    found = re.search(r'name="csrf" value="([^"]+)"', page.body)
    assert found
    form = {"csrf": found[1], "name": "once", "do": "run"}
    return ask(server, {"cookie": cookie, **headers}, f"{path}/cron", form)


def test_a_page_whose_name_leads_here_by_rebinding_starts_nothing(server: Server) -> None:
    evil = {"host": f"evil.test:{server.port}", "origin": f"http://evil.test:{server.port}"}
    assert ask(server, evil).status == 403
    assert act(server, {**evil, "sec-fetch-site": "same-origin"}).status == 403
    assert not server.notes("once")
    assert act(server, {"origin": f"http://127.0.0.1:{server.port}"}).status == 303
    wait_until(lambda: server.notes("once"), 5)
