"""A server that comes back with its data, with none, or as a replica that had not heard of the last of them."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from typing import TYPE_CHECKING

from redis_server import Server
from support import Clock

from harness.redis_proxy import Proxy
from on_redis.test_connections import replica_of
from on_redis.using import claim, claim_jobs, defer, job, now, opened
from pseudocron.backends.jobs import JobEnd, State
from pseudocron.backends.records import Outcome, Result
from pseudocron.crons import Crons
from pseudocron.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable


async def again(server: Server) -> None:
    """Die, and begin anew with what was kept."""
    await asyncio.to_thread(server.kill, signal.SIGKILL)
    await asyncio.to_thread(server.start)


def test_a_server_with_its_file_knows_all_that_it_was_told(start_server: Callable[..., Server], app: str) -> None:
    server = start_server("--save", "", "--appendonly", "yes", "--appendfsync", "always")

    async def main() -> None:
        async with opened(server.url, app) as backend:
            granted = await claim(backend)
            (first, second) = await defer(backend, job(), job(due=now() + timedelta(hours=1)))
            (claimed,) = await claim_jobs(backend)
            await again(server)
            assert claimed.job_id == first
            assert await backend.finish(granted, Result(outcome=Outcome.SUCCEEDED))
            assert await backend.finish_jobs([(claimed, JobEnd(state=State.SUCCEEDED))]) == [State.SUCCEEDED]
            assert [one.job_id for one in await backend.jobs(states=[State.PENDING])] == [second]

    asyncio.run(main())


def test_after_a_server_has_lost_everything_fences_still_grow_and_old_holders_are_refused(
    server: Server, app: str
) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            before = await claim(backend)
            one = job()
            await defer(backend, one)
            (claimed,) = await claim_jobs(backend)
            await again(server)
            assert not await backend.finish(before, Result(outcome=Outcome.SUCCEEDED))
            assert await backend.finish_jobs([(claimed, JobEnd(state=State.SUCCEEDED))]) == [None]
            assert not await asyncio.to_thread(backend.renew, [before], 30)
            assert (await claim(backend, now())).fence > before.fence
            await defer(backend, one)
            (again_claimed,) = await claim_jobs(backend)
            assert again_claimed.fence > claimed.fence

    asyncio.run(main())


def test_a_process_tells_a_server_that_has_lost_everything_how_far_its_crons_were(server: Server, app: str) -> None:
    clock = Clock(now=now() - timedelta(hours=2))
    crons = Crons()
    crons.add("often", int, 3600, last_run=clock.now - timedelta(minutes=1))

    async def main() -> None:
        async with opened(server.url, app) as backend:
            runner = Runner(backend, host=clock.host, worker="me", concurrency=9, lease=30)
            clock.forward(3600)
            (started,) = (await runner.look(crons)).started
            await started.task
            await again(server)
            assert not (await runner.look(crons)).started
            assert (await backend.states({"often": now()}))["often"].mark == started.claim.slot
            clock.forward(3600)
            assert [run.claim.slot for run in (await runner.look(crons)).started] == [
                started.claim.slot + timedelta(hours=1)
            ]
            await runner.drain(5)

    asyncio.run(main())


def test_a_failover_that_lost_the_last_second_goes_on_with_higher_fences(
    server: Server, start_server: Callable[..., Server], app: str
) -> None:
    replica = replica_of(server, start_server)

    async def main() -> None:
        with Proxy(server.port) as proxy:
            async with opened(proxy.url, app) as backend:
                kept = await defer(backend)
                first = await claim(backend)
                await asyncio.to_thread(server.do, "WAIT", 1, 1000)
                await asyncio.to_thread(replica.do, "REPLICAOF", "NO", "ONE")  # it hears of nothing more
                unheard = await claim(backend, now())
                await defer(backend)
                await asyncio.to_thread(server.kill)
                proxy.port = replica.port
                assert not await backend.finish(unheard, Result(outcome=Outcome.SUCCEEDED))
                assert await backend.finish(first, Result(outcome=Outcome.SUCCEEDED))
                assert (await claim(backend, unheard.slot)).fence > unheard.fence
                assert [one.job_id for one in await backend.jobs()] == kept

    asyncio.run(main())
