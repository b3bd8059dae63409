"""A process knows what it has seen claimed, also when its server has lost everything."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from typing import TYPE_CHECKING

from backends.using import now, opened
from support import Clock

from on_redis.test_leases_on_redis import a_poller, started
from pseudocron.crons import Crons

if TYPE_CHECKING:
    from redis_server import Server


async def again(server: Server) -> None:
    """Die, and begin anew with what was kept."""
    await asyncio.to_thread(server.kill, signal.SIGKILL)
    await asyncio.to_thread(server.start)


def test_a_server_that_lost_everything_is_told_the_marks(server: Server, app: str) -> None:
    clock = Clock(now=now() - timedelta(hours=2))
    crons = Crons()
    crons.add("often", int, 3600, last_run=clock.now - timedelta(minutes=1))

    async def main() -> None:
        async with opened(server.url, app) as backend:
            poller = a_poller(backend, crons, clock.host)
            clock.forward(3600)
            (run,) = await started(poller, crons)
            await run.over()
            await again(server)
            assert not await started(poller, crons)
            clock.forward(1)
            assert not await started(poller, crons)
            clock.forward(3600)
            (later,) = await started(poller, crons)
            assert run.claim.slot
            assert later.claim.slot == run.claim.slot + timedelta(hours=1)
            assert (await backend.states(["often"])).crons["often"].mark == later.claim.slot
            await poller.runs.drain(5)

    assert list(crons)
    asyncio.run(main())
