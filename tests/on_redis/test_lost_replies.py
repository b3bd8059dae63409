"""A call whose reply was lost is repeated, and told the same: what it did is done once, and not lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis_server import shared

from harness.redis_proxy import Proxy
from on_redis.using import claim, claim_jobs, defer, job, now, opened, propose
from pseudocron.backends.jobs import JobEnd, State
from pseudocron.backends.records import Outcome, Refusal, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from pseudocron.backends.base import Backend


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(shared().port) as made:
        yield made


def by_url(proxy: Proxy) -> Any:
    return proxy.url


def by_a_client_that_repeats_nothing(proxy: Proxy) -> Any:
    return lambda: Redis(port=proxy.front, retry=Retry(NoBackoff(), 0))


async def of_claim(backend: Backend, lose: Callable[[], None]) -> None:
    lose()
    granted = await claim(backend, now() - timedelta(seconds=1))
    assert [run.run_id for run in await backend.history("mail")] == [granted.run_id]
    assert await propose(backend, granted.slot) is Refusal.TAKEN
    assert await backend.finish(granted, Result(outcome=Outcome.SUCCEEDED))


async def of_claim_jobs(backend: Backend, lose: Callable[[], None]) -> None:
    ids = await defer(backend, job(), job(), job())
    lose()
    assert [one.job_id for one in await claim_jobs(backend, 2)] == ids[:2]
    assert [one.job_id for one in await claim_jobs(backend)] == ids[2:]


async def of_finish(backend: Backend, lose: Callable[[], None]) -> None:
    granted = await claim(backend)
    lose()
    assert await backend.finish(granted, Result(outcome=Outcome.FAILED))
    assert not await backend.finish(granted, Result(outcome=Outcome.SUCCEEDED))
    assert (await backend.states({"mail": now()}))["mail"].failures == 1


async def of_finish_jobs(backend: Backend, lose: Callable[[], None]) -> None:
    await defer(backend)
    (claimed,) = await claim_jobs(backend)
    lose()
    end = JobEnd(state=State.SUCCEEDED)
    assert await backend.finish_jobs([(claimed, end)]) == [State.SUCCEEDED]
    assert await backend.finish_jobs([(claimed, end)]) == [None]


async def of_enter(backend: Backend, lose: Callable[[], None]) -> None:
    lose()
    assert await backend.enter(60)
    assert not await backend.enter(60)


async def of_defer(backend: Backend, lose: Callable[[], None]) -> None:
    older = await defer(backend, job(key="k"))
    lose()
    newer = await defer(backend, job(key="k"), job())
    assert [one.state for one in await backend.jobs()] == [State.PENDING, State.PENDING, State.REPLACED]
    assert [one.job_id for one in await backend.jobs()] == [*reversed(newer), *older]


async def of_cancel(backend: Backend, lose: Callable[[], None]) -> None:
    (job_id,) = await defer(backend)
    lose()
    assert await backend.cancel(job_id=job_id)
    assert not await backend.cancel(job_id=job_id)


async def of_skip(backend: Backend, lose: Callable[[], None]) -> None:
    from pseudocron.backends.records import Reason, Skip

    lose()
    await backend.skip([Skip(name="mail", slot=now(), reason=Reason.MISFIRE, slots=3)])
    assert (await backend.states({"mail": now()}))["mail"].missed == 3


VERBS = {
    "claim": of_claim,
    "claim_jobs": of_claim_jobs,
    "finish": of_finish,
    "finish_jobs": of_finish_jobs,
    "enter": of_enter,
    "defer": of_defer,
    "cancel": of_cancel,
    "skip": of_skip,
}


@pytest.mark.parametrize("client", [by_url, by_a_client_that_repeats_nothing])
@pytest.mark.parametrize("verb", VERBS)
def test_what_a_lost_reply_told_is_told_again(
    proxy: Proxy, app: str, verb: str, client: Callable[[Proxy], Any]
) -> None:
    story: Callable[[Backend, Callable[[], None]], Coroutine[Any, Any, None]] = VERBS[verb]

    async def main() -> None:
        async with opened(client(proxy), app) as backend:
            await story(backend, lambda: proxy.lose_the_reply_to(verb))

    asyncio.run(main())
    assert proxy.lost == 1


def test_a_reply_is_remembered_for_ten_seconds(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            await backend.enter(60)
            (said,) = await asyncio.to_thread(shared().do, "KEYS", f"{{{app}}}:said:*")
            assert 9_000 < await asyncio.to_thread(shared().do, "PTTL", said) <= 10_000

    asyncio.run(main())
