"""Each lifespan is, message by message, that of the bare application; what it leaves out the middleware adds."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from leaping import leap
from support import Lifespan, hello, took, until, visit

from asgi.comparing import RECEIVE, record, says
from pseudocron import Crons, PseudoCronMiddleware, lifespan
from pseudocron.process import process_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

STARTUP = {"type": "lifespan.startup"}
COMPLETE = {"type": "lifespan.startup.complete"}
FAILED = {"type": "lifespan.startup.failed", "message": "no database"}
SHUTDOWN = {"type": "lifespan.shutdown"}
ENDED = {"type": "lifespan.shutdown.complete"}
NOT_ENDED = {"type": "lifespan.shutdown.failed", "message": "the pool hangs"}
OTHER = {"type": "lifespan.something.new"}

A_LIFE: list[Any] = [STARTUP, 1, SHUTDOWN]

LIFESPANS: dict[str, ASGIApp] = {
    "complete": says(RECEIVE, COMPLETE, RECEIVE, ENDED),
    "failed at the start": says(RECEIVE, FAILED),
    "failed at the start, unasked": says(FAILED),
    "failed at the start, and raised": says(RECEIVE, FAILED, ZeroDivisionError("oh")),
    "failed at the start, unasked, and raised": says(FAILED, ZeroDivisionError("oh")),
    "failed at the start, and still there at the end": says(RECEIVE, FAILED, RECEIVE, ENDED),
    "raised at the start": says(RECEIVE, ZeroDivisionError("oh")),
    "raised after the start": says(RECEIVE, COMPLETE, ZeroDivisionError("oh")),
    "left without a word": says(RECEIVE),
    "failed at the end": says(RECEIVE, COMPLETE, RECEIVE, NOT_ENDED),
    "raised at the end": says(RECEIVE, COMPLETE, RECEIVE, ZeroDivisionError("oh")),
    "left at the end": says(RECEIVE, COMPLETE, RECEIVE),
    "raised behind the end": says(RECEIVE, COMPLETE, RECEIVE, ENDED, ZeroDivisionError("oh")),
    "with a message of a version to come": says(RECEIVE, OTHER, COMPLETE, RECEIVE, OTHER, ENDED),
}


@pytest.mark.parametrize("ticker", [False, True])
@pytest.mark.parametrize("app", LIFESPANS.values(), ids=LIFESPANS)
def test_a_lifespan_is_that_of_the_bare_application(app: ASGIApp, *, ticker: bool) -> None:
    async def main() -> None:
        wrapped = PseudoCronMiddleware(app, crons=Crons(backend="memory:"), ticker=ticker)
        scope = {"type": "lifespan", "state": {}}
        assert await record(wrapped, scope, A_LIFE) == await record(app, scope, A_LIFE)

    asyncio.run(main())


@pytest.mark.parametrize(
    "app",
    [says(), says(ValueError("only http")), says(COMPLETE), says(RECEIVE, COMPLETE), says(COMPLETE, RECEIVE, COMPLETE)],
    ids=["none", "an error", "unasked", "left after the start", "twice"],
)
def test_the_middleware_adds_what_a_lifespan_leaves_out(app: ASGIApp) -> None:
    crons, ended = Crons(backend="memory:"), []

    @crons.every(hours=10)
    async def slow() -> None:
        await asyncio.sleep(0.05)
        ended.append(1)

    async def serves(scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "lifespan" else hello)(scope, receive, send)

    async def main() -> None:
        wrapped = PseudoCronMiddleware(serves, crons=crons)
        async with Lifespan(wrapped) as server:
            await visit(wrapped)
            await until(lambda: (poller := process_of(crons).runtime()._poller) and poller.runs.pool.runs)
        assert list(dict.fromkeys(server.events)) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(main())
    assert ended == [1], "drained"


@pytest.mark.parametrize("before", [[], [RECEIVE]], ids=["unasked", "after receiving"])
def test_a_lifespan_answered_as_a_request_has_its_ticker(before: list[Any]) -> None:
    crons, ran = Crons(backend="memory:"), []
    crons.add("often", lambda: ran.append(1), 0.05)
    start = {"type": "http.response.start", "status": 404, "headers": []}
    app = says(*before, start, {"type": "http.response.body", "body": b"no such path"})

    async def main() -> None:
        async with Lifespan(PseudoCronMiddleware(app, crons=crons, ticker=True)) as server:
            await until(lambda: ran)
        assert server.events == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(main())


def test_a_lifespan_that_hangs_at_its_end_is_drained_before() -> None:
    crons, events = Crons(backend="memory:", drain=0), []

    @crons.every(hours=10)
    async def endless() -> None:
        events.append("begins")
        try:
            await asyncio.Event().wait()
        finally:
            events.append("drained")

    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await until(lambda: events)
        await receive()
        events.append("hangs")
        await asyncio.Event().wait()

    async def main() -> None:
        app = PseudoCronMiddleware(hangs, crons=crons, ticker=True)
        server = asyncio.create_task(record(app, {"type": "lifespan"}, A_LIFE))
        await until(lambda: "hangs" in events)
        assert not server.done()
        server.cancel()
        assert [kind for kind, _ in await server] == ["received", "sent", "received", "raised"]

    asyncio.run(main())
    assert events == ["begins", "drained", "hangs"]


def test_after_a_bad_start_an_application_that_hangs_has_five_seconds() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await asyncio.Event().wait()

    wrapped = PseudoCronMiddleware(app, crons={"a": ("nowhere:run", 60)})

    async def main() -> None:
        with took(5, 5.5):
            (started, answered, returned) = await record(wrapped, {"type": "lifespan"}, A_LIFE)
        assert started == ("received", STARTUP)
        assert answered[1]["type"] == "lifespan.startup.failed"
        assert returned == ("returned", None)

    leap(main())


def test_nothing_is_put_into_the_state_of_the_scope() -> None:
    states: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        states.append(scope.get("state"))
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = "a pool"
            await says(RECEIVE, COMPLETE, RECEIVE, ENDED)(scope, receive, send)

    async def main() -> None:
        wrapped = PseudoCronMiddleware(app, crons=Crons(backend="memory:"))
        async with Lifespan(wrapped) as server:
            own = dict(server.state)
            await visit(wrapped, {"type": "http", "state": own})
        assert states[0] is server.state
        assert states[1] is own
        assert server.state == own == {"pool": "a pool"}

    asyncio.run(main())


def test_a_server_that_knows_no_state_is_given_none() -> None:
    scope = {"type": "lifespan"}
    app = PseudoCronMiddleware(says(RECEIVE, COMPLETE, RECEIVE, ENDED), crons=Crons(backend="memory:"))
    assert asyncio.run(record(app, scope, A_LIFE))[-1] == ("returned", None)
    assert scope == {"type": "lifespan"}


def test_a_broken_lifespan_leaves_the_next_one_its_drain() -> None:
    crons, ended = Crons(backend="memory:"), []

    @crons.every(hours=10)
    async def slow() -> None:
        await asyncio.sleep(0.05)
        ended.append(1)

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons)
        for broken in (says(RECEIVE, FAILED, RECEIVE), says(RECEIVE, COMPLETE, ZeroDivisionError("oh"))):
            await record(PseudoCronMiddleware(broken, crons=crons), {"type": "lifespan"}, A_LIFE)
        async with Lifespan(app):
            await visit(app)
            await until(lambda: (poller := process_of(crons).runtime()._poller) and poller.runs.pool.runs)
        assert ended == [1]

    asyncio.run(main())


def test_when_a_lifespan_has_broken_off_the_requests_still_look() -> None:
    crons, ran = Crons(backend="memory:"), []
    crons.add("one", lambda: ran.append(1), 36000)

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons)
        broken = says(RECEIVE, COMPLETE, ZeroDivisionError("oh"))
        await record(PseudoCronMiddleware(broken, crons=crons), {"type": "lifespan"}, A_LIFE)
        await visit(app)
        await until(lambda: ran)

    asyncio.run(main())


def test_a_failed_drain_is_logged_and_the_application_shuts_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        async def start(self, **_: object) -> object:
            return object()

        async def stop(self, _: object) -> None:
            raise ZeroDivisionError

    app = lifespan.Lifespan(says(RECEIVE, COMPLETE, RECEIVE, ENDED), Broken(), ticker=False)  # type: ignore[arg-type]
    caplog.set_level(logging.ERROR)
    events = asyncio.run(record(app, {"type": "lifespan"}, A_LIFE))
    assert [kind for kind, _ in events] == ["received", "sent", "received", "sent", "returned"]
    assert "could not be drained" in caplog.text
