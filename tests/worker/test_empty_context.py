"""A run inherits nothing from the request that happened to start it, by whatever way it was started."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import defaultdict
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.integrations.threading import ThreadingIntegration
from sentry_sdk.transport import Transport
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from support import Lifespan, hello, http, until, visit

from pseudocron import Crons, PseudoCronMiddleware, trigger
from pseudocron.by_hand import run_now, tick_now
from pseudocron.dashboard import NoAuth, dashboard
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sentry_sdk.envelope import Envelope
    from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN = "a-token-of-23-characters"  # noqa: S105 - of these tests
who: ContextVar[str] = ContextVar("who", default="nobody")


class Seen:
    """Crons and a task of each kind, and what they and the hooks found in their context."""

    def __init__(self, *, fails: bool = False) -> None:
        self.crons = crons = Crons(backend="memory:")
        self.found: defaultdict[str, list[str]] = defaultdict(list)
        self.fails = fails

        @crons.every(hours=5, name="a coroutine")
        async def coroutine() -> None:
            await asyncio.sleep(0)
            self.note("coroutine")

        @crons.every(hours=5, name="in a thread")
        def plain() -> None:
            self.note("thread")

        @crons.task(retries=0, name="a job")
        async def job() -> None:
            self.note("job")

        async def hook(_: object) -> None:
            self.found["hook"].append(who.get())

        for kind in ("started", "succeeded", "failed"):
            crons.on(kind)(hook)

        @crons.middleware
        def around() -> Iterator[None]:
            self.found["around"].append(who.get())
            yield

    def note(self, kind: str) -> None:
        self.found[kind].append(who.get())
        if self.fails:
            logging.getLogger("application").error("trouble in a %s", kind)
            raise ValueError(kind)


def of_request(app: ASGIApp) -> ASGIApp:
    """The application within a middleware that notes whose request it is."""

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        who.set("the reader")
        await app(scope, receive, send)

    return noting


def application(crons: Crons) -> ASGIApp:
    routes = [
        Route("/tick", trigger(crons, token=TOKEN, wait=5)),
        Mount("/crons", dashboard(crons, auth=NoAuth())),
        Mount("/", hello),
    ]
    return of_request(PseudoCronMiddleware(Starlette(routes=routes), crons=crons))


async def by_trigger_alone(_: ASGIApp, crons: Crons) -> None:
    await by_trigger(of_request(trigger(crons, token=TOKEN, wait=5)), crons)


async def by_request(app: ASGIApp, _: Crons) -> None:
    await visit(app)


async def by_trigger(app: ASGIApp, _: Crons) -> None:
    await visit(app, http("/tick", query_string=f"token={TOKEN}".encode(), method="POST"))


async def by_dashboard(app: ASGIApp, _: Crons) -> None:
    page = await visit(app, http("/crons/", headers=[(b"host", b"localhost")], query_string=b""))
    token = re.search(rb'name="csrf" value="([^"]+)"', b"".join(part.get("body", b"") for part in page))
    assert token
    for name in (b"a+coroutine", b"in+a+thread"):
        body = b"csrf=" + token[1] + b"&do=run&name=" + name
        headers = {b"host": b"localhost", b"origin": b"http://localhost", b"cookie": b"pseudocron_csrf=" + token[1]}
        headers[b"content-type"] = b"application/x-www-form-urlencoded"
        scope = http("/crons/cron", method="POST", headers=list(headers.items()), query_string=b"")
        assert await post(app, scope, body) == 303


async def post(app: ASGIApp, scope: Scope, body: bytes) -> int:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return int(sent[0]["status"])


async def by_hand(_: ASGIApp, crons: Crons) -> None:
    for name in ("a coroutine", "in a thread"):
        await run_now(process_of(crons), name)


async def by_tick(__: ASGIApp, crons: Crons) -> None:
    async for _ in tick_now(process_of(crons)):
        pass


async def by_defer(app: ASGIApp, crons: Crons) -> None:
    await visit(app)  # so that this process polls
    await crons.tasks["a job"].defer()


WAYS = [by_request, by_trigger, by_trigger_alone, by_dashboard, by_hand, by_tick, by_defer]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_run_and_its_hooks_see_no_variable_of_who_started_it(
    way: Callable[[ASGIApp, Crons], Awaitable[None]],
) -> None:
    seen = Seen()

    async def main() -> None:
        async with Lifespan(application(seen.crons)):
            who.set("the reader")
            await way(application(seen.crons), seen.crons)
            await until(lambda: {"coroutine", "thread"} <= seen.found.keys())
            if way is by_defer:
                await until(lambda: "job" in seen.found)
            await process_of(seen.crons).runtime().settle(5)
        assert who.get() == "the reader"

    asyncio.run(main())
    assert {"hook", "around"} <= seen.found.keys()
    assert {name for found in seen.found.values() for name in found} == {"nobody"}, seen.found


class Captured(Transport):
    """Keeps the events that would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        if event := envelope.get_event():
            self.events.append(dict(event))

    def said(self) -> list[str]:
        return [event["logentry"]["message"] % tuple(event["logentry"]["params"]) for event in self.events]


@pytest.mark.parametrize("way", [by_request, by_trigger, by_dashboard, by_defer], ids=lambda way: way.__name__)
def test_an_error_report_of_a_run_has_nothing_of_the_request(way: Callable[[ASGIApp, Crons], Awaitable[None]]) -> None:
    transport, seen = Captured(), Seen(fails=True)

    async def main() -> None:
        app = SentryAsgiMiddleware(application(seen.crons))
        async with Lifespan(app):
            await way(app, seen.crons)
            await until(lambda: {"trouble in a coroutine", "trouble in a thread"} <= set(transport.said()))
            await process_of(seen.crons).runtime().settle(5)

    integrations = [LoggingIntegration(), ThreadingIntegration()]
    with sentry_sdk.isolation_scope():
        sentry_sdk.init(
            dsn="https://key@sentry.invalid/1",
            transport=transport,
            default_integrations=False,
            integrations=integrations,
        )
        try:
            asyncio.run(main())
        finally:
            sentry_sdk.get_client().close()
            sentry_sdk.get_global_scope().set_client(None)
    assert not [event["request"] for event in transport.events if "request" in event]
