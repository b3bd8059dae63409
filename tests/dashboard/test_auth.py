"""Who is let in, and what browsers are told of every answer."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from typing import Any

import pytest
from starlette.responses import RedirectResponse
from starlette.websockets import WebSocketDisconnect
from support import http, visit

from dashboard.house import House, crons_of
from pseudocron.dashboard import BasicAuth, BearerToken, NoAuth, dashboard
from pseudocron.errors import ConfigError

TOKEN = "a token that is long enough"  # noqa: S105 - for these tests alone
PATHS = ("/", "/jobs", "/job?id=a", "/cron?name=bill", "/static/dashboard.css", "/nothing")


def house_for(auth: Any) -> Any:
    return House.at(crons_of("memory:"), auth=auth)


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


@pytest.mark.parametrize(
    ("auth", "right", "wrong"),
    [
        (
            BasicAuth("ann", "ge:heim ü"),
            basic("ann:ge:heim ü"),
            [
                {},
                basic("ann:"),
                basic("bob:ge:heim ü"),
                basic("ann:ge:heim"),
                bearer("ann:ge:heim"),
                {"authorization": "Basic"},
                {"authorization": "Basic !!!"},
                {"authorization": "Basic \u00fc"},
            ],
        ),
        (
            BearerToken(TOKEN),
            bearer(TOKEN),
            [
                {},
                {"authorization": f"Token {TOKEN}"},
                bearer(""),
                bearer(TOKEN[:-1]),
                bearer(TOKEN + "x"),
                basic(TOKEN),
                bearer("\u00fc"),
            ],
        ),
    ],
)
def test_only_who_knows_the_secret_sees_or_does_anything(
    auth: Any, right: dict[str, str], wrong: list[dict[str, str]]
) -> None:
    with house_for(auth) as house:
        for path in PATHS:
            for headers in wrong:
                sent = {name: value.encode("latin-1") for name, value in headers.items()}
                refused = house.client.get(f"/crons{path}", headers=sent)
                assert refused.status_code == 401, (path, headers)
                assert refused.text == "Unauthorized"
                assert "set-cookie" not in refused.headers
        assert house.client.post("/crons/cron", data={"name": "bill", "do": "run"}).status_code == 401
        assert house.client.get("/crons/", headers=right).status_code == 200


@pytest.mark.parametrize("token", ["pässword of 日本, à", "ö" * 16, "sixteen letters ß"])
def test_a_token_is_compared_as_utf_8(token: str) -> None:
    app = dashboard(crons_of("memory:"), auth=BearerToken(token))

    async def status(encoding: str) -> int:
        sent = f"Bearer {token}".encode(encoding, "replace")  # which a test client would encode once more
        messages = await visit(app, http(headers=[(b"authorization", sent)], query_string=b""))
        return int(messages[0]["status"])

    assert asyncio.run(status("utf-8")) == 200
    assert asyncio.run(status("latin-1")) == 401


def test_the_challenge_names_the_scheme() -> None:
    with house_for(BasicAuth("ann", "x")) as house:
        assert house.client.get("/crons/").headers["www-authenticate"].startswith("Basic ")
    with house_for(BearerToken(TOKEN)) as house:
        assert house.client.get("/crons/").headers["www-authenticate"].startswith("Bearer ")


def status_of(auth: Any, *hosts: str) -> tuple[int, str]:
    """What a request that names these hosts gets."""
    scope = http(headers=[(b"host", host.encode()) for host in hosts], query_string=b"")
    messages = asyncio.run(visit(dashboard(crons_of("memory:"), auth=auth), scope))
    return messages[0]["status"], messages[1]["body"].decode()


HERE = [
    "localhost",
    "LOCALHOST:8000",
    "localhost.:80",
    "127.0.0.1:8000",
    "127.1.2.3",
    "[::1]:8000",
    "[::ffff:127.0.0.1]",
]
ELSEWHERE = [
    "evil.test",
    "localhost.evil.test:80",
    "127.0.0.1.evil.test",
    "192.0.2.1",
    "[2001:db8::1]:80",
    "::1",
    "a b",
    "",
]


@pytest.mark.parametrize("host", HERE)
def test_without_a_password_it_answers_as_this_machine(host: str) -> None:
    assert status_of(NoAuth(), host)[0] == 200


@pytest.mark.parametrize("hosts", [*([host] for host in ELSEWHERE), [], ["localhost", "evil.test"]], ids=str)
def test_without_a_password_it_answers_only_as_an_allowed_host(hosts: list[str]) -> None:
    status, said = status_of(NoAuth(hosts=["crons.lan"]), *hosts)
    assert status == 403
    assert "name it in NoAuth(hosts=[...]) if it is yours" in said
    assert said.isprintable()
    assert status_of(NoAuth(hosts=["*"]), *hosts)[0] == 200


def test_without_a_password_it_answers_as_hosts_that_are_named() -> None:
    auth = NoAuth(hosts=["Crons.LAN", "[2001:db8::1]"])
    for host in ("crons.lan", "CRONS.lan:8000", "crons.lan.", "[2001:DB8::1]:80", "localhost"):
        assert status_of(auth, host)[0] == 200, host
    assert status_of(auth, "other.crons.lan")[0] == 403


async def later(request: Any) -> bool:
    return "x-user" in request.headers


@pytest.mark.parametrize(("auth", "refused"), [(lambda request: "x-user" in request.headers, 403), (later, 403)])
def test_a_callable_over_the_request_decides_async_or_not(auth: Any, refused: int) -> None:
    with house_for(auth) as house:
        assert house.client.get("/crons/").status_code == refused
        assert house.client.get("/crons/", headers={"x-user": "ann"}).status_code == 200


def test_a_callable_may_answer_itself() -> None:
    with house_for(lambda _: RedirectResponse("/login")) as house:
        response = house.client.get("/crons/", follow_redirects=False)
        assert response.headers["location"] == "/login"


def test_a_callable_that_raises_lets_nobody_in() -> None:
    def broken(_: Any) -> bool:
        raise LookupError("session")

    with house_for(broken) as house:
        response = house.client.get("/crons/")
        assert response.status_code == 500
        assert "session" not in response.text


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dashboard("crons.py", auth=None), "dashboard: auth: None: must be BasicAuth(user, password), "),  # type: ignore[arg-type]
        (lambda: dashboard("crons.py", auth=NoAuth), "auth: <class"),  # type: ignore[arg-type]
        (lambda: dashboard("crons.py", auth=("ann", "x")), "must be BasicAuth"),  # type: ignore[arg-type]
        (lambda: BasicAuth("", "x"), "BasicAuth: user: must be text"),
        (lambda: BasicAuth("ann", ""), "BasicAuth: password: must be text"),
        (lambda: BasicAuth("a:b", "x"), "must have no colon"),
        (lambda: BasicAuth("ann", None), "BasicAuth: password"),  # type: ignore[arg-type]
        (lambda: BasicAuth("ann", "\udcff"), "BasicAuth: password"),
        (lambda: NoAuth(hosts="crons.lan"), "NoAuth: hosts: 'crons.lan': must be a list"),
        (lambda: NoAuth(hosts=True), "NoAuth: hosts: True: must be a list"),  # type: ignore[arg-type]
        (
            lambda: NoAuth(hosts=["https://crons.lan"]),
            "NoAuth: hosts: 'https://crons.lan': must be a host without scheme",
        ),
        (lambda: NoAuth(hosts=["crons.lan:80"]), "must be a host without scheme and port"),
        (lambda: NoAuth(hosts=[""]), "NoAuth: hosts: ''"),
        (lambda: NoAuth(hosts=[b"crons.lan"]), "NoAuth: hosts: b'crons.lan'"),  # type: ignore[list-item]
        (lambda: BearerToken("short"), "at least 16 characters"),
        (lambda: BearerToken("short of nothing\n"), "must be printable"),
        (lambda: BearerToken("short of nothing "), "without a space at its begin or end"),
        (lambda: BearerToken("short of nothing\udcff"), "BearerToken: token: must be text"),
    ],
)
def test_a_door_that_would_not_close_is_not_built(make: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert words in str(caught.value)
    assert "short" not in str(caught.value)


def test_without_saying_who_may_come_in_there_is_no_dashboard() -> None:
    with pytest.raises(TypeError, match="auth"):
        dashboard("crons.py")  # type: ignore[call-arg]


def test_a_secret_is_not_in_its_repr() -> None:
    assert "geheim" not in repr(BasicAuth("ann", "geheim")) + repr(BearerToken("geheim, but long enough"))


@pytest.mark.parametrize("path", [*PATHS, "/jobs?state=lazy"])
def test_every_answer_tells_browsers_to_be_careful(house: House, path: str) -> None:
    headers = house.client.get(f"/crons{path}").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    # With "no-referrer" the browser would send `Origin: null` with our own forms.
    assert headers["referrer-policy"] == "same-origin"


def test_a_websocket_is_refused(house: House) -> None:
    with pytest.raises(WebSocketDisconnect), house.client.websocket_connect("/crons/"):
        pass


def test_importing_pseudocron_loads_neither_jinja_nor_pages() -> None:
    code = """if True:
        import sys
        import pseudocron
        from pseudocron.dashboard import BasicAuth, dashboard
        assert pseudocron.dashboard is dashboard
        BasicAuth("ann", "geheim")
        assert not {"jinja2", "starlette.responses", "pseudocron.dashboard.app"} & set(sys.modules)
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_where_jinja_is_not_installed_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("pseudocron.dashboard.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigError) as caught:
        dashboard("crons.py", auth=NoAuth())
    assert str(caught.value) == "dashboard: needs jinja2: pip install 'pseudocron[dashboard]'"
