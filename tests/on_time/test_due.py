"""What comes due outside of a poll: retries, what a drain hands back, what another process has deferred."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import until

from on_time.moments import Moments, Where, serving
from pseudocron import BackendError, Retry
from pseudocron.polling import PollReason
from pseudocron.process import process_of

if TYPE_CHECKING:
    from pseudocron import Crons
    from pseudocron.backends.questions import Poll, Polled


@pytest.mark.parametrize("clock", [{"ticker": True}, {"every": 0.2}], ids=["ticker", "requests"])
def test_a_retry_starts_within_a_second_of_its_time(where: Where, clock: dict[str, Any]) -> None:
    crons, attempts = where.crons(cron_max_time=20), Moments()

    @crons.task
    async def fails() -> None:
        attempts.note()
        if len(attempts.at) < 3:
            raise Retry(after=0.4)

    async def main() -> None:
        async with serving(crons, **clock):
            await fails.defer()
            await until(lambda: len(attempts.at) == 3, 5)

    asyncio.run(main())
    assert all(0.4 <= gap < 0.4 + 1.3 for gap in attempts.gaps), attempts.at


def idle_beside(where: Where, *, recover: bool) -> tuple[list[Crons], list[Moments]]:
    """Two processes with the same task and cron, of which the first to start never ends by itself."""
    both, starts = [where.crons(cron_max_time=25, drain=0.1) for _ in range(2)], [Moments(), Moments()]
    for crons, moments in zip(both, starts, strict=True):

        async def endless(moments: Moments = moments) -> None:
            moments.note()
            if not starts[1].at:
                await asyncio.sleep(3600)

        if recover:
            crons.add("endless", endless, 86400, at_least_once=True)
        else:
            crons.task(name="endless")(endless)
    return both, starts


@pytest.mark.parametrize("recover", [False, True], ids=["job", "slot"])
def test_what_a_drain_hands_back_starts_elsewhere_within_a_second(shared_by_many: Where, *, recover: bool) -> None:
    (first, second), (here, there) = idle_beside(shared_by_many, recover=recover)

    async def main() -> float:
        async with AsyncExitStack() as stack:
            async with serving(first):
                if recover:
                    await asyncio.wait([process_of(first).runtime().request_poll(PollReason.REQUEST)])
                else:
                    await first.tasks["endless"].options().defer()
                await until(lambda: here.at, 2)
                await stack.enter_async_context(serving(second, ticker=True))
                await asyncio.sleep(0.3)  # it has polled, and the gate is fresh
            gone = time.monotonic()
            await until(lambda: there.at, 3)
            return there.began + there.at[0] - gone

    assert asyncio.run(main()) < 1.3


def test_a_job_deferred_to_a_full_process_starts_as_soon_as_there_is_room(where: Where) -> None:
    crons, starts, go_on = where.crons(concurrency=2, cron_max_time=30), Moments(), asyncio.Event()

    @crons.task
    async def long() -> None:
        await go_on.wait()

    @crons.task
    async def last() -> None:
        starts.note()

    async def main() -> float:
        async with serving(crons):
            await long.defer_many([{}, {}])
            await until(lambda: process_of(crons).runtime()._poller.runs.pool.is_full, 2)  # type: ignore[union-attr]
            await last.defer()
            await process_of(crons).runtime().settle(0.2)
            assert not starts.at
            free = time.monotonic()
            go_on.set()
            await until(lambda: starts.at, 3)
        return starts.began + starts.at[0] - free

    assert asyncio.run(main()) < 0.9


def test_a_job_that_the_first_process_does_not_have_starts_at_the_other(shared_by_many: Where) -> None:
    without, having = (shared_by_many.crons(cron_max_time=20) for _ in range(2))
    starts = Moments()
    without.task(name="other")(lambda: None)

    @having.task
    async def mine() -> None:
        starts.note()

    async def main() -> None:
        async with serving(having, every=0.5), serving(without, every=0.05):
            await asyncio.sleep(0.6)  # both have polled, and the gate is fresh
            starts.began = time.monotonic()
            # As another process would: this one is not told.
            process_of(having).runtime()._executes = False
            await mine.defer()
            await until(lambda: starts.at, 4)

    asyncio.run(main())
    assert starts.at[0] < 1.9, "a second, the gap of half a second, and the poll"


def test_a_poll_that_failed_once_is_made_good_though_nobody_comes(where: Where) -> None:
    crons, done, go_on = where.crons(concurrency=1, cron_max_time=30), Moments(), asyncio.Event()

    @crons.task
    async def job() -> None:
        await go_on.wait()
        done.note()

    async def main() -> float:
        async with serving(crons):
            await job.defer_many([{}] * 3)
            poller = process_of(crons).runtime()._poller
            assert poller is not None
            await until(lambda: poller.runs.pool.is_full, 2)
            await process_of(crons).runtime().settle(0.1)
            poll = poller.poll_now

            async def fail_once(*_: object, **__: object) -> None:
                poller.poll_now = poll  # type: ignore[method-assign]
                raise ZeroDivisionError

            poller.poll_now = fail_once  # type: ignore[method-assign]
            poller.runs.refill_until = 0.0  # a poll is due as soon as the first job ends
            began = time.monotonic()
            go_on.set()
            await until(lambda: len(done.at) == 3, 5)
        return time.monotonic() - began

    assert asyncio.run(main()) < 2.5, "a second after the one that failed"


@pytest.mark.parametrize("clock", [{"ticker": True}, {"every": 0.02}], ids=["ticker", "requests"])
def test_what_can_not_start_makes_no_process_poll_more_than_once_a_second(
    shared_by_many: Where, clock: dict[str, Any]
) -> None:
    crons, full, starts = shared_by_many.crons(cron_max_time=20, drain=0.1), shared_by_many.crons(), list[int]()
    full.task(name="elsewhere")(lambda: None)  # a task in use, which this process does not have

    @crons.task(max_instances=1)
    async def one() -> None:
        starts.append(1)
        await asyncio.sleep(3600)

    async def main() -> int:
        async with serving(crons, **clock):
            await one.defer_many([{}] * 2)
            await one.options(key="busy").defer()
            await until(lambda: starts, 2)
            await full.tasks["elsewhere"].defer()
            poller, polls = process_of(crons).runtime()._poller, list[int]()
            assert poller is not None
            poll = poller.poll_now

            async def counted(*args: Any, **options: Any) -> Any:
                polls.append(1)
                return await poll(*args, **options)

            poller.poll_now = counted  # type: ignore[method-assign]
            await asyncio.sleep(2)
            return len(polls)

    assert 1 <= asyncio.run(main()) <= 3


def test_a_job_behind_a_crowd_that_has_expired_starts_within_a_second(where: Where) -> None:
    crons, starts = where.crons(cron_max_time=30), Moments()

    @crons.task
    async def late() -> None: ...

    @crons.task
    async def behind() -> None:
        starts.note()

    async def main() -> None:
        await late.options(expires=0.2).defer_many([{}] * 500)
        await behind.options(delay=0.3).defer()
        await asyncio.sleep(0.4)
        starts.began = time.monotonic()
        async with serving(crons, ticker=True):
            await until(lambda: starts.at, 6)

    asyncio.run(main())
    assert starts.at[0] < 1.3


@pytest.mark.parametrize("answer", ["fresh", "taken", "failed"])
def test_a_job_deferred_during_a_poll_elsewhere_starts_without_visitors(where: Where, answer: str) -> None:
    """The other one, which does not have the task, has just entered the gate, or holds up the store."""
    crons, starts = where.crons(cron_max_time=30), Moments()

    @crons.task
    async def mine() -> None:
        starts.note()

    async def main() -> None:
        async with serving(crons):
            poller = process_of(crons).runtime()._poller
            assert poller is not None
            backend = poller.backend

            poll, asked = backend.poll, list[int]()

            async def once(question: Poll) -> Polled | None:
                asked.append(1)
                if len(asked) > (3 if answer == "taken" else 1):
                    return await poll(question)
                if answer == "failed":
                    raise BackendError("busy")
                if answer == "fresh":
                    setattr(backend, "stale_in", fresh)  # noqa: B010 - of one object
                return None

            async def fresh() -> float:
                delattr(backend, "stale_in")
                return 30.0

            setattr(backend, "poll", once)  # noqa: B010 - likewise
            starts.began = time.monotonic()
            await mine.defer()
            await until(lambda: starts.at, 3)

    asyncio.run(main())
    assert starts.at[0] < 1.3


def test_a_slot_that_another_process_makes_due_again_starts_within_a_second(shared_by_many: Where) -> None:
    crons, starts = shared_by_many.crons(cron_max_time=20), Moments()
    crons.add("yearly", starts.note, "0 0 1 3 *")

    async def main() -> None:
        async with serving(crons, ticker=True), process_of(shared_by_many.crons()).store() as (_, backend):
            await asyncio.sleep(0.5)  # it has polled, and remembers that nothing is due for months
            assert not starts.at
            starts.began = time.monotonic()
            await backend.reset("yearly", datetime.now(UTC) - timedelta(days=400))
            await until(lambda: starts.at, 4)

    asyncio.run(main())
    assert starts.at[0] < 1.3
