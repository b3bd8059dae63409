"""What crons cost on a Redis server: a claim, against the plainest lock there is; and a thousand idle processes."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from redis.asyncio import Redis as PlainClient

from benchmarks.measuring import Row, ratios, show, side_by_side, spread
from benchmarks.polling import claiming_a_slot, take
from harness.redis_server import Server, serving
from pseudocron.backends.questions import Poll
from pseudocron.backends.redis.backend import Redis
from pseudocron.backends.redis.client import from_url
from pseudocron.polling import READ_AGAIN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

CLAIMS, ROUNDS = 300, 20
GOAL = 1.3
IDLE, SECONDS = 1000, 10
IDLE_GOAL = 53.0


def _backend(server: Server) -> Redis:
    return Redis(from_url(server.url), name="Redis", app="bench")


async def _claimed(backend: Redis) -> None:
    """Poll, and claim a slot of a cron that no process has seen before."""
    polled = await backend.poll(claiming_a_slot(uuid4().hex))
    assert polled is not None
    assert len(polled.claims) == 1


async def _locked(client: Any) -> None:
    assert await client.set(uuid4().hex, uuid4().hex, nx=True, px=30_000)


def _claiming(server: Server) -> Row:
    backend, client = _backend(server), PlainClient.from_url(server.url)
    with asyncio.Runner() as runner:

        def arm(once: Callable[[], Awaitable[None]]) -> Callable[[], float]:
            async def often() -> float:
                began = time.perf_counter()
                for _ in range(CLAIMS):
                    await once()
                return (time.perf_counter() - began) / CLAIMS * 1e6

            return lambda: runner.run(often())

        runner.run(backend.open())
        arms = {"ours": arm(lambda: _claimed(backend)), "bare": arm(lambda: _locked(client))}
        side_by_side(arms, rounds=1)
        server.do("CONFIG", "RESETSTAT")
        figures = side_by_side(arms, rounds=ROUNDS)
        of_it = server.do("INFO", "commandstats")["cmdstat_evalsha"]["usec_per_call"]
        runner.run(backend.close())
        runner.run(client.aclose())
    against = ratios(figures["ours"], figures["bare"])
    took = (
        f"{median(figures['ours']):.0f} us of {median(figures['bare']):.0f} us, of which {of_it:.0f} us in the script"
    )
    return Row(
        what="a poll that claims a slot on Redis, against `SET NX PX` of the plain client",
        goal=f"{GOAL}",
        measured=f"{spread(against)}: {took}",
        met=median(against) <= GOAL,
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """What a server has done so far, and the seconds of CPU it took."""

    asked: int
    seconds: float

    @classmethod
    def of(cls, server: Server) -> Counted:
        """As the server tells it."""
        asked = server.do("INFO", "commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        cpu = server.do("INFO", "cpu")
        return cls(int(asked), float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]))


async def _idle(ask: Callable[[], Awaitable[object]], first: float) -> None:
    """Ask as often as a process does that is visited and has nothing to do."""
    await asyncio.sleep(first)
    while True:
        await ask()
        await asyncio.sleep(READ_AGAIN)


async def _asking(server: Server, asks: Sequence[Callable[[], Awaitable[object]]]) -> tuple[float, float]:
    """Return how many scripts, and seconds of CPU, the server spends in each second on these."""
    tasks = [asyncio.ensure_future(_idle(ask, at / IDLE)) for at, ask in enumerate(asks)]
    await asyncio.sleep(2 * READ_AGAIN)
    before, began = Counted.of(server), time.monotonic()
    await asyncio.sleep(SECONDS)
    after, taken = Counted.of(server), time.monotonic() - began
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return (after.asked - before.asked) / taken, (after.seconds - before.seconds) / taken


async def _idling(server: Server) -> Row:
    async with AsyncExitStack() as stack:
        clients = [PlainClient.from_url(server.url) for _ in range(IDLE)]
        for client in clients:
            stack.push_async_callback(client.aclose)
        _, least = await _asking(server, [client.ping for client in clients])
    async with AsyncExitStack() as stack:
        backends = [_backend(server) for _ in range(IDLE)]
        for backend in backends:
            await backend.open()
            stack.push_async_callback(backend.close)
        await backends[0].poll(Poll(take()))
        asked, seconds = await _asking(server, [backend.stale_in for backend in backends])
    return Row(
        what=f"CPU of Redis a second for {IDLE:,} processes that are visited and have nothing to do",
        goal=f"{IDLE_GOAL:.0f} ms, half of what it was",
        measured=f"{seconds * 1e3:.0f} ms for {asked:,.0f} questions; as many `PING` take {least * 1e3:.0f} ms",
        met=seconds * 1e3 <= IDLE_GOAL,
    )


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    with serving() as server:
        return [_claiming(server), asyncio.run(_idling(server))]


if __name__ == "__main__":
    show(measure())
