"""The clock of a server is stepped: leases live as long as they should, and are over when they should be."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from redis_server import shared

from backends.redis.using import LEASE, claim_jobs, claim_slot, defer, job, now, opened, take
from pseudocron.backends.model import State
from pseudocron.backends.questions import Plan, Poll
from pseudocron.backends.redis.codec import SECOND, instant, micros

if TYPE_CHECKING:
    from pseudocron.backends.questions import Claim
    from pseudocron.backends.redis.backend import Redis

HOUR, EARLIER = 3600.0, now() - timedelta(days=1)
STEPS = [HOUR, -HOUR, 40.0, 24 * HOUR]


class World:
    """A server's clock, which is stepped, and that of its clients, which is not."""

    def __init__(self) -> None:
        self.elapsed, self.stepped = 0, 0
        self.began = micros(now())

    def clock(self) -> int:
        return self.began + self.elapsed + self.stepped

    def forward(self, seconds: float) -> None:
        self.elapsed += round(seconds * SECOND)

    def step(self, seconds: float) -> None:
        self.stepped += round(seconds * SECOND)

    async def open(self, stack: AsyncExitStack, app: str) -> Redis:
        backend = await stack.enter_async_context(opened(shared().url, app, clock=self.clock))
        backend._elapsed = lambda: self.elapsed
        await poll(backend)
        return backend


async def poll(backend: Redis) -> list[str]:
    """Poll; return the ids of what is lost."""
    polled = await backend.poll(Poll(take(0), force=True))
    assert polled is not None
    return [run.run_id for run in polled.lost]


def living(backend: Redis, claims: list[Claim]) -> bool:
    return set(backend.renew(claims, LEASE)) == {claim.run_id for claim in claims}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("by", ["the first answer", "the poll itself", "the one that holds it"])
def test_a_lease_lives_through_a_step(app: str, step: float, by: str) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World()
            holder, other, third = [await world.open(stack, app) for _ in range(3)]
            await defer(holder, job(due=EARLIER))
            claims = await claim_jobs(holder)
            world.forward(1)
            world.step(step)
            if by == "the first answer":
                await other.stale_in()
            assert await poll(holder if "holds" in by else other) == []
            world.forward(1)
            assert await poll(third) == []
            world.forward(8)
            assert await asyncio.to_thread(living, holder, claims)
            world.forward(LEASE + 1)
            assert await poll(third) == [claims[0].run_id]

    asyncio.run(main())


@pytest.mark.parametrize("step", STEPS)
def test_a_lease_that_is_not_renewed_after_a_step_is_over_soon(app: str, step: float) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World()
            holder, other, third = [await world.open(stack, app) for _ in range(3)]
            await defer(holder, job(due=EARLIER))
            (claimed,) = await claim_jobs(holder)
            world.step(step)
            for backend in (other, third, other, third):
                assert await poll(backend) == []
            world.forward(LEASE - 1)
            assert await poll(third) == []
            world.forward(2 if step > 0 else 3 * LEASE + 2)
            assert await poll(third) == [claimed.run_id]
            run = await other.run(claimed.run_id)
            assert run is not None
            assert run.state is State.PENDING

    asyncio.run(main())


def test_answers_that_are_late_are_no_step(app: str) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World()
            backend = await world.open(stack, app)
            await defer(backend, job(due=EARLIER))
            (claimed,) = await claim_jobs(backend)
            world.step(-10)  # it was sent ten seconds before it came
            await backend.stale_in()
            world.step(10)
            world.forward(LEASE + 1)
            assert await poll(backend) == [claimed.run_id]

    asyncio.run(main())


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_after_a_step_the_polls_are_idle_again(app: str, step: float) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World()
            backend = await world.open(stack, app)
            slot = instant(str(world.clock()))
            await claim_slot(backend, slot)
            world.step(step)
            state = (await backend.states(["mail"])).crons["mail"]
            assert state.since is not None
            next_slot = instant(str(world.clock())) + timedelta(minutes=1)
            await backend.poll(Poll(take(), [Plan("mail", state.mark, state.since, next=next_slot)], force=True))
            assert await backend.stale_in() > 25

    asyncio.run(main())
