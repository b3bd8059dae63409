"""A run by hand goes the way of all runs, beside the schedule."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from support import START, Clock

from pseudocron.backends.memory import Memory
from pseudocron.backends.records import Claim, Outcome, Proposal, Refusal
from pseudocron.by_hand import run_now
from pseudocron.crons import Crons
from pseudocron.errors import UnknownCronError
from pseudocron.runner import Runner
from pseudocron.runner.looked import Started
from pseudocron.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HOUR = timedelta(hours=1)


def by_hand(crons: Crons, body: Callable[[Crons, Runner, Memory, Clock], Awaitable[None]]) -> None:
    clock = Clock()
    assert list(crons)

    async def main() -> None:
        backend = Memory(host=clock.host)
        runner = Runner(backend, host=clock.host, worker="me", concurrency=1, lease=30)
        await body(crons, runner, backend, clock)

    asyncio.run(main())


async def ended(runner: Runner, crons: Crons, name: str) -> Outcome:
    started = await runner.run_once(crons[name])
    assert isinstance(started, Started)
    return (await started.task).outcome


def test_it_is_tried_again_like_any_other_and_recorded_once() -> None:
    crons, tries = Crons(), []

    @crons.every(3600, retries=2)
    async def flaky() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError

    async def body(crons: Crons, runner: Runner, backend: Memory, clock: Clock) -> None:
        assert await ended(runner, crons, "flaky") is Outcome.SUCCEEDED
        (run,) = await backend.history()
        assert (run.slot, run.started, run.worker, len(tries)) == (START, START, "me", 3)

    by_hand(crons, body)


def test_the_slot_that_is_due_runs_after_it() -> None:
    crons, ran = Crons(), []
    crons.add("cron", lambda: ran.append(1), 3600)

    async def body(crons: Crons, runner: Runner, backend: Memory, clock: Clock) -> None:
        clock.forward(60)
        await ended(runner, crons, "cron")
        (started,) = (await runner.look(crons)).started
        await started.task
        assert started.claim.slot == START
        assert len(ran) == 2

    by_hand(crons, body)


def test_one_that_outlives_its_process_is_no_overlap_after_its_lease_and_is_not_recovered() -> None:
    crons = Crons()
    crons.add("cron", int, 3600, at_least_once=True)

    async def body(crons: Crons, runner: Runner, backend: Memory, clock: Clock) -> None:
        gone = Runner(backend, host=clock.host, worker="gone", concurrency=1, lease=30)
        claim = await backend.claim(Proposal(name="cron", slot=START, worker="gone", lease=30, manual=True))
        assert isinstance(claim, Claim)
        assert await gone.run_once(crons["cron"]) is Refusal.OVERLAP
        clock.forward(31)
        assert await ended(runner, crons, "cron") is Outcome.SUCCEEDED
        assert [run.outcome for run in await backend.history()] == [Outcome.SUCCEEDED, Outcome.LOST]
        assert not (await backend.reap()).orphans

    by_hand(crons, body)


def test_one_with_at_least_once_that_is_interrupted_does_not_wait_to_be_recovered() -> None:
    crons = Crons()

    @crons.every(3600, at_least_once=True)
    async def endless() -> None:
        await asyncio.Event().wait()

    async def body(crons: Crons, runner: Runner, backend: Memory, clock: Clock) -> None:
        await runner.run_once(crons["endless"])
        await runner.drain(0)
        assert [run.outcome for run in await backend.history()] == [Outcome.INTERRUPTED]
        assert not (await backend.reap()).orphans

    by_hand(crons, body)


def test_a_cron_is_run_by_its_name_and_one_that_is_not_there_is_refused() -> None:
    crons = Crons(backend="memory:")
    crons.add("cron", int, "@yearly")

    async def main() -> None:
        seen = Watch(crons)
        result = await run_now(seen, "cron")
        assert not isinstance(result, Refusal)
        assert result.outcome is Outcome.SUCCEEDED
        with pytest.raises(UnknownCronError, match="did you mean 'cron'"):
            await run_now(seen, "corn")
        await seen.runtime().close()

    asyncio.run(main())
