"""A large call of defer is stored in parts: the server is not held up, and all of it is stored or nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis_server import shared

from backends.redis.using import claim_jobs, defer, end, job, now, opened, take
from pseudocron.backends.model import Conflict, State
from pseudocron.backends.questions import Poll, Where
from pseudocron.backends.redis.batches import JOBS_AT_ONCE
from pseudocron.errors import BackendAwayError, BackendError, JobConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis_server import Server

    from pseudocron.backends.questions import NewJob
    from pseudocron.backends.redis.backend import Redis

MANY = 2 * JOBS_AT_ONCE + 10
RAISE, KEEP = Conflict.RAISE, Conflict.KEEP


class EndedError(Exception):
    """The process ends here."""


def before(backend: Redis, verb: str, act: Callable[[], Any], number: int = 1) -> None:
    """Let something happen before the process asks for a verb for the nth time."""
    call, times = backend._call, 0

    async def called(asked: str, *targets: Any, **arguments: Any) -> Any:
        nonlocal times
        times += asked == verb
        if asked == verb and times == number and (done := act()) is not None:
            await done
        return await call(asked, *targets, **arguments)

    backend._call = called  # type: ignore[method-assign, assignment]


def stop() -> None:
    raise EndedError


async def pending(backend: Redis) -> list[str]:
    return [run.run_id for run in await backend.runs(Where([State.PENDING]), 10_000)]


def left(app: str) -> list[str]:
    """Return the keys of the server that only a large call has."""
    return [key for key in shared().do("KEYS", f"{{{app}}}:*") if "batch" in key]


def jobs(**options: Any) -> list[NewJob]:
    return [job(**options) for _ in range(MANY)]


def test_they_are_stored_in_their_order_and_leave_nothing_behind(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            await backend.poll(Poll(take()))
            many = jobs()
            assert await backend.defer(many) == [one.run_id for one in many]
            assert await pending(backend) == [one.run_id for one in reversed(many)]
            assert await backend.stale_in() == 0
            assert [one.run_id for one in await claim_jobs(backend, 5)] == [one.run_id for one in many[:5]]
            assert await backend.stale_in() == 0, "there are more"
        assert not await asyncio.to_thread(left, app)

    asyncio.run(main())


def test_a_thread_stores_as_many(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            many = jobs(arguments="a" * 2000)
            assert await asyncio.to_thread(backend.defer_blocking, many) == [one.run_id for one in many]
            assert len(await pending(backend)) == MANY

    asyncio.run(main())


def test_what_is_stored_already_is_not_stored_again(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            many = jobs()
            await backend.defer(many[50:150])
            (claimed,) = await claim_jobs(backend, 1)
            await end(backend, claimed)
            for _ in range(2):
                assert await backend.defer(many) == [one.run_id for one in many]
            assert len(await pending(backend)) == MANY - 1

    asyncio.run(main())


@pytest.mark.parametrize("verb", ["stage", "accept"])
def test_of_a_process_that_ends_before_they_are_accepted_none_is_stored(app: str, verb: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            before(backend, verb, stop, 2 if verb == "stage" else 1)
            with pytest.raises(EndedError):
                await backend.defer(conflicting("last"))
        async with opened(shared().url, app) as backend:
            assert await backend.poll(Poll(take()))
            assert await pending(backend) == []
            (key,) = await asyncio.to_thread(left, app)
            assert 50 < await asyncio.to_thread(shared().do, "TTL", key) <= 60
            await defer(backend, job(key="7", on_conflict=RAISE))

    asyncio.run(main())


def test_of_a_process_that_ends_later_all_are_stored_by_the_polls_of_others(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            await backend.poll(Poll(take()))
            before(backend, "store", stop, 2)
            with pytest.raises(EndedError):
                await backend.defer(jobs())
        async with opened(shared().url, app) as backend:
            async with asyncio.timeout(1.5):  # it is gone if it has done nothing for a second
                while len(await pending(backend)) < MANY:
                    assert await backend.stale_in() == 0
                    assert await backend.poll(Poll(take(0)))
                    await asyncio.sleep(0.05)
            await backend.poll(Poll(take(0), force=True))
        assert not await asyncio.to_thread(left, app)

    asyncio.run(main())


def conflicting(taken: str) -> list[NewJob]:
    """The last of many has a key that is taken."""
    many = [job(key=str(number), on_conflict=RAISE) for number in range(MANY)]
    return [*many, job(key=taken, on_conflict=RAISE)]


def test_a_key_that_is_taken_refuses_all_of_them(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            (holder,) = await defer(backend, job(key="taken"))
            many = conflicting("taken")
            with pytest.raises(JobConflictError, match=f"key 'taken' is taken by pending job '{holder}'"):
                await backend.defer(many)
            within = conflicting("7")
            with pytest.raises(JobConflictError, match=f"key '7' is taken by pending job '{within[7].run_id}'"):
                await backend.defer(within)
            assert await pending(backend) == [holder]
            assert await backend.defer(many[:-1]) == [one.run_id for one in many[:-1]]
        assert not await asyncio.to_thread(left, app)
        assert len(await asyncio.to_thread(shared().do, "HKEYS", f"{{{app}}}:keys")) == MANY + 1

    asyncio.run(main())


@pytest.mark.parametrize("others", [Conflict.REPLACE, RAISE, KEEP])
def test_another_that_takes_a_key_in_between_comes_first(app: str, others: Conflict) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend, opened(shared().url, app) as other:
            newcomer = job(key="7", on_conflict=others)
            before(backend, "accept", lambda: other.defer([newcomer]))
            with pytest.raises(JobConflictError, match=newcomer.run_id):
                await backend.defer(conflicting("last"))
            assert await pending(backend) == [newcomer.run_id]

    asyncio.run(main())


def test_a_key_is_taken_as_soon_as_they_are_accepted(app: str) -> None:
    many = conflicting("last")

    async def others(other: Redis) -> None:
        with pytest.raises(JobConflictError, match=many[-1].run_id):
            await other.defer([job(key="last", on_conflict=RAISE)])
        assert await other.defer([job(key="last", on_conflict=KEEP)]) == [many[-1].run_id]

    async def main() -> None:
        async with opened(shared().url, app) as backend, opened(shared().url, app) as other:
            before(backend, "store", lambda: others(other))
            await backend.defer(many)
            assert len(await pending(backend)) == len(many)

    asyncio.run(main())


def test_a_pending_job_stands_for_one_that_would_keep_it(app: str) -> None:
    async def main() -> Sequence[str]:
        async with opened(shared().url, app) as backend:
            (holder,) = await defer(backend, job(key="taken"))
            many = jobs()
            many[150] = job(key="taken", on_conflict=KEEP)
            expected = [one.run_id for one in many]
            expected[150] = holder
            assert await backend.defer(many) == expected
            assert len(await pending(backend)) == MANY
            return await asyncio.to_thread(left, app)

    (key,) = asyncio.run(main())
    assert 50 < shared().do("TTL", key) <= 60


def test_the_newer_of_two_of_one_call_replaces_the_older(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            many = jobs(key="k")
            await backend.defer(many)
            assert await pending(backend) == [many[-1].run_id]
            assert len(await backend.runs(Where([State.REPLACED]), 10_000)) == MANY - 1

    asyncio.run(main())


def test_a_full_server_stores_none_of_them(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            fill = lambda: asyncio.to_thread(server.do, "CONFIG", "SET", "maxmemory", 1)  # noqa: E731
            before(backend, "stage", fill, 3)
            with pytest.raises(BackendError, match=r"is full .* nothing is stored$"):
                await backend.defer(jobs())
            assert await pending(backend) == []
            assert not await asyncio.to_thread(server.do, "KEYS", f"{{{app}}}:batch*")
            await asyncio.to_thread(server.do, "CONFIG", "SET", "maxmemory", 0)
            backend._call = type(backend)._call.__get__(backend)  # type: ignore[method-assign]
            before(backend, "accept", fill)
            await backend.defer(jobs())
            assert len(await pending(backend)) == MANY

    asyncio.run(main())


def test_an_answer_that_does_not_come_leaves_it_open(server: Server, app: str) -> None:
    async def main() -> None:
        async with opened(server.url, app) as backend:
            call, ask = backend._connection.call, backend._connection.ask
            silence = BackendAwayError("Redis does not answer within 5 s")

            async def lose(verb: str, *targets: Any, **arguments: Any) -> Any:
                await call(verb, *targets, **arguments)
                raise silence

            def lose_one_of_many(verb: str, answered: Any, **arguments: Any) -> None:
                ask(verb, lambda _: answered(silence), **arguments)

            backend._connection.call = lose  # type: ignore[method-assign]
            backend._connection.ask = lose_one_of_many  # type: ignore[method-assign]
            for one in (job(), job(key="k", on_conflict=Conflict.RAISE)):
                told = f"whether job {one.run_id} is stored is not known: 'pseudocron jobs show {one.run_id}' tells"
                with pytest.raises(BackendAwayError, match=told):
                    await backend.defer([one])

    asyncio.run(main())


def test_no_script_of_it_takes_long(server: Server, app: str) -> None:
    server.do("CONFIG", "SET", "slowlog-log-slower-than", 10_000)
    server.do("CONFIG", "SET", "slowlog-max-len", 1000)

    async def main() -> None:
        async with opened(server.url, app) as backend:
            await defer(backend, *(job(arguments="a" * 200, due=now() + timedelta(hours=1)) for _ in range(5_000)))
            await defer(backend, *(job(arguments="a" * 20_000, key=str(number)) for number in range(500)))

    asyncio.run(main())
    assert len(server.do("SLOWLOG", "GET", 1000)) <= 2, "the machine may pause"
