"""A dashboard on a real server: as which hosts it answers, and what it does behind a proxy."""

from __future__ import annotations

import re
from html import unescape
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

routes = [
    Route("/", hello),
    Mount("/crons", dashboard("crons.py", auth=NoAuth())),
    Mount("/named", dashboard("crons.py", auth=NoAuth(hosts=["*"]), origins=["http://crons.lan", "https://[::2]:8443/"])),
]
app = Starlette(routes=routes)
"""
CRONS = """{"once": ("jobs:in_a_thread", "every 5 hours"), "rebound": ("jobs:in_a_thread", "every 5 hours")}
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


def act(server: Server, headers: Mapping[str, str], path: str = "/crons", name: str = "once") -> Answer:
    """Start a cron, as the form of a page does that was loaded before."""
    page = ask(server, {}, f"{path}/")
    cookie = page.cookie.partition(";")[0]
    found = re.search(r'name="csrf" value="([^"]+)"', page.body)
    assert found
    form = {"csrf": found[1], "name": name, "do": "run"}
    return ask(server, {"cookie": cookie, **headers}, f"{path}/cron", form)


def test_a_page_whose_name_leads_here_by_rebinding_starts_nothing(server: Server) -> None:
    evil = {"host": f"evil.test:{server.port}", "origin": f"http://evil.test:{server.port}"}
    assert ask(server, evil).status == 403
    assert act(server, {**evil, "sec-fetch-site": "same-origin"}, name="rebound").status == 403
    assert not server.notes("rebound")
    assert act(server, {"origin": f"http://127.0.0.1:{server.port}"}, name="rebound").status == 303
    wait_until(lambda: server.notes("rebound"), 5)


def test_behind_a_proxy_that_changes_the_host_an_action_names_the_fix(server: Server) -> None:
    refused = act(server, {"origin": "http://crons.lan"})
    assert refused.status == 403
    said = unescape(refused.body)
    assert f"its origin is 'http://crons.lan', the host here is '127.0.0.1:{server.port}'; if a proxy" in said
    assert "let it keep Host, or name the origin in dashboard(origins=[...])" in said


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://crons.lan"}, 303),
        ({"origin": "http://CRONS.lan:80"}, 303),
        ({"referer": "http://crons.lan/named/?q=x"}, 303),
        ({"origin": "https://[::2]:8443"}, 303),
        ({"origin": "http://127.0.0.1:{port}"}, 303),
        ({"origin": "https://shop.test", "host": "shop.test:443"}, 303),
        ({"origin": "http://shop.test", "host": "shop.test:80"}, 303),
        ({"origin": "http://shop.test", "host": "shop.test:443"}, 403),
        ({"origin": "https://crons.lan"}, 403),
        ({"origin": "http://crons.lan:8080"}, 403),
        ({"origin": "http://crons.lan.evil.test"}, 403),
        ({"origin": "https://[::2]"}, 403),
        ({"origin": "null", "referer": "http://crons.lan/"}, 403),
        ({"origin": "http://evil.test@crons.lan.evil.test"}, 403),
        ({"origin": "http://crons.lan", "sec-fetch-site": "cross-site"}, 403),
    ],
    ids=str,
)
def test_an_action_is_done_from_the_origins_that_are_named(
    server: Server, headers: dict[str, str], status: int
) -> None:
    sent = {name: value.format(port=server.port) for name, value in headers.items()}
    assert act(server, sent, "/named").status == status


@pytest.mark.parametrize(
    ("headers", "is_secure"),
    [
        ({}, False),
        ({"x-forwarded-proto": "https"}, True),
        ({"x-forwarded-proto": "HTTPS, http"}, True),
        ({"x-forwarded-proto": "http, https"}, False),
        ({"forwarded": "for=192.0.2.1;proto=https;by=192.0.2.2"}, True),
        ({"forwarded": 'proto="https"'}, True),
        ({"forwarded": "proto=http, proto=https"}, False),
        ({"host": "shop.test"}, False),
        ({"host": "shop.test", "sec-fetch-site": "none"}, True),
        ({"host": "localhost:80", "sec-fetch-site": "none"}, False),
        ({"host": "shop.localhost", "sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-origin"}, False),
    ],
    ids=str,
)
def test_behind_the_end_of_tls_the_cookie_of_the_token_is_secure(
    server: Server, headers: dict[str, str], *, is_secure: bool
) -> None:
    answer = ask(server, headers, "/named/")
    assert answer.status == 200
    assert ("; Secure" in answer.cookie) is is_secure, answer.cookie
