"""Each exchange over HTTP or a websocket is, message by message, that of the bare application."""

from __future__ import annotations

import asyncio
import itertools
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from support import http, until

from asgi.comparing import ARRANGEMENTS, RECEIVE, compare, record, record_wrapped, says
from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.process import process_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

START = {"type": "http.response.start", "status": 200, "headers": [(b"x", b"1"), (b"x", b"2")]}
PART = {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}
BODY = {"type": "http.response.body", "body": b"end"}
TRAILED = START | {"trailers": True}
TRAILER = {"type": "http.response.trailers", "headers": [(b"sum", b"1")], "more_trailers": True}
LAST_TRAILER = {"type": "http.response.trailers", "headers": []}
PATH = {"type": "http.response.pathsend", "path": "/etc/hostname"}
ZERO_COPY = {"type": "http.response.zerocopysend", "file": 7, "count": 10}
HINT = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
PUSH = {"type": "http.response.push", "path": "/a.css", "headers": []}
DEBUG = {"type": "http.response.debug", "info": {"template": "a.html"}}

REQUEST = {"type": "http.request", "body": b"abc", "more_body": False}
UPLOAD = REQUEST | {"more_body": True}
GONE = {"type": "http.disconnect"}

EXTENSIONS: dict[str, Any] = {
    f"http.response.{name}": {}
    for name in ("trailers", "pathsend", "zerocopysend", "early_hint", "push", "debug", "something.new")
}

HTTP: dict[str, tuple[ASGIApp, dict[str, Any]]] = {
    "a plain answer": (says(RECEIVE, START, BODY), {"incoming": [REQUEST]}),
    "an answer to HEAD": (says(START, BODY | {"body": b""}), {"scope": http(method="HEAD")}),
    "a body without the field body": (says(START, {"type": "http.response.body"}), {}),
    "an upload": (says(RECEIVE, RECEIVE, START, BODY), {"incoming": [UPLOAD, REQUEST]}),
    "an answer before the upload is over": (says(START, BODY, RECEIVE, RECEIVE), {"incoming": [UPLOAD, GONE]}),
    "an upload that waits for 100-continue": (
        says(RECEIVE, START, BODY),
        {"incoming": [REQUEST], "scope": http(headers=[(b"expect", b"100-continue")])},
    ),
    "a refusal instead of 100-continue": (
        says(START | {"status": 413}, BODY),
        {"scope": http(headers=[(b"expect", b"100-continue")])},
    ),
    "a client gone before the answer": (says(RECEIVE), {"incoming": [GONE]}),
    "a client gone in the middle of the answer": (says(START, PART, RECEIVE, PART), {"incoming": [2, GONE]}),
    "a client gone after the answer": (says(START, BODY, RECEIVE), {"incoming": [2, GONE]}),
    "a broken connection before the answer": (says(START, BODY), {"gone_after": 0}),
    "a broken connection in the middle": (says(START, PART, BODY), {"gone_after": 2}),
    "an error before the answer": (says(RECEIVE, ZeroDivisionError("oh")), {"incoming": [REQUEST]}),
    "an error after the start": (says(START, ZeroDivisionError("oh")), {}),
    "an error in the middle": (says(START, PART, ZeroDivisionError("oh")), {}),
    "an error behind the answer": (says(START, BODY, ZeroDivisionError("oh")), {}),
    "a group of errors": (says(START, ExceptionGroup("two", [OSError("oh"), ValueError("no")])), {}),
    "no answer at all": (says(), {}),
    "an answer without an end": (says(START, PART), {}),
    "an answer twice": (says(START, BODY, START, BODY), {}),
    "a stream": (says(START, PART, PART, PART, BODY), {}),
    "trailers": (says(TRAILED, PART, BODY, TRAILER, LAST_TRAILER), {}),
    "trailers that never come": (says(TRAILED, BODY), {}),
    "trailers behind a path to send": (says(TRAILED, PATH, TRAILER, LAST_TRAILER), {}),
    "a path to send": (says(START, PATH), {}),
    "a file to send, and then a body": (says(START, ZERO_COPY | {"more_body": True}, BODY), {}),
    "a file to send": (says(START, ZERO_COPY), {}),
    "an early hint, a push and debug information": (says(HINT, PUSH, DEBUG, START, BODY), {}),
    "a message of an extension to come": (
        says({"type": "http.response.something.new", "x": object()}, START, BODY),
        {},
    ),
}

