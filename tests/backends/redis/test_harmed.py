"""What is gone or harmed on a server stops nothing else: it is dropped or set aside, and told by its id."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from redis_server import shared

from backends.redis.using import claim, claim_jobs, claim_slot, defer, end, job, now, opened, take
from pseudocron.backends.model import Reason, Run, Skip, State
from pseudocron.backends.questions import Capacity, Claim, Manual, Plan, Poll, Refusal, Take, Where
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from pseudocron.backends.redis.backend import Redis

GONE, ODD = "is no longer in the store: dropped", "can't be read: set aside as failed"
AGES = dict.fromkeys(State, timedelta(seconds=-1))
HARMS = {
    "gone": ("DEL", ()),
    "of another type": ("SET", ("text",)),
    "without a due time": ("HDEL", ("due",)),
    "without a place": ("HDEL", ("place",)),
    "an odd state": ("HSET", ("state", "soon")),
    "an odd kind": ("HSET", ("kind", "[[")),
    "an odd fence": ("HSET", ("fence", "1e999")),
    "a date in the year 10000": ("HSET", ("expires", "253402300800000000")),
    "an odd creation": ("HSET", ("created", "yesterday")),
}


async def harm(app: str, key: str, command: str, *words: str | int) -> None:
    if command == "SET":
        await asyncio.to_thread(shared().do, "DEL", f"{{{app}}}:{key}")
    await asyncio.to_thread(shared().do, command, f"{{{app}}}:{key}", *words)


async def poll(backend: Redis, limit: int | None = None) -> None:
    """Poll for a task and a cron with a limit."""
    asked = Take({"send": limit}, {"mail": 1}, Capacity(10, 10, 10), "me", 30.0)
    assert await backend.poll(Poll(asked, force=True)) is not None


@pytest.mark.parametrize("of", HARMS)
def test_a_pending_job_that_is_harmed_stops_no_other(app: str, caplog: pytest.LogCaptureFixture, of: str) -> None:
    command, words = HARMS[of]

    async def main() -> None:
        async with opened(shared().url, app) as backend:
            before, bad, after = await defer(backend, job(), job(key="k"), job())
            await harm(app, f"run:{bad}", command, *words)
            assert [one.run_id for one in await claim_jobs(backend)] == [before, after]
            run = await backend.run(bad)
            if of == "gone":
                assert run is None
            else:
                assert run is not None
                assert (run.state, run.name, run.reason) == (State.FAILED, "send", "its record could not be read")
            assert f"run {bad} of send {GONE if of == 'gone' else ODD}" in caplog.text
            caplog.clear()
            assert await backend.stale_in() > 0
            await poll(backend)
            assert not caplog.messages
            assert bad not in {one.run_id for one in await backend.runs(Where([State.PENDING, State.RUNNING]))}
            assert await backend.purge(AGES) == (of != "gone")

    asyncio.run(main())


@pytest.mark.parametrize("field", ["name", "arguments", "kind", "key", "expires"])
def test_bytes_that_are_no_text_spoil_no_other_job(app: str, field: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            before, bad, after = await defer(backend, job(), job(key="k", expires=now() + timedelta(hours=1)), job())
            await asyncio.to_thread(shared().do, "HSET", f"{{{app}}}:run:{bad}", field, b"\xff\xfe")
            listed = {one.run_id for one in await backend.runs(Where([State.PENDING]))}
            assert {before, after} <= listed
            assert {before, after} <= {one.run_id for one in await claim_jobs(backend)}

    asyncio.run(main())


@pytest.mark.parametrize("of", HARMS)
def test_a_living_run_that_is_harmed_is_no_longer_in_the_way(
    app: str, caplog: pytest.LogCaptureFixture, of: str
) -> None:
    command, words = HARMS[of]

    async def main() -> None:
        async with opened(shared().url, app) as backend:
            await defer(backend, job(key="k"))
            (bad,) = await claim_jobs(backend)
            slot = await claim_slot(backend)
            for one in (bad, slot):
                await harm(app, f"run:{one.run_id}", command, *words)
                assert await end(backend, one) is None
                await harm(app, "leases", "ZADD", 1, await lease_of(app, one.run_id))
            (next_one,) = await defer(backend, job(key="k"))
            await poll(backend)
            assert caplog.text.count(GONE if of == "gone" else ODD) == 2
            assert isinstance(await backend.start(Manual("mail", "me", 30.0)), Claim)
            await defer(backend, job(key="k", run_id=next_one))
            assert (await backend.run(next_one) or run_of_nothing).state is State.RUNNING
            assert (await backend.states(["mail"])).crons["mail"].running == 1

    asyncio.run(main())


run_of_nothing = Run("", "job", "", "pending", now(), now())  # type: ignore[arg-type]


async def lease_of(app: str, run_id: str) -> str:
    leases: list[str] = await asyncio.to_thread(shared().do, "ZRANGE", f"{{{app}}}:leases", 0, -1)
    (member,) = (one for one in leases if one.startswith(run_id))
    return member


def test_a_living_run_whose_lease_is_gone_gets_another(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            await claim(backend)
            await harm(app, "leases", "DEL")
            slot = now()
            state = (await backend.states(["mail"])).crons["mail"]
            plan = Plan("mail", state.mark, state.since or slot - timedelta(days=1), [slot])
            polled = await backend.poll(Poll(Take({}, {"mail": 1}, Capacity(9, 9, 9), "me", 30.0), [plan], force=True))
            assert polled is not None
            assert [one.why for one in polled.refused] == [Refusal.OVERLAP]
            assert 25 < polled.fresh_for <= 30
            await defer(backend)
            await poll(backend, limit=1)
            await defer(backend)
            await harm(app, "leases", "DEL")
            await poll(backend, limit=2)
            assert await asyncio.to_thread(shared().do, "ZCARD", f"{{{app}}}:leases") == 3

    asyncio.run(main())


def test_records_that_are_gone_keep_no_purge_and_no_history_from_going_on(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app, keep=2) as backend:
            ids = await defer(backend, *(job() for _ in range(5)))
            for one in await claim_jobs(backend):
                await end(backend, one)
            for run_id in ids[:4]:
                await harm(app, f"run:{run_id}", "DEL")
            assert await backend.purge(AGES, 1) == 0
            assert sum([await backend.purge(AGES, 1) for _ in range(5)]) == 1
            for _ in range(2):
                one = await claim(backend)
                await end(backend, one)
                await harm(app, f"run:{one.run_id}", "DEL")
            for _ in range(3):
                await end(backend, await claim(backend))
            assert len((await backend.timelines(["mail"]))["mail"]) == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("key", "field"),
    [("cron:mail", field) for field in ("mark", "since", "fence", "claims", "failures", "missed", "replaced", "next")]
    + [("gate", field) for field in ("stale", "polled", "times", "takeovers", "named_at", "oldest", "batches")],
)
@pytest.mark.parametrize("value", ["soon", "9" * 30, "[["])
def test_a_harmed_cron_or_gate_goes_on(app: str, key: str, field: str, value: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            first = await claim_slot(backend)
            await harm(app, key, "HSET", field, value)
            assert await end(backend, first, State.FAILED) is State.FAILED
            second = await claim_slot(backend, now())
            assert second.fence > 0
            state = (await backend.states(["mail"])).crons["mail"]
            skip = Skip("mail", now(), Reason.MISFIRE)
            since = state.since or now()
            plan = Plan("mail", state.mark, since, skips=[skip], schedule="new", replaces="", counts_from=since)
            polled = await backend.poll(Poll(take(), [plan], force=True))
            assert polled is not None
            assert not polled.outdated
            await backend.timelines()

    asyncio.run(main())


@pytest.mark.parametrize("key", ["ready:t:send", "scheduled:t:send", "expires:t:send", "leases", "due", "next", "used"])
@pytest.mark.parametrize("member", ["x", "", "\0", "1" * 100])
def test_a_strange_member_of_an_index_stops_nothing(app: str, key: str, member: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            await defer(backend, job(due=now() - timedelta(seconds=1)))
            await harm(app, key, "ZADD", 1, member)
            for _ in range(2):
                await poll(backend)
            assert len(await backend.runs(Where([State.RUNNING]))) == 1

    asyncio.run(main())


def test_a_counter_that_is_harmed_begins_above_all_it_has_counted(app: str) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            first = await defer(backend)
            await harm(app, "places", "SET", "soon")
            ids = [*first, *await defer(backend, job(), job())]
            assert [one.run_id for one in await backend.runs(Where())] == ids[::-1]
            assert [one.run_id for one in await claim_jobs(backend)] == ids

    asyncio.run(main())


def test_a_record_that_can_not_be_read_is_left_out_of_lists(app: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with opened(shared().url, app) as backend:
            bad, good = await defer(backend, job(), job())
            await harm(app, f"run:{bad}", "HSET", "created", "yesterday")
            assert [one.run_id for one in await backend.runs(Where())] == [good]
            assert f"run {bad} is left out" in caplog.text

    asyncio.run(main())


@pytest.mark.parametrize("field", ["due", "expires"])
def test_an_instant_that_can_not_be_kept_exactly_is_refused(app: str, field: str) -> None:
    latest = datetime(2254, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

    async def main() -> None:
        async with opened(shared().url, app) as backend:
            late = job(**{field: datetime.max.replace(tzinfo=UTC)})
            with pytest.raises(BackendError, match=rf"^send: {field} 9999-12-31 is after 2254, .*: must be earlier$"):
                await backend.defer([job(), late])
            (run_id,) = await defer(backend, job(**{field: latest}))
            run = await backend.run(run_id)
            assert run is not None
            assert getattr(run, field) == latest
            assert len(await backend.runs(Where())) == 1

    asyncio.run(main())
