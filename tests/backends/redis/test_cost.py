"""What a verb costs the server: few commands, whatever is stored; and one poll of many at once does the work."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backends.redis.using import claim_jobs, defer, end, job, now, opened, take
from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Capacity, End, Plan, Poll, Take, Where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis_server import Server

    from pseudocron.backends.redis.backend import Redis


async def poll(backend: Redis) -> None:
    polled = await backend.poll(Poll(take(), force=True))
    assert polled is not None
    assert len(polled.claims) == 10
    await backend.finish([End(claim, State.SUCCEEDED) for claim in polled.claims])


async def finish_and_claim(backend: Redis) -> None:
    claims = (await backend.finish([], take())).claims
    assert len(claims) == 10
    finished = await backend.finish([End(claim, State.FAILED, due=now()) for claim in claims], take())
    await backend.finish([End(claim, State.SUCCEEDED) for claim in finished.claims])


async def cancel_one(backend: Redis) -> None:
    (run_id,) = await defer(backend)
    assert await backend.cancel(run_id=run_id)


async def defer_one(backend: Redis) -> None:
    await defer(backend, job(due=now() + timedelta(seconds=5)))


async def commands(server: Server, verb: Awaitable[object]) -> int:
    """Return how many commands a verb makes."""

    def count() -> int:
        stats: dict[str, dict[str, Any]] = server.do("INFO", "commandstats")
        return sum(int(of["calls"]) for name, of in stats.items() if name not in {"cmdstat_info", "cmdstat_hello"})

    before = await asyncio.to_thread(count)
    await verb
    return await asyncio.to_thread(count) - before


@pytest.mark.parametrize("verb", [poll, finish_and_claim, cancel_one, defer_one])
def test_the_commands_of_a_verb_do_not_grow_with_what_is_stored(
    server: Server, app: str, verb: Callable[[Redis], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            counts = []
            for more in (30, 1500):
                await defer(backend, *(job(key=str(number)) for number in range(more)))
                await defer(backend, *(job(due=now() + timedelta(hours=1)) for _ in range(more)))
                await backend.poll(Poll(take(0), force=True))
                counts.append(await commands(server, verb(backend)))
            assert counts[1] <= counts[0] + 10

    asyncio.run(main())


def test_an_idle_poll_of_many_crons_makes_few_commands(server: Server, app: str) -> None:
    crons = {f"cron-{number}": 1 for number in range(1000)}
    many = Take({"send": None}, crons, Capacity(9, 9, 9), "me", 30.0)

    async def main() -> None:
        async with opened(server.url, app) as backend:
            plans = [Plan(name, None, now(), next=now() + timedelta(hours=1)) for name in crons]
            await backend.poll(Poll(many, plans))

            async def idle() -> None:
                assert await backend.poll(Poll(many, force=True))

            assert await commands(server, idle()) < 15

    asyncio.run(main())


def test_a_poll_records_at_most_a_thousand_expired_jobs(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            past = now() - timedelta(seconds=1)
            await defer(backend, *(job(expires=past) for _ in range(1500)))
            (late,) = await defer(backend)
            first = await backend.poll(Poll(take(), force=True))
            assert first is not None
            assert (len(first.dropped), first.fresh_for, first.left) == (1000, 0, True)
            second = await backend.poll(Poll(take()))
            assert second is not None
            assert (len(second.dropped), second.left) == (500, False)
            assert late in {claim.run_id for claim in (*first.claims, *second.claims)}

    asyncio.run(main())


def test_of_many_polls_at_a_stale_gate_one_does_the_work(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend, opened(server.url, app) as other:
            await defer(backend)
            polls = [one.poll(Poll(take())) for one in (backend, other) for _ in range(20)]
            entered = [polled for polled in await asyncio.gather(*polls) if polled is not None]
            assert [len(polled.claims) for polled in entered] == [1]

    asyncio.run(main())


PAGES = {
    "all": Where(kinds=[Kind.JOB]),
    "of a task": Where(kinds=[Kind.JOB], name="rare"),
    "of a state": Where([State.FAILED], [Kind.JOB]),
    "of a key": Where(kinds=[Kind.JOB], key="7"),
    "of a key of a task": Where([State.PENDING], [Kind.JOB], "send", "7"),
    "of a key that is not there": Where(kinds=[Kind.JOB], key="x"),
    "of a task that is not there": Where(kinds=[Kind.JOB], name="x"),
}


def test_the_commands_of_a_page_do_not_grow_with_what_is_stored(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            await defer(backend, *(job(task="rare") for _ in range(30)))
            costs = []
            for more in (200, 2000):
                await defer(backend, *(job(key=str(number), priority=more) for number in range(more)))
                for claim in await claim_jobs(backend):
                    await end(backend, claim, State.FAILED)
                cost = {}
                for what, where in PAGES.items():
                    cost[what] = await commands(server, backend.runs(where, 51, brief=True))
                    assert len(await backend.runs(where, 51)) <= 51
                costs.append(cost)
            assert all(costs[1][what] <= costs[0][what] + 20 for what in PAGES), costs
            assert all(of < 200 for of in costs[1].values()), costs

    asyncio.run(main())


def test_a_page_reads_little_of_long_arguments(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            await defer(backend, *(job(arguments=f'"{"a" * 200_000}"') for _ in range(60)))
            before = await asyncio.to_thread(sent, server)
            page = await backend.runs(Where(), 50, brief=True)
            assert [len(run.arguments or "") for run in page] == [1000] * 50
            assert await asyncio.to_thread(sent, server) - before < 100_000
            whole = await backend.runs(Where(), 5)
            assert [len(run.arguments or "") for run in whole] == [200_002] * 5

    asyncio.run(main())


def sent(server: Server) -> int:
    """Return how many bytes the server has sent."""
    return int(server.do("INFO", "stats")["total_net_output_bytes"])
