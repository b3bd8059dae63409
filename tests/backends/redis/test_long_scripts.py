"""No script takes longer than ten milliseconds, whatever is stored; with LONG=1 beside a million jobs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import LONG

from backends.redis.using import defer, job, made, now
from pseudocron.backends.model import Kind, Reason, Skip, State
from pseudocron.backends.questions import Capacity, End, Plan, Poll, Polled, Take, Where
from pseudocron.backends.redis.codec import micros

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis_server import Server


JOBS, CRONS = (1_000_000, 10_000) if LONG else (5_000, 1_000)
AT_MOST = 0.010
"""Seconds."""

TRIES, PAUSES = 3, 0.02
"""How often all is done again, and in which part of the scripts the machine may pause."""


class Application:
    """An application with many crons and jobs, each of whose verbs is asked as a process asks it."""

    def __init__(self, url: str, app: str) -> None:
        self.later = 0
        self.backend = made(url, app, clock=lambda: micros(now()) + self.later)
        self.crons = {f"cron-{number}": 1 for number in range(CRONS)}
        self.next = now() + timedelta(hours=1)

    def take(self, capacity: int) -> Take:
        tasks: dict[str, int | None] = {"send": None, "often": 5}
        return Take(tasks, self.crons, Capacity(*[capacity] * 3), "me", 30.0)

    async def poll(self, plans: list[Plan], capacity: int = 0) -> Polled:
        polled = await self.backend.poll(Poll(self.take(capacity), plans, force=True))
        assert polled is not None
        return polled

    async def plans(self, **options: Any) -> list[Plan]:
        states = (await self.backend.states(list(self.crons))).crons
        return [
            Plan(name, state.mark, state.since or now() - timedelta(days=1), next=self.next, schedule="s", **options)
            for name, state in states.items()
        ]

    async def fill(self, jobs: int) -> None:
        """Store jobs, with short arguments and long ones."""
        for start in range(0, jobs, 5_000):
            arguments = '{"text": "' + "a" * (start // 100 % 300) + '"}'
            await defer(self.backend, *(job(arguments=arguments, priority=n % 3) for n in range(5_000)))

    async def name(self) -> None:
        assert not (await self.poll([])).claims

    async def name_others(self) -> None:
        self.crons = {f"other-{number}": 1 for number in range(CRONS)}
        await self.poll([])

    async def plan(self) -> None:
        assert not (await self.poll(await self.plans())).outdated

    async def skip(self) -> None:
        await self.poll(await self.plans(skips=[Skip("", now(), Reason.MISFIRE)]))

    async def claim_slots(self) -> None:
        polled = await self.poll(await self.plans(slots=[now()]), CRONS)
        assert len(polled.claims) == CRONS
        await self.backend.finish([End(claim, State.FAILED, error="E" * 1000) for claim in polled.claims])

    async def find_outdated(self) -> None:
        await self.poll([plan._replace(next=now()) for plan in await self.plans()])
        assert len((await self.poll([])).outdated) == min(CRONS, 100)

    async def claim_jobs(self) -> None:
        polled = await self.poll([], 250)
        claims, ended = list(polled.claims), 0
        while claims and ended < JOBS // 10:
            ends = [End(claim, State.SUCCEEDED, output="o" * 100) for claim in claims]
            claims = list((await self.backend.finish(ends, self.take(250))).claims)
            ended += len(ends)
        await self.backend.finish([End(claim, State.FAILED) for claim in claims])

    async def lose(self) -> None:
        assert len((await self.poll([], 300)).claims) == 300
        self.later += 60_000_000
        assert len((await self.poll([])).lost) == 300

    async def expire(self) -> None:
        await defer(self.backend, *(job(task="often", expires=now()) for _ in range(1000)))
        assert len((await self.poll([])).dropped) >= 900

    async def purge(self) -> None:
        assert await self.backend.purge(dict.fromkeys(State, timedelta(seconds=-1)), 1000) > 0

    async def read(self) -> None:
        wheres = [Where(), Where(name="send"), Where(key="none"), Where([State.FAILED]), Where(kinds=[Kind.MANUAL])]
        for where in wheres:
            await self.backend.runs(where, 51, brief=True)
        await self.backend.runs(Where(), 200)
        await self.backend.timelines()
        await self.backend.timelines(["cron-1"])
        await self.backend.counts()
        await self.backend.waiting()

    async def cancel(self) -> None:
        (run_id,) = await defer(self.backend, job(key="k"))
        assert await self.backend.cancel(run_id=run_id)


STORY: list[Callable[[Application], Awaitable[None]]] = [
    Application.name,
    Application.plan,
    Application.skip,
    Application.claim_slots,
    Application.find_outdated,
    Application.claim_jobs,
    Application.lose,
    Application.expire,
    Application.purge,
    Application.read,
    Application.cancel,
    Application.name_others,
]


class Watch:
    """The slow scripts of a server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.calls = 0
        server.do("CONFIG", "SET", "slowlog-log-slower-than", round(AT_MOST * 1_000_000))
        server.do("CONFIG", "SET", "slowlog-max-len", 10_000)

    def slow(self) -> list[str]:
        """Return those since it was asked last, if they are more than what the machine may have paused in."""
        calls = sum(of["calls"] for name, of in self.server.do("INFO", "commandstats").items() if "eval" in name)
        of, self.calls = calls - self.calls, calls
        entries = self.server.do("SLOWLOG", "GET", 10_000)
        self.server.do("SLOWLOG", "RESET")
        slow = [f"{words[4]}: {micros / 1000:.1f} ms" for _, _, micros, words, *_ in entries if "EVAL" in words[0]]
        return slow if len(slow) > of * PAUSES else []


async def tell(watch: Watch, app: str, jobs: int) -> dict[str, list[str]]:
    """Return the slow scripts of each act."""
    one = Application(watch.server.url, app)
    await one.backend.open()
    await one.fill(jobs)
    found = {"fill": await asyncio.to_thread(watch.slow)}
    for act in STORY:
        await act(one)
        found[act.__name__] = await asyncio.to_thread(watch.slow)
    await one.backend.close()
    return {act: scripts for act, scripts in found.items() if scripts}


@pytest.mark.alone
@pytest.mark.timeout(900 if LONG else 60)
def test_no_script_takes_longer_than_ten_milliseconds(server: Server, app: str) -> None:
    watch = Watch(server)
    found = asyncio.run(tell(watch, app, JOBS))
    for number in range(TRIES if not LONG else 0):
        if not found:
            break
        again = asyncio.run(tell(watch, f"{app}-{number}", JOBS))
        found = {act: scripts for act, scripts in found.items() if act in again}
    assert not found
