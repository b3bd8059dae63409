"""Whatever a request says, the endpoints answer it, and never with an error of theirs."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pseudocron import Crons, health, trigger
from pseudocron.dashboard import BasicAuth, NoAuth, dashboard
from verification.fuzzing.inputs import Bytes

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

TOKEN = "a-token-of-23-characters"  # noqa: S105 - nobody else has it
WORDS = (
    *("name", "id", "do", "back", "csrf", "page", "q", "state", "task", "key", "before", "said", "token", "wait"),
    *("run", "pause", "resume", "retry", "cancel", "bill", "/", "//evil.test", "/cron?name=bill", "/jobs", "..", "="),
    *("&", "?", "%00", "%ff", "%ED%A0%80", "+", ";", "a" * 43, TOKEN, "pending", "0", "1", "-1", "25", "1e400"),
    *("<script>", "\r\nset-cookie: a=b", "[", "]", "http://shop.test", "http://[", "shop.test", "same-origin"),
)
HEADERS = (
    *("host", "origin", "referer", "sec-fetch-site", "cookie", "authorization", "content-type", "content-length"),
    *("accept", "range", "x-forwarded-for", "transfer-encoding"),
)
FORM = "application/x-www-form-urlencoded"
PATHS = ("/", "/cron", "/cron", "/jobs", "/job", "/job", "/static/dashboard.css", "/static/../app.py", "//", "/é", "")
CSRF = "t" * 43


@cache
def loop() -> asyncio.Runner:
    return asyncio.Runner()


@cache
def crons() -> Crons:
    made = Crons(backend="memory:")

    @made.every(days=1000, name="bill", last_run="2020-01-01T00:00:00Z")
    async def bill() -> None: ...

    @made.task
    async def mail(to: str) -> None: ...

    return made


@cache
def apps() -> dict[str, ASGIApp]:
    return {
        "trigger": trigger(crons(), token=TOKEN, get=True, wait=0.01),
        "health": health(crons()),
        "open": dashboard(crons(), auth=NoAuth(hosts=["*"])),
        "closed": dashboard(crons(), auth=BasicAuth("ada", "a password")),
    }


def call_trigger(data: bytes) -> None:
    """Call the trigger URL: 200, 202, 400 or 404; 404 without the token."""
    bytes_ = Bytes(data)
    scope = scope_of(bytes_)
    authorised = not bytes_.one() % 8
    if authorised:
        scope["headers"].append((b"authorization", f"Bearer {TOKEN}".encode()))
    knows = TOKEN.encode() in scope["query_string"] + b"".join(value for _, value in scope["headers"])
    status = ask("trigger", scope, b"")
    assert status in ({200, 202, 400, 404} if knows else {404}), status
    assert b"token=" + TOKEN.encode() not in scope["query_string"]


def call_health(data: bytes) -> None:
    """Call the URL for probes: 200, 404 or 503."""
    assert ask("health", scope_of(Bytes(data)), b"") in {200, 404, 405, 503}


def visit_dashboard(data: bytes) -> None:
    """Its pages and its forms: a page, the way back, or a clean refusal."""
    bytes_ = Bytes(data)
    scope = scope_of(bytes_)
    method, body = scope["method"], b""
    if method == "POST":
        body = form_of(bytes_, scope)
    assert ask("open", scope, body) in {200, 303, 307, 400, 403, 404, 405, 413, 415}


def knock_at_dashboard(data: bytes) -> None:
    """Without the password nobody comes in."""
    bytes_ = Bytes(data)
    scope = scope_of(bytes_)
    said = bytes_.text(("ada", ":", "a password", "é"), 3).encode(errors="replace")
    if bytes_.one() % 2 and said != b"ada:a password":
        scope["headers"].append((b"authorization", b"Basic " + b64encode(said)))
    assert ask("closed", scope, b"") == 401


def scope_of(bytes_: Bytes) -> dict[str, Any]:
    pairs = (f"{bytes_.pick(WORDS)}={words(bytes_)}" for _ in range(bytes_.one() % 5))
    query = "&".join(pairs).encode("latin-1", "replace")
    if not bytes_.one() % 16:
        query *= 300
    headers = [
        (bytes_.pick(HEADERS).encode(), words(bytes_).encode("latin-1", "replace")) for _ in range(bytes_.one() % 4)
    ]
    path = bytes_.pick(PATHS)
    return {
        "type": "http",
        "method": bytes_.pick(("GET", "POST", "POST", "HEAD", "DELETE", "X")),
        "path": path,
        "raw_path": quote(path).encode(),
        "root_path": bytes_.pick(("", "", "/crons")),
        "query_string": query,
        "headers": headers,
        "client": bytes_.pick((("192.0.2.1", 1), None, ("", 0), (f"2001:db8:{bytes_.one():x}::1%eth0", 1))),
        "server": ("shop.test", 80),
        "scheme": "http",
        "http_version": "1.1",
    }


def form_of(bytes_: Bytes, scope: dict[str, Any]) -> bytes:
    """Return a form that is taken for one of ours more often than not."""
    if bytes_.one() < 224:
        ours = {"content-type": FORM, "sec-fetch-site": "same-origin", "cookie": f"pseudocron_csrf={CSRF}"}
        scope["headers"] = [(name.encode(), value.encode()) for name, value in ours.items()]
    pairs = [f"{bytes_.pick(WORDS)}={quote(words(bytes_), errors='replace')}" for _ in range(bytes_.one() % 6)]
    pairs += [f"csrf={CSRF}", f"do={bytes_.pick(('run', 'pause', 'resume', 'retry', 'cancel', 'x'))}", "name=bill"]
    body = "&".join(pairs[bytes_.one() % 2 :]).encode()
    return body * bytes_.pick((1, 1, 1, 200)) + bytes_.rest() * bytes_.pick((0, 0, 1, 5000))


def words(bytes_: Bytes) -> str:
    return bytes_.text(WORDS, 3)


def ask(name: str, scope: dict[str, Any], body: bytes) -> int:
    """Return the status of the answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    async def answered() -> None:
        async with asyncio.timeout(20):
            await apps()[name](scope, receive, send)

    loop().run(answered())
    headers = dict(sent[0]["headers"])
    assert b"\r" not in b"".join([*headers, *headers.values()])
    return int(sent[0]["status"])
