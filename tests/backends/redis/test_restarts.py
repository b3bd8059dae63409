"""A server that comes back with its data, with none, or as a replica that lacks the last of them."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from typing import TYPE_CHECKING

from redis_server import Server

from backends.redis.proxy import Proxy
from backends.redis.test_connections import replica_of
from backends.redis.using import claim, claim_jobs, claim_slot, defer, end, job, now, opened
from pseudocron.backends.model import State
from pseudocron.backends.questions import Where

if TYPE_CHECKING:
    from collections.abc import Callable


async def restart(server: Server) -> None:
    """Kill a server, and start it with what was kept."""
    await asyncio.to_thread(server.kill, signal.SIGKILL)
    await asyncio.to_thread(server.start)


def test_a_server_with_its_file_has_all_that_it_was_told(start_server: Callable[..., Server], app: str) -> None:
    server = start_server("--save", "", "--appendonly", "yes", "--appendfsync", "always")

    async def main() -> None:
        async with opened(server.url, app) as backend:
            manual, slot = await claim(backend), await claim_slot(backend)
            (first, second) = await defer(backend, job(), job(due=now() + timedelta(hours=1)))
            (claimed,) = await claim_jobs(backend)
            await restart(server)
            assert claimed.run_id == first
            assert [await end(backend, one) for one in (manual, slot, claimed)] == [State.SUCCEEDED] * 3
            assert [one.run_id for one in await backend.runs(Where(states=[State.PENDING]))] == [second]

    asyncio.run(main())


def test_fences_still_grow_and_old_claims_are_refused_after_all_is_lost(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            before = await claim_slot(backend)
            one = job()
            await defer(backend, one)
            (claimed,) = await claim_jobs(backend)
            await restart(server)
            assert await end(backend, before) is None
            assert await end(backend, claimed) is None
            assert not await asyncio.to_thread(backend.renew, [before, claimed], 30)
            assert (await claim_slot(backend)).fence > before.fence
            await defer(backend, one)
            (again,) = await claim_jobs(backend)
            assert again.fence > claimed.fence

    asyncio.run(main())


def test_a_failover_that_lost_the_last_second_goes_on_with_higher_fences(
    server: Server, start_server: Callable[..., Server], app: str
) -> None:
    replica = replica_of(server, start_server)

    async def main() -> None:
        with Proxy(server.port) as proxy:
            async with opened(proxy.url, app) as backend:
                kept = await defer(backend, job(due=now() + timedelta(hours=1)))
                first = await claim_slot(backend)
                await asyncio.to_thread(server.do, "WAIT", 1, 1000)
                await asyncio.to_thread(replica.do, "REPLICAOF", "NO", "ONE")  # it is told nothing more
                lost = await claim_slot(backend, now())
                await defer(backend)
                await asyncio.to_thread(server.kill)
                proxy.port = replica.port
                assert await end(backend, lost) is None
                assert await end(backend, first) is State.SUCCEEDED
                assert (await claim_slot(backend, lost.slot)).fence > lost.fence
                assert [one.run_id for one in await backend.runs(Where(states=[State.PENDING]))] == kept

    asyncio.run(main())
