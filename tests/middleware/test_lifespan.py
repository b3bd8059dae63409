"""Opened after the application has started, drained before it shuts down; a failure stops the server in one line."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import Lifespan, hello, until, visit

from pseudocron import Crons, PseudoCronMiddleware, current_run
from pseudocron.backends.questions import Where
from pseudocron.process import process_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


def with_lifespan(events: list[str]) -> ASGIApp:
    """An application that tells when it starts up and shuts down."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await hello(scope, receive, send)
            return
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["pool"] = "a pool"
        events.append("app starts")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        events.append("app ends")
        await send({"type": "lifespan.shutdown.complete"})

    return app


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    """As Django: no lifespan, and an error for who asks."""
    if scope["type"] != "http":
        raise ValueError(f"can only handle HTTP, not {scope['type']}")
    await hello(scope, receive, send)


async def ignores(scope: Scope, receive: Receive, send: Send) -> None:
    """No lifespan, and silence for who asks."""
    if scope["type"] == "http":
        await hello(scope, receive, send)


def test_it_is_open_before_the_start_and_drained_before_the_end() -> None:
    events: list[str] = []
    crons = Crons(backend="memory:")

    @crons.every(hours=5)
    async def cron() -> None:
        events.append("cron starts")
        await asyncio.sleep(0.05)
        events.append("cron ends")

    async def main() -> None:
        app = PseudoCronMiddleware(with_lifespan(events), crons=crons)
        async with Lifespan(app, events):
            await visit(app)
            await until(lambda: "cron starts" in events)

    asyncio.run(main())
    assert events == [
        "app starts",
        "lifespan.startup.complete",
        "cron starts",
        "cron ends",
        "app ends",
        "lifespan.shutdown.complete",
    ]


def test_a_cron_can_use_what_the_application_has_put_into_its_lifespan_state() -> None:
    crons, pools = Crons(backend="memory:"), []

    @crons.every(hours=5)
    def cron() -> None:
        pools.append(current_run().state["pool"])

    async def main() -> None:
        app = PseudoCronMiddleware(with_lifespan([]), crons=crons)
        async with Lifespan(app):
            await visit(app)

    asyncio.run(main())
    assert pools == ["a pool"]


@pytest.mark.parametrize("app", [refuses, ignores])
def test_an_application_without_lifespan_is_served_by_the_middlewares_own(app: ASGIApp) -> None:
    crons, ran = Crons(backend="memory:"), []

    @crons.every(hours=5)
    async def cron() -> None:
        await asyncio.sleep(0.05)
        ran.append(1)

    async def main() -> None:
        wrapped = PseudoCronMiddleware(app, crons=crons)
        async with Lifespan(wrapped) as lifespan:
            await visit(wrapped)
        assert lifespan.events == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(main())
    assert ran == [1]


@pytest.mark.parametrize("own", [True, False])
def test_a_bad_configuration_answers_startup_failed_with_its_one_line(*, own: bool) -> None:
    events: list[str] = []
    inner = with_lifespan(events) if own else refuses

    async def main() -> Lifespan:
        app = PseudoCronMiddleware(inner, crons={"digest": {"run": print, "schedule": 60, "timout": 5}})
        async with Lifespan(app) as lifespan:
            pass
        return lifespan

    lifespan = asyncio.run(main())
    assert lifespan.events == ["lifespan.startup.failed"]
    assert lifespan.failure == "crons: 'digest': unknown option 'timout', did you mean 'timeout'?"
    assert events == (["app starts", "app ends"] if own else [])


