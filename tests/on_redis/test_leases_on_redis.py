"""A lease outlives a blocked event loop, and whoever can't renew his is told, and refused."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis_server import Server, shared
from support import until, wait_until

from on_redis.using import opened
from pseudocron import current_run
from pseudocron.backends.model import State
from pseudocron.backends.records import Outcome
from pseudocron.crons import Crons
from pseudocron.host import Host
from pseudocron.runner import Runner

if TYPE_CHECKING:
    from pseudocron.backends.base import Backend

LEASE = 0.6


def a_runner(backend: Backend) -> Runner:
    return Runner(backend, host=Host(), worker="me", concurrency=9, lease=LEASE)


@pytest.mark.alone
def test_an_event_loop_that_is_blocked_for_longer_than_the_lease_loses_none(app: str) -> None:
    crons = Crons()

    @crons.every(seconds=3600)
    async def long() -> None:
        ends = time.monotonic() + 2 * LEASE
        while time.monotonic() < ends:
            pass

    async def main() -> None:
        async with opened(shared().url, app) as backend, opened(shared().url, app) as other:
            (started,) = (await a_runner(backend).look(crons)).started
            assert (await started.task).outcome is Outcome.SUCCEEDED
            assert not (await other.reap()).lost
            assert [run.outcome for run in await other.history()] == [Outcome.SUCCEEDED]

    asyncio.run(main())


@pytest.mark.alone
def test_a_run_and_a_job_that_can_not_renew_their_leases_are_told_and_their_results_are_refused(
    server: Server, app: str, caplog: pytest.LogCaptureFixture
) -> None:
    crons = Crons(backend=server.url, app=app)
    told: dict[str, float] = {}
    begun = threading.Barrier(3)

    def heed() -> None:
        begun.wait(10)
        flag = current_run().cancelled
        wait_until(flag.is_set)
        told[current_run().name] = time.monotonic()

    crons.add("cron", heed, 3600)
    crons.task("job", retries=0)(heed)

    async def main() -> None:
        async with opened(server.url, app) as backend:
            await crons.tasks["job"].defer()
            runner = a_runner(backend)
            looked = await runner.look(crons)
            await asyncio.to_thread(begun.wait, 10)
            killed = time.monotonic()
            await asyncio.to_thread(server.kill)
            await until(lambda: len(told) == 2)
            assert all(at - killed <= LEASE for at in told.values())
            await asyncio.to_thread(server.start)
            assert (await looked.started[0].task).outcome is Outcome.SUCCEEDED
            assert await looked.jobs[0].task is None
            assert not await backend.history()
            assert not await backend.jobs(states=list(State))
            await runner.drain(0)
            await crons._connect().close()

    caplog.set_level(logging.INFO)
    asyncio.run(main())
    assert caplog.text.count("could not be renewed in time: it is told to stop") == 2
    assert "the result of slot" in caplog.text
    assert "its result came after its lease" in caplog.text


def test_a_coroutine_may_ask_too_and_is_not_tried_again(server: Server, app: str) -> None:
    crons = Crons()
    tries: list[Any] = []

    @crons.every(seconds=3600, retries=3)
    async def heed() -> None:
        tries.append(current_run().cancelled)
        await until(tries[-1].is_set)
        raise InterruptedError

    async def main() -> None:
        async with opened(server.url, app) as backend:
            runner = a_runner(backend)
            (started,) = (await runner.look(crons)).started
            await until(lambda: tries)
            await asyncio.to_thread(server.kill)
            await until(tries[0].is_set)
            await asyncio.to_thread(server.start)
            assert (await started.task).outcome is Outcome.FAILED
            assert len(tries) == 1
            await runner.drain(0)

    asyncio.run(main())
