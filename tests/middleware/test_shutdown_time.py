"""How long a request is held open, and how long a shutdown takes, in seconds."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest
from leaping import leap
from support import Lifespan, hello, took, until, visit

from pseudocron import Crons, PseudoCronMiddleware
from pseudocron.backends.questions import Where
from pseudocron.process import process_of


@pytest.mark.parametrize("wait", [0, 0.5, 20])
def test_wait_holds_the_call_of_an_endless_run_open_for_its_seconds(wait: float) -> None:
    crons = Crons(backend="memory:")
    crons.add("endless", endless, 3600)

    async def main() -> None:
        with took(wait, wait + 0.3):
            await visit(PseudoCronMiddleware(hello, crons=crons, wait=wait))

    leap(main())


async def endless() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("settings", "seconds"), [({"drain": 0.5}, 0.5), ({"drain": 0}, 0), ({}, 5)])
def test_a_shutdown_gives_a_run_its_drain_and_then_records_its_end(settings: dict[str, float], seconds: float) -> None:
    crons = Crons(backend="memory:", **settings)  # type: ignore[arg-type]
    crons.add("endless", endless, 3600)
    leap(shut_down_after(crons, least=seconds, most=seconds + 0.3))


def test_a_shutdown_waits_no_longer_for_a_thread_than_for_a_coroutine() -> None:
    crons, go_on = Crons(backend="memory:", drain=0.5), threading.Event()
    crons.add("stuck", go_on.wait, 3600)
    try:
        leap(shut_down_after(crons, least=0.5, most=1))
    finally:
        go_on.set()


async def shut_down_after(crons: Crons, *, least: float, most: float) -> None:
    """The shutdown of a process in which the only cron runs for ever."""
    async with AsyncExitStack() as server:
        app = PseudoCronMiddleware(hello, crons=crons)
        await server.enter_async_context(Lifespan(app))
        await visit(app)
        await until(lambda: process_of(crons).runtime().runs, 5)
        with took(least, most):
            await server.aclose()
    async with process_of(crons).store() as (_, backend):
        (run,) = await backend.runs(Where())
    assert run.state == "interrupted"