CONNECT = {"type": "websocket.connect"}
DROPPED = {"type": "websocket.disconnect", "code": 1006}
TEXT = {"type": "websocket.receive", "text": "hello"}
ACCEPT = {"type": "websocket.accept", "subprotocol": "chat", "headers": []}
REPLY = {"type": "websocket.send", "bytes": b"hello"}
CLOSE = {"type": "websocket.close", "code": 4000, "reason": "enough"}
DENY = {"type": "websocket.http.response.start", "status": 403, "headers": []}
DENY_BODY = {"type": "websocket.http.response.body", "body": b"no"}

WEBSOCKET: dict[str, tuple[ASGIApp, dict[str, Any]]] = {
    "accepted and closed": (says(RECEIVE, ACCEPT, RECEIVE, REPLY, CLOSE), {"incoming": [CONNECT, TEXT]}),
    "accepted and left": (says(RECEIVE, ACCEPT, REPLY), {"incoming": [CONNECT]}),
    "refused": (says(RECEIVE, CLOSE), {"incoming": [CONNECT]}),
    "refused with a page": (says(RECEIVE, DENY, DENY_BODY), {"incoming": [CONNECT]}),
    "refused with a page in parts": (
        says(RECEIVE, DENY, DENY_BODY | {"more_body": True}, DENY_BODY),
        {"incoming": [CONNECT]},
    ),
    "never answered": (says(RECEIVE), {"incoming": [CONNECT]}),
    "dropped before it is accepted": (says(RECEIVE, RECEIVE), {"incoming": [CONNECT, DROPPED]}),
    "dropped by the client": (says(RECEIVE, ACCEPT, RECEIVE, RECEIVE), {"incoming": [CONNECT, TEXT, 1, DROPPED]}),
    "broken while the application sends": (
        says(RECEIVE, ACCEPT, REPLY, REPLY),
        {"incoming": [CONNECT], "gone_after": 2},
    ),
    "failed before it is accepted": (says(RECEIVE, ZeroDivisionError("oh")), {"incoming": [CONNECT]}),
    "failed when it was accepted": (says(RECEIVE, ACCEPT, ZeroDivisionError("oh")), {"incoming": [CONNECT]}),
    "failed when it was closed": (says(RECEIVE, ACCEPT, CLOSE, ZeroDivisionError("oh")), {"incoming": [CONNECT]}),
}


@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@pytest.mark.parametrize(("app", "exchange"), HTTP.values(), ids=HTTP)
def test_an_exchange_over_http_is_that_of_the_bare_application(
    app: ASGIApp, exchange: dict[str, Any], arrangement: dict[str, Any]
) -> None:
    scope = http(extensions=EXTENSIONS, state={"pool": 1}, asgi={"version": "3.0"})
    asyncio.run(compare(app, **{"scope": scope} | exchange, **arrangement))


@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@pytest.mark.parametrize(("app", "exchange"), WEBSOCKET.values(), ids=WEBSOCKET)
def test_a_websocket_is_that_of_the_bare_application(
    app: ASGIApp, exchange: dict[str, Any], arrangement: dict[str, Any]
) -> None:
    scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": ["chat"], "state": {"pool": 1}}
    asyncio.run(compare(app, scope, **exchange, **arrangement))


@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@pytest.mark.parametrize("kind", ["webtransport", "mqtt", "http.next"])
def test_a_scope_of_an_unknown_kind_is_the_bare_applications_business(kind: str, arrangement: dict[str, Any]) -> None:
    exchange: dict[str, Any] = {"scope": {"type": kind}, "incoming": [{"type": "some.thing"}]}
    for app in (says(RECEIVE, {"type": f"{kind}.reply"}), says(ValueError("unknown"))):
        asyncio.run(compare(app, **exchange, **arrangement | {"due": False}))
        bare = asyncio.run(record(app, **exchange))
        assert asyncio.run(record(PseudoCronMiddleware(app, crons=Crons()), **exchange)) == bare


