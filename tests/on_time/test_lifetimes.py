"""Applications that share a configuration: each run has the state of a living one, and the store is open for all."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from endpoints.calling import ask
from support import Lifespan, hello, until, visit

from on_time.moments import Moments, Where, serving
from pseudocron import Crons, PseudoCronMiddleware, current_run
from pseudocron.endpoints.health import health
from pseudocron.polling import PollReason
from pseudocron.process import process_of

if TYPE_CHECKING:
    from pathlib import Path


def application(name: str, crons: Crons, closed: list[str], **options: Any) -> PseudoCronMiddleware:
    """One whose lifespan state has its name, and that notes when it is shut down."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await hello(scope, receive, send)
            return
        await receive()
        scope["state"]["pool"] = name
        await send({"type": "lifespan.startup.complete"})
        await receive()
        closed.append(name)
        await send({"type": "lifespan.shutdown.complete"})

    return PseudoCronMiddleware(app, crons=crons, **options)


def noting(crons: Crons, closed: list[str]) -> list[tuple[str, bool]]:
    """Jobs that note the pool of their run, and whether it was closed when they ended."""
    pools = list[tuple[str, bool]]()

    @crons.task(name="use")
    async def use(seconds: float) -> None:
        pool = current_run().state.get("pool", "none")
        await asyncio.sleep(seconds)
        pools.append((pool, pool in closed))

    return pools


def test_of_two_applications_each_run_has_the_state_of_a_living_one(where: Where) -> None:
    crons, closed = where.crons(drain=1), list[str]()
    pools, use = noting(crons, closed), crons.tasks["use"]
    first, second = (application(name, crons, closed) for name in ("first", "second"))

    async def main() -> None:
        async with Lifespan(second):
            async with Lifespan(first):
                await use.defer_many([{"seconds": 0.2}] * 3)
                await until(lambda: len(process_of(crons).runtime().runs) >= 3, 2)
            assert pools == [("first", False)] * 3, "drained before its pool is closed"
            await use.defer_many([{"seconds": 0.01}] * 3)
            await until(lambda: len(pools) == 6, 2)
        assert pools[3:] == [("second", False)] * 3

    asyncio.run(main())


def test_a_lifespan_that_starts_while_another_drains_has_runs_of_its_own(where: Where) -> None:
    crons, closed = where.crons(drain=1), list[str]()
    pools, use = noting(crons, closed), crons.tasks["use"]
    first, second = (application(name, crons, closed) for name in ("first", "second"))

    async def main() -> None:
        async with Lifespan(first) as old:
            await use.defer(0.3)
            await until(lambda: process_of(crons).runtime().runs, 2)
            ending = asyncio.ensure_future(old.__aexit__(None, None, None))
            await asyncio.sleep(0.05)
            async with Lifespan(second):
                await use.defer(0.01)
                await until(lambda: pools == [("second", False)], 2)
                await ending
                assert pools == [("second", False), ("first", False)]
                await use.defer(0.01)
                await until(lambda: len(pools) == 3, 2)
        assert pools[2] == ("second", False)

    asyncio.run(main())


def test_after_a_poll_before_the_lifespan_runs_have_its_state(where: Where) -> None:
    crons, closed = where.crons(), list[str]()
    pools, use = noting(crons, closed), crons.tasks["use"]
    app = application("pool", crons, closed)

    async def main() -> None:
        await visit(app)
        await process_of(crons).runtime().settle(2)
        async with Lifespan(app):
            await use.defer(0.01)
            await until(lambda: pools, 2)

    asyncio.run(main())
    assert pools == [("pool", False)]


def test_a_process_that_does_not_execute_runs_nothing_that_it_defers(where: Where) -> None:
    crons, closed = where.crons(), list[str]()
    pools, use, runs = noting(crons, closed), crons.tasks["use"], Moments()
    crons.add("cron", runs.note, 0.1)
    app = application("pool", crons, closed, execute=False, ticker=True)

    async def main() -> None:
        async with Lifespan(app):
            await use.defer(0.0)
            for _ in range(6):
                await visit(app)
                await asyncio.sleep(0.1)

    asyncio.run(main())
    assert (pools, runs.at) == ([], [])


@pytest.mark.parametrize("loops", [1, 2])
def test_a_store_that_probes_open_and_close_is_open_for_who_defers(tmp_path: Path, loops: int) -> None:
    crons, errors, deferred = Crons(backend=f"file:{tmp_path}/store"), list[Exception](), list[int]()
    crons.task(name="job")(lambda: None)
    job, probe = crons.tasks["job"], health(crons)

    async def defer() -> None:
        for number in range(150):
            try:
                await job.options(delay=3600).defer()
                deferred.append(number)
            except Exception as error:  # noqa: BLE001 - that is the question
                errors.append(error)

    async def look() -> None:
        for _ in range(150):
            async with process_of(crons).store() as (_, backend):
                await backend.counts()

    async def main() -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(defer(), look(), look(), ask(probe, "GET"))

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(loops)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert len(deferred) == 150 * loops


def test_two_event_loops_go_on_polling_while_others_open_and_close_the_store(tmp_path: Path) -> None:
    crons, done = Crons(backend=f"file:{tmp_path}/store"), list[str]()

    @crons.task
    async def note() -> None:
        done.append(threading.current_thread().name)

    async def serve(name: str) -> None:
        async with serving(crons):
            for number in range(20):
                await note.defer()
                async with process_of(crons).store() as (_, backend):
                    await backend.waiting()
                await until(lambda number=number: len(done) > number, 2)  # type: ignore[misc]

    began = time.monotonic()
    threads = [threading.Thread(target=asyncio.run, args=(serve(str(n)),)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(done) == 40
    assert time.monotonic() - began < 10


def test_the_next_request_polls_after_the_lifespan_of_another_loop_has_ended(tmp_path: Path) -> None:
    crons, runs = Crons(backend=f"file:{tmp_path}/store"), Moments()
    crons.add("cron", runs.note, 0.2)

    async def short() -> None:
        async with serving(crons):
            await asyncio.wait([process_of(crons).runtime().request_poll(PollReason.REQUEST)])

    async def main() -> None:
        async with serving(crons, every=0.05):
            await asyncio.to_thread(asyncio.run, short())
            before, began = len(runs.at), time.monotonic()
            await until(lambda: len(runs.at) >= before + 3, 3)
            assert time.monotonic() - began < 2.5

    asyncio.run(main())
