"""A call whose reply was lost is repeated, and answered the same: what it did is done once, and not lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis as Client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis_server import shared

from backends.redis.proxy import Proxy
from backends.redis.using import claim, claim_jobs, claim_slot, defer, end, job, now, opened, take
from pseudocron.backends.model import Reason, Skip, State
from pseudocron.backends.questions import Claim, End, Manual, Plan, Poll, Refusal, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from pseudocron.backends.redis.backend import Redis


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(shared().port) as made:
        yield made


def by_url(proxy: Proxy) -> Any:
    return proxy.url


def by_a_client_that_repeats_nothing(proxy: Proxy) -> Any:
    return lambda: Client(port=proxy.front, retry=Retry(NoBackoff(), 0))


async def of_start(backend: Redis, lose: Callable[[], None]) -> None:
    lose()
    claimed = await backend.start(Manual("mail", "me", 30.0))
    assert isinstance(claimed, Claim)
    assert await backend.start(Manual("mail", "me", 30.0)) is Refusal.OVERLAP
    assert await end(backend, claimed) is State.SUCCEEDED
    assert (await backend.states(["mail"])).crons["mail"].claims == 1


async def of_poll_that_claims_a_slot(backend: Redis, lose: Callable[[], None]) -> None:
    slot = now() - timedelta(seconds=1)
    lose()
    polled = await backend.poll(Poll(take(), [Plan("mail", None, slot - timedelta(days=1), [slot])]))
    assert polled is not None
    (claimed,) = polled.claims
    assert (claimed.slot, polled.outdated) == (slot, {})
    assert await end(backend, claimed) is State.SUCCEEDED


async def of_poll_that_claims_jobs(backend: Redis, lose: Callable[[], None]) -> None:
    ids = await defer(backend, job(), job(), job())
    lose()
    assert [one.run_id for one in await claim_jobs(backend, 2)] == ids[:2]
    assert [one.run_id for one in await claim_jobs(backend)] == ids[2:]


async def of_poll_that_skips(backend: Redis, lose: Callable[[], None]) -> None:
    skip = Skip("mail", now(), Reason.MISFIRE, slots=3)
    lose()
    polled = await backend.poll(Poll(take(), [Plan("mail", None, now() - timedelta(days=1), skips=[skip])]))
    assert polled is not None
    assert not polled.outdated
    assert (await backend.states(["mail"])).crons["mail"].missed == 3


async def of_poll_that_finds_a_lost_run(backend: Redis, lose: Callable[[], None]) -> None:
    claimed = await backend.start(Manual("mail", "me", 0.0, 9))
    assert isinstance(claimed, Claim)
    lose()
    polled = await backend.poll(Poll(take(), force=True))
    assert polled is not None
    assert [(run.run_id, run.state) for run in polled.lost] == [(claimed.run_id, State.LOST)]


async def of_finish(backend: Redis, lose: Callable[[], None]) -> None:
    claimed = await claim(backend)
    lose()
    assert await end(backend, claimed, State.FAILED) is State.FAILED
    assert await end(backend, claimed) is None
    assert (await backend.states(["mail"])).crons["mail"].failures == 1


async def of_finish_that_claims(backend: Redis, lose: Callable[[], None]) -> None:
    ids = await defer(backend, job(), job())
    (claimed,) = await claim_jobs(backend, 1)
    lose()
    finished = await backend.finish([End(claimed, State.SUCCEEDED)], take())
    assert [one.run_id for one in finished.claims] == ids[1:]


async def of_defer(backend: Redis, lose: Callable[[], None]) -> None:
    older = await defer(backend, job(key="k"))
    lose()
    newer = await defer(backend, job(key="k"), job())
    runs = await backend.runs(Where())
    assert [one.state for one in runs] == [State.PENDING, State.PENDING, State.REPLACED]
    assert [one.run_id for one in runs] == [*reversed(newer), *older]


async def of_cancel(backend: Redis, lose: Callable[[], None]) -> None:
    (run_id,) = await defer(backend)
    lose()
    assert await backend.cancel(run_id=run_id)
    assert not await backend.cancel(run_id=run_id)


async def of_retry(backend: Redis, lose: Callable[[], None]) -> None:
    await defer(backend)
    (claimed,) = await claim_jobs(backend)
    await end(backend, claimed, State.FAILED)
    lose()
    assert await backend.retry(claimed.run_id)
    assert not await backend.retry(claimed.run_id)


HOUR = timedelta(hours=1)

STORIES: dict[str, Callable[[Redis, Callable[[], None]], Coroutine[Any, Any, None]]] = {
    story.__name__.removeprefix("of_"): story
    for story in (
        of_start,
        of_poll_that_claims_a_slot,
        of_poll_that_claims_jobs,
        of_poll_that_skips,
        of_poll_that_finds_a_lost_run,
        of_finish,
        of_finish_that_claims,
        of_defer,
        of_cancel,
        of_retry,
    )
}


@pytest.mark.parametrize("client", [by_url, by_a_client_that_repeats_nothing])
@pytest.mark.parametrize("story", STORIES)
def test_a_lost_reply_is_given_again(proxy: Proxy, app: str, story: str, client: Callable[[Proxy], Any]) -> None:
    async def main() -> None:
        async with opened(client(proxy), app) as backend:
            await STORIES[story](backend, lambda: proxy.lose_the_reply_to(story.partition("_")[0]))

    asyncio.run(main())
    assert proxy.lost == 1


def answers(app: str) -> list[str]:
    """Return the answers that the server keeps."""
    keys = shared().do("KEYS", f"{{{app}}}:answer:*")
    for key in keys:
        assert 9_000 < shared().do("PTTL", key) <= 10_000
    return [shared().do("GET", key) for key in keys]


def test_a_reply_is_kept_for_ten_seconds_without_what_may_be_long(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            claimed = await claim_slot(backend)
            await defer(backend, job(arguments="long arguments"), job(arguments="long arguments"))
            (one, other) = await claim_jobs(backend)
            assert one.arguments == other.arguments == "long arguments"
            await end(backend, claimed, State.FAILED, output="long text", error="long error", due=now())
            await end(backend, one, State.FAILED, output="long text", error="long error", due=now())
            polled = await backend.poll(Poll(take(), [await _later(backend)], force=True))
            assert polled is not None
            assert [run.error for run in polled.dropped] == ["long error"]
            kept = await asyncio.to_thread(answers, app)
            assert len(kept) == 5
            assert not [text for text in kept if "long" in text]

    async def _later(backend: Redis) -> Plan:
        state = (await backend.states(["mail"])).crons["mail"]
        assert state.since is not None
        return Plan("mail", state.mark, state.since, [now()])

    asyncio.run(main())


def test_what_can_be_asked_again_keeps_no_answer(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            assert await backend.poll(Poll(take()))
            assert await backend.poll(Poll(take())) is None
            (run_id,) = await defer(backend)
            await asyncio.gather(backend.stale_in(), backend.states(["mail"]), backend.run(run_id))
            await asyncio.gather(backend.runs(Where()), backend.timelines(), backend.counts(), backend.waiting())
            await backend.purge({State.FAILED: HOUR})
            assert not await asyncio.to_thread(answers, app)

    asyncio.run(main())
