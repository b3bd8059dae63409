"""A lease outlives a blocked event loop; a run whose lease can't be renewed is notified, and its result refused."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from backends.using import jobs, opened, poll, runs_of
from redis_server import Server, shared
from support import until, wait_until

from pseudocron import current_run
from pseudocron.backends.model import Kind, State
from pseudocron.config.source import open_source
from pseudocron.crons import Crons
from pseudocron.host import Host
from pseudocron.worker.poll import Poller
from pseudocron.worker.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pseudocron.backends.contract import Backend
    from pseudocron.worker.run import Run

LEASE = 0.6


def a_poller(backend: Backend, crons: Crons, host: Host = Host()) -> Poller:  # noqa: B008  frozen
    runs = Runs(backend, host=host, worker="me", concurrency=9, lease=LEASE)
    return Poller(open_source(crons), backend, host, runs)


async def started(poller: Poller, crons: Crons) -> Sequence[Run]:
    report = await poller.poll_now(crons, force=True)
    assert report
    return report.started


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
            (run,) = await started(a_poller(backend, crons), crons)
            assert await run.over() is State.SUCCEEDED
            assert not (await poll(other)).lost
            assert [run.state for run in await runs_of(other, "long")] == [State.SUCCEEDED]

    assert list(crons)
    asyncio.run(main())


@pytest.mark.alone
def test_runs_that_lose_their_leases_are_notified_and_refused(
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
            poller = a_poller(backend, crons)
            runs = await started(poller, crons)
            assert {run.claim.kind for run in runs} == {Kind.SLOT, Kind.JOB}
            await asyncio.to_thread(begun.wait, 10)
            killed = time.monotonic()
            await asyncio.to_thread(server.kill)
            await until(lambda: len(told) == 2)
            assert all(at - killed <= LEASE for at in told.values())
            await asyncio.to_thread(server.start)  # it has lost everything
            for run in runs:
                assert await asyncio.wait_for(run.over(), 10) is None
            assert not await runs_of(backend, "cron")
            assert not await jobs(backend)
            await poller.runs.drain(0)
            await crons._connect().close()

    assert list(crons)
    caplog.set_level(logging.INFO)
    asyncio.run(main())
    assert caplog.text.count("lease not renewed in time: the run is notified to stop") == 2
    assert caplog.text.count("its result came after its lease") == 2


def test_a_coroutine_may_ask_too_and_is_not_tried_again_by_who_has_lost_it(server: Server, app: str) -> None:
    crons = Crons()
    tries: list[Any] = []

    @crons.every(seconds=3600, retries=3)
    async def heed() -> None:
        tries.append(current_run().cancelled)
        await until(tries[-1].is_set)
        raise InterruptedError

    async def main() -> None:
        async with opened(server.url, app) as backend:
            poller = a_poller(backend, crons)
            (run,) = await started(poller, crons)
            await until(lambda: tries)
            await asyncio.to_thread(server.kill)
            await until(tries[0].is_set)
            await asyncio.to_thread(server.start)
            assert await asyncio.wait_for(run.over(), 10) is None
            assert len(tries) == 1
            await poller.runs.drain(0)

    assert list(crons)
    asyncio.run(main())