@pytest.mark.parametrize("arrangement", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
@pytest.mark.parametrize("app", [says(RECEIVE), says(START, RECEIVE), says(START, BODY, RECEIVE)])
def test_a_call_that_the_server_cancels_ends_as_the_bare_one(app: ASGIApp, arrangement: dict[str, Any]) -> None:
    async def cancel(app: ASGIApp) -> list[Any]:
        call = asyncio.create_task(record(app, http()))
        for _ in range(5):
            await asyncio.sleep(0)
        call.cancel()
        return await call

    async def main() -> None:
        bare = await cancel(app)
        assert bare[-1] == ("raised", "CancelledError()")
        assert await record_wrapped(app, cancel, **arrangement) == (bare, arrangement["due"])

    asyncio.run(main())


UNANSWERED = {
    "nothing": says(),
    "a start": says(START),
    "a part": says(START, PART),
    "a body that trailers are to follow": says(TRAILED, BODY),
    "a path that trailers are to follow": says(TRAILED, PATH),
    "a part of a file": says(START, ZERO_COPY | {"more_body": True}),
    "an open websocket": says(ACCEPT, REPLY),
    "a part of a refusal": says(DENY, DENY_BODY | {"more_body": True}),
    "an error": says(START, BODY, ZeroDivisionError("oh")),
}


@pytest.mark.parametrize("app", UNANSWERED.values(), ids=UNANSWERED)
def test_wait_keeps_no_unanswered_request_from_its_end(app: ASGIApp) -> None:
    crons = Crons(backend="memory:", drain=0)
    crons.add("endless", endless, 36000)

    async def main() -> None:
        wrapped = PseudoCronMiddleware(app, crons=crons, wait=3600)
        call = asyncio.create_task(record(wrapped, http()))
        await until(call.done, 2)
        await until(lambda: (poller := process_of(crons).runtime()._poller) and poller.runs.pool.runs)

    asyncio.run(main())


async def endless() -> None:
    await asyncio.Event().wait()


SERVED = {
    "an answer": ((START, PART), BODY),
    "trailers": ((TRAILED, BODY, TRAILER), LAST_TRAILER),
    "trailers behind a path": ((TRAILED, PATH, TRAILER), LAST_TRAILER),
    "trailers behind a file": ((TRAILED, ZERO_COPY, TRAILER), LAST_TRAILER),
    "a path": ((START,), PATH),
    "a file": ((START, ZERO_COPY | {"more_body": True}), ZERO_COPY),
    "a websocket": ((), ACCEPT),
    "a refused websocket": ((), CLOSE),
    "a websocket refused with a page": ((DENY, DENY_BODY | {"more_body": True}), DENY_BODY),
}


@pytest.mark.parametrize(("before", "last"), SERVED.values(), ids=SERVED)
def test_the_poll_begins_behind_the_message_that_serves_the_visitor(before: tuple[Message, ...], last: Message) -> None:
    crons, go_on = Crons(backend="memory:"), asyncio.Event()
    looks: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in before:
            await send(message)
        looks.append(process_of(crons).runtime().polls.task)
        await send(last)
        looks.append(process_of(crons).runtime().polls.task)
        await go_on.wait()

    async def main() -> None:
        call = asyncio.create_task(record(PseudoCronMiddleware(app, crons=crons), http()))
        await until(lambda: len(looks) == 2)
        assert looks[0] is None
        assert looks[1] is not None
        go_on.set()
        await call

    asyncio.run(main())


def test_when_no_look_is_due_even_the_servers_own_functions_are_handed_on() -> None:
    seen: list[object] = []

    async def app(*given: object) -> None:
        seen.extend(given)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    crons, scope = Crons(backend="memory:"), http()
    wrapped = PseudoCronMiddleware(app, crons=crons)
    process_of(crons).deadline = inf
    asyncio.run(wrapped(scope, receive, send))  # type: ignore[arg-type]
    assert all(given is own for given, own in itertools.zip_longest(seen, (scope, receive, send)))
