"""One middleware built many times, in many places, on many event loops."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from support import Lifespan, hello, until, visit

from pseudocron import Crons, PseudoCronMiddleware, current_run
from pseudocron.process import process_of

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.websockets import WebSocket


def one_cron(backend: str = "memory:") -> tuple[Crons, list[str]]:
    crons, ran = Crons(backend=backend), []
    crons.add("one", lambda: ran.append(current_run().slot.isoformat()), 36000)
    return crons, ran


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.scope['root_path']} {request.scope['path']} {request.state.pool}")


async def stream(_: Request) -> StreamingResponse:
    return StreamingResponse(iter(["a", "b", "c"]))


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


def site(*middleware: Middleware, inner: tuple[Middleware, ...] = ()) -> Starlette:
    """An application with a sub-application mounted in it."""

    class Life:
        def __init__(self, _: object) -> None: ...

        async def __aenter__(self) -> dict[str, str]:
            return {"pool": "a pool"}

        async def __aexit__(self, *_: object) -> None: ...

    routes = [Route("/", home), Route("/stream", stream), WebSocketRoute("/greet", greet)]
    mounted = Mount("/shop", routes=routes, middleware=inner)
    return Starlette(routes=[*routes, mounted], middleware=middleware, lifespan=Life)


def answers(app: Starlette) -> list[str]:
    """What the visitors of a site are told."""
    told: list[str] = []
    with TestClient(app) as client:
        for path in ("", "/shop"):
            told += [client.get(path + page).text for page in ("/", "/stream", "/missing")]
            with client.websocket_connect(f"{path}/greet") as socket:
                socket.send_text("hello")
                told.append(socket.receive_text())
    return told


@pytest.mark.parametrize("wait", [0, 20])
@pytest.mark.parametrize("where", ["outside", "in the mounted one", "in both"])
def test_a_mounted_application_answers_the_same_and_slots_run_once(where: str, wait: float) -> None:
    crons, ran = one_cron()
    ours = Middleware(PseudoCronMiddleware, crons=crons, wait=wait)
    outside = () if where == "in the mounted one" else (ours,)
    inner = () if where == "outside" else (ours,)
    assert answers(site(*outside, inner=inner)) == answers(site())
    # A mounted application hears of no lifespan: nothing drains what its test client cuts off.
    assert len(ran) == 1 or (not ran and not outside and not wait)


def test_one_built_fifty_times_looks_once_and_is_drained_once() -> None:
    crons, ran = one_cron()
    apps = [PseudoCronMiddleware(hello, crons=crons) for _ in range(50)]

    async def main() -> None:
        async with Lifespan(apps[0]):
            await asyncio.gather(*(visit(app) for app in apps))
            await until(lambda: ran)
            assert len({app._process for app in apps}) == 1
            assert len(process_of(crons)._runtimes) == 1

    asyncio.run(main())
    assert len(ran) == 1


def test_one_around_another_fifty_times_over_starts_and_ends_as_one() -> None:
    crons, ran = one_cron()
    app: Any = hello
    for _ in range(50):
        app = PseudoCronMiddleware(app, crons=crons)

    async def main() -> list[str]:
        async with Lifespan(app) as server:
            await visit(app)
            await until(lambda: ran)
        assert process_of(crons).runtime()._poller is None
        return server.events

    assert asyncio.run(main()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert len(ran) == 1


def test_two_configurations_have_nothing_to_do_with_each_other() -> None:
    (crons, ran), (others, others_ran) = one_cron(), one_cron()

    async def main() -> None:
        app, other = PseudoCronMiddleware(hello, crons=crons), PseudoCronMiddleware(hello, crons=others)
        async with Lifespan(other):
            async with Lifespan(app):
                await visit(app)
                await until(lambda: ran)
            assert not others_ran
            await visit(other)
            await until(lambda: others_ran)

    asyncio.run(main())
    assert (len(ran), len(others_ran)) == (1, 1)


@pytest.mark.parametrize("named", ["the same", "two of one store"])
def test_two_applications_with_one_store_run_each_slot_once(named: str, tmp_path: Path) -> None:
    crons, ran = one_cron(f"file:{tmp_path}/store")
    others, others_ran = (crons, ran) if named == "the same" else one_cron(f"file:{tmp_path}/store")

    async def main() -> None:
        app, other = (PseudoCronMiddleware(hello, crons=each, wait=20) for each in (crons, others))
        async with Lifespan(app), Lifespan(other):
            await asyncio.gather(*(visit(each) for each in (app, other) * 5))

    asyncio.run(main())
    assert len({*ran, *others_ran}) == len([*ran, *(others_ran if others is not crons else [])]) == 1


def test_test_clients_that_take_turns_run_each_slot_once(tmp_path: Path) -> None:
    crons, ran = one_cron(f"file:{tmp_path}/store")
    app = site(Middleware(PseudoCronMiddleware, crons=crons, wait=20))
    bare = TestClient(app)
    for _ in range(5):
        process_of(crons).deadline = -1
        assert bare.get("/stream").text == "abc"
        with TestClient(app) as client:
            assert client.get("/").text == "/ / a pool".removeprefix("/")
    assert len(ran) == 1
    assert len(process_of(crons)._runtimes) <= 2, "closed event loops are forgotten"


@pytest.mark.parametrize("backend", ["memory:", "file:{}/store"])
def test_a_poll_that_a_closing_loop_cuts_off_is_made_good_by_the_next(backend: str, tmp_path: Path) -> None:
    # A claim that was cut off as well ends with its lease.
    crons, ran = Crons(backend=backend.format(tmp_path), drain=0, lease=0.5), []
    crons.add("endless", asyncio.Event().wait, 36000)
    crons.add("often", lambda: ran.append(1), 0.01)
    app = PseudoCronMiddleware(site(), crons=crons)
    for _ in range(3):
        process_of(crons).deadline = -1
        assert TestClient(app).get("/stream").text == "abc"
    seen, began = len(ran), time.monotonic()
    with TestClient(app) as client:
        while len(ran) == seen:
            assert time.monotonic() < began + 20, "the gate is fresh for CRON_MAX_TIME"
            process_of(crons).deadline = -1
            client.get("/stream")


def test_an_event_loop_that_comes_while_another_is_looked_up_disturbs_it_not() -> None:
    crons, _ = one_cron()
    watched = process_of(crons)

    class Loop:
        def is_closed(self) -> bool:
            watched._runtimes[Loop()] = watched._runtimes[self]  # type: ignore[index]  # as another thread does
            return True

    async def main() -> None:
        watched._runtimes[Loop()] = watched.runtime()  # type: ignore[index]

    asyncio.run(main())
    assert asyncio.run(visit(PseudoCronMiddleware(hello, crons=crons)))[0]["status"] == 200


def test_event_loops_that_come_and_go_in_many_threads_fail_no_request() -> None:
    crons, _ = one_cron()
    app = PseudoCronMiddleware(hello, crons=crons)
    statuses: list[int] = []

    def requests() -> None:
        for _ in range(40):
            process_of(crons).deadline = -1
            statuses.append(asyncio.run(visit(app))[0]["status"])

    threads = [threading.Thread(target=requests) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 160