def test_a_store_that_cannot_be_reached_answers_startup_failed(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    app = PseudoCronMiddleware(hello, crons=Crons(backend=f"file:{tmp_path}/file"))

    async def main() -> Lifespan:
        async with Lifespan(app) as lifespan:
            pass
        return lifespan

    lifespan = asyncio.run(main())
    assert lifespan.events == ["lifespan.startup.failed"]
    assert f"{tmp_path}/file" in (lifespan.failure or "")


def test_an_application_that_fails_at_its_start_fails_as_it_does_without() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ZeroDivisionError

    wrapped = PseudoCronMiddleware(app, crons=Crons(backend="memory:"))

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with Lifespan(wrapped):
                pass

    asyncio.run(main())


def test_a_run_that_outlasts_the_drain_is_recorded_before_the_end() -> None:
    events: list[str] = []
    crons = Crons(backend="memory:", drain=0.05)

    @crons.every(hours=5)
    async def endless() -> None:
        events.append("cron starts")
        try:
            await asyncio.Event().wait()
        finally:
            events.append("cron cancelled")

    async def main() -> None:
        app = PseudoCronMiddleware(with_lifespan(events), crons=crons)
        async with Lifespan(app, events):
            await visit(app)
            await until(lambda: "cron starts" in events)
        async with process_of(crons).store() as (_, backend):
            assert [run.state for run in await backend.runs(Where())] == ["interrupted"]

    asyncio.run(main())
    assert events[-3:] == ["cron cancelled", "app ends", "lifespan.shutdown.complete"]


def test_the_ticker_starts_with_the_lifespan_and_needs_no_visitor() -> None:
    crons, ran = Crons(backend="memory:"), []

    @crons.every(0.05)
    async def often() -> None:
        ran.append(current_run().slot)

    async def main() -> None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=crons, ticker=True)):
            await until(lambda: len(ran) >= 3)
        count = len(ran)
        await asyncio.sleep(0.2)
        assert len(ran) == count, "the ticker must end with the lifespan"

    asyncio.run(main())


def test_after_the_shutdown_a_late_request_is_served_and_nothing_runs() -> None:
    crons, ran = Crons(backend="memory:"), []

    @crons.every(hours=5)
    async def cron() -> None:
        ran.append(1)

    async def main() -> None:
        app = PseudoCronMiddleware(hello, crons=crons)
        async with Lifespan(app):
            pass
        await visit(app)
        await process_of(crons).runtime().settle(1)

    asyncio.run(main())
    assert not ran


def test_a_second_lifespan_opens_again() -> None:
    crons, ran = Crons(backend="memory:"), []

    @crons.every(hours=5)
    async def cron() -> None:
        ran.append(1)

    app = PseudoCronMiddleware(hello, crons=crons)

    async def main() -> None:
        async with Lifespan(app):
            pass
        async with Lifespan(app):
            await visit(app)

    asyncio.run(main())
    asyncio.run(main())
    assert ran == [1]


def test_a_failed_end_after_a_bad_start_still_stops_the_server() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise ZeroDivisionError

    async def main() -> Lifespan:
        async with Lifespan(PseudoCronMiddleware(app, crons={"a": ("nowhere:run", 60)})) as lifespan:
            pass
        return lifespan

    assert asyncio.run(main()).events == ["lifespan.startup.failed"]


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        ({"tickr": True}, "unknown option 'tickr', did you mean 'ticker'?"),
        ({"wait": "5"}, "wait: '5': must be a number of seconds of 0 or more"),
        ({"wait": -1}, "wait: -1: must be a number of seconds of 0 or more"),
        ({"when": "/cron"}, "when: '/cron': must be a plain function of the scope, or None"),
        ({"when": visit}, "must be a plain function of the scope, or None"),
    ],
)
def test_a_wrong_option_stops_the_server_but_fails_no_request(
    options: dict[str, Any], mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = PseudoCronMiddleware(hello, crons={"a": (print, 60)}, **options)

    async def main() -> Lifespan:
        assert (await visit(app))[0]["status"] == 200
        async with Lifespan(app) as lifespan:
            pass
        return lifespan

    failure = asyncio.run(main()).failure or ""
    assert failure.startswith("PseudoCronMiddleware: ")
    assert failure.endswith(mistake)
    assert failure in caplog.text


def test_of_two_lifespans_on_one_loop_the_last_to_end_drains() -> None:
    crons, ran = Crons(backend="memory:"), []
    crons.add("often", lambda: ran.append(1), 0.02)

    async def main() -> None:
        async with Lifespan(PseudoCronMiddleware(hello, crons=crons, ticker=True)):
            async with Lifespan(PseudoCronMiddleware(hello, crons=crons)):
                await until(lambda: ran)
            count = len(ran)
            await until(lambda: len(ran) > count)

    asyncio.run(main())


@pytest.mark.alone
def test_a_look_that_hangs_holds_the_shutdown_up_for_no_more_than_a_second(tmp_path: Path) -> None:
    (tmp_path / "crons.py").write_text("crons = {}")
    app = PseudoCronMiddleware(hello, crons=tmp_path / "crons.py")
    slow = threading.Event()

    async def main() -> float:
        async with Lifespan(app):
            source = process_of(tmp_path / "crons.py").source
            source.reload = slow.wait  # type: ignore[assignment,method-assign]
            await visit(app)
            began = time.monotonic()
        slow.set()
        return time.monotonic() - began

    assert 0.9 < asyncio.run(main()) < 2
