"""A server whose memory is full, and that deletes nothing: it refuses new jobs, and works off what it has."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backends.redis.using import claim, claim_jobs, claim_slot, defer, end, job, now, opened, take
from pseudocron.backends.model import State
from pseudocron.backends.questions import End, Poll, Where
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from redis_server import Server

    from pseudocron.backends.redis.backend import Redis

REFUSED = r"is full \(.*\): give it more memory; nothing is lost$"
MIB = 2**20


def memory(server: Server) -> int:
    """Return how many bytes the server uses."""
    return int(server.do("INFO", "memory")["used_memory"])


async def fill(server: Server) -> None:
    """Let the server be full."""
    await asyncio.to_thread(server.do, "CONFIG", "SET", "maxmemory", 1)


async def defer_until_it_is_full(backend: Redis) -> int:
    """Return how many jobs were stored."""
    stored = 0
    while True:
        try:
            stored += len(await defer(backend, *(job(arguments="a" * 1000) for _ in range(50))))
        except BackendError:
            return stored


async def drain(backend: Redis, output: str) -> int:
    """Execute all jobs; return how many there were."""
    claims = await claim_jobs(backend)
    drained = 0
    while claims:
        drained += len(claims)
        finished = await backend.finish([End(one, State.SUCCEEDED, output=output) for one in claims], take())
        claims = list(finished.claims)
    return drained


def test_a_full_server_refuses_only_new_jobs(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            manual = await claim(backend)
            ids = await defer(backend, *(job() for _ in range(5)))
            going, cancelled, failed = await claim_jobs(backend, 3)
            await fill(server)
            with pytest.raises(BackendError, match=REFUSED):
                await defer(backend)
            assert await asyncio.to_thread(backend.renew, [manual, going], 30) == {manual.run_id, going.run_id}
            assert await end(backend, going, goes_on=True) is State.SUCCEEDED
            await backend.release([going])
            assert await backend.cancel(run_id=ids[3])
            assert not await backend.cancel(run_id=cancelled.run_id)
            assert await end(backend, cancelled, State.FAILED, due=now()) is State.CANCELLED
            assert await end(backend, failed, State.FAILED) is State.FAILED
            assert await backend.retry(failed.run_id)
            assert {one.run_id for one in await claim_jobs(backend)} == {ids[4], failed.run_id}
            await claim(backend)
            await claim_slot(backend)
            await backend.reset("mail", now())
            await backend.pause("other", paused=True)
            assert (await backend.states(["other"])).crons["other"].paused
            assert await backend.poll(Poll(take(), force=True))
            assert await backend.purge(dict.fromkeys(State, timedelta(seconds=-1))) == 3
        async with opened(server.url, app) as backend:  # and it can be opened
            assert await end(backend, manual) is State.SUCCEEDED

    asyncio.run(main())


def test_what_runs_write_is_not_kept_by_a_full_server(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            await defer(backend, job(), job())
            first, second = await claim_jobs(backend)
            await end(backend, first, State.FAILED, due=now(), error="Traceback\nValueError: one", output="much")
            await fill(server)
            (again,) = await claim_jobs(backend)
            for one in (again, second):
                await end(backend, one, State.FAILED, error="Traceback\nValueError: two", output="much")
            for run in await backend.runs(Where()):
                assert run.state is State.FAILED
                assert (run.error, run.output) == ("ValueError: two", "(not kept: the server was full)")

    asyncio.run(main())


def test_a_server_that_jobs_have_filled_works_them_off(server: Server, app: str) -> None:
    used = memory(server)
    server.do("CONFIG", "SET", "maxmemory", used + 3 * MIB)

    async def main() -> int:
        async with opened(server.url, app) as backend:
            await backend.poll(Poll(take()))
            stored = await defer_until_it_is_full(backend)
            assert await drain(backend, "o" * 20_000) == stored
            most = await asyncio.to_thread(memory, server)
            assert await backend.purge(dict.fromkeys(State, timedelta(seconds=-1)), stored) == stored
            await defer(backend)
        return most - used

    assert asyncio.run(main()) < 5 * MIB
