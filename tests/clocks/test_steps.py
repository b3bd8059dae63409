"""The host's clock is set back an hour, or forward a day, under a process that runs crons."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from backends import using
from support import START, Clock, took
from worker import world

from pseudocron import polling
from pseudocron.backends.file.backend import File, Memory
from pseudocron.backends.model import Reason, Skip, State
from pseudocron.crons import Crons

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from pathlib import Path

    from pseudocron.backends.contract import Backend

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Process(world.Process):
    """A process with a clock that the test owns: its gate, its store and its runs."""

    async def visits(self, until: datetime, every: float = 60) -> None:
        while self.clock.now < until:
            self.clock.forward(every)
            await self.visit()

    async def slots(self, name: str) -> list[datetime]:
        """The slots that ran, oldest first."""
        return [run.slot for run in reversed(await using.runs_of(self.backend, name)) if run.slot]

    async def skips(self, name: str) -> list[Skip]:
        return list(reversed(await using.skips_of(self.backend, name)))


@pytest.fixture(params=["memory", "file"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Runs a test's body with a process, on each of the stores."""

    def on(crons: Crons, body: Callable[[Process], Awaitable[None]]) -> None:
        assert list(crons)
        clock = Clock()
        backend: Backend = Memory(keep=1000, host=clock.host)
        if request.param == "file":
            backend = File(tmp_path / "store", keep=1000, host=clock.host)

        async def main() -> None:
            await backend.open()
            await body(Process(crons, clock, backend))
            await backend.close()

        asyncio.run(main())

    return on


def minutely(**options: Any) -> Crons:
    crons = Crons()
    crons.add("mail", int, 60, **options)
    return crons


def test_set_back_an_hour_no_slot_runs_twice_and_it_goes_on_where_it_was(run: Callable[..., None]) -> None:
    async def body(process: Process) -> None:
        await process.visits(START + timedelta(minutes=10))
        process.clock.now -= HOUR
        await process.visits(START + timedelta(minutes=12))
        expected = [START + timedelta(minutes=minute) for minute in range(1, 13)]
        assert await process.slots("mail") == expected

    run(minutely(), body)


def test_set_back_an_hour_the_reason_is_recorded_once(run: Callable[..., None]) -> None:
    async def body(process: Process) -> None:
        await process.visits(START + timedelta(minutes=10))
        mark = process.clock.now
        process.clock.now -= HOUR
        await process.visits(START)
        (skip,) = await process.skips("mail")
        assert (skip.reason, skip.slots, skip.slot) == (Reason.CLOCK_BACK, 59, mark)
        assert skip.recorded == mark - HOUR + timedelta(minutes=1)
        state = (await process.backend.states(["mail"])).crons["mail"]
        assert (state.mark, state.missed) == (mark, 59)

    run(minutely(), body)


def test_set_back_twice_each_counts_where_the_crons_had_gone_on(run: Callable[..., None]) -> None:
    async def body(process: Process) -> None:
        for _ in range(2):
            await process.visits(process.clock.now + timedelta(minutes=10))
            process.clock.now -= timedelta(minutes=5)
            await process.visits(process.clock.now + timedelta(minutes=5))
        assert [(skip.reason, skip.slots) for skip in await process.skips("mail")] == [(Reason.CLOCK_BACK, 4)] * 2

    run(minutely(), body)


def test_set_back_an_hour_it_is_logged_once_for_all_crons(
    run: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    crons = minutely()
    crons.add("bill", int, 300)
    crons.add("yearly", int, "@yearly")
    caplog.set_level(logging.WARNING)

    async def body(process: Process) -> None:
        await process.visits(START + timedelta(minutes=10))
        process.clock.now -= HOUR
        await process.visits(START)

    run(crons, body)
    (line,) = caplog.messages
    assert line == (
        "clock set back: 2 crons wait until it is past what they have run, "
        "the longest mail, until 2024-05-01T12:10:00+00:00"
    )


def test_a_cron_whose_slots_all_lie_before_the_step_has_nothing_to_tell(run: Callable[..., None]) -> None:
    crons = Crons()
    crons.add("nightly", int, "0 2 * * *")

    async def body(process: Process) -> None:
        await process.visits(START + DAY, every=3600)
        process.clock.now -= HOUR
        await process.visits(START + DAY + HOUR, every=600)
        assert not await process.skips("nightly")

    run(crons, body)


@pytest.mark.parametrize("back", [0.0, 0.2, 1.0])
def test_hosts_whose_clocks_differ_by_up_to_a_second_tell_of_no_step(run: Callable[..., None], back: float) -> None:
    crons = Crons()
    crons.add("often", int, 0.1)

    async def body(process: Process) -> None:
        await process.visit()
        process.clock.forward(-back)
        await process.poll_all()
        assert not await process.skips("often")

    run(crons, body)


@pytest.mark.parametrize("reason", [Reason.PAUSED, Reason.DISABLED])
def test_of_what_would_not_run_anyway_no_step_is_told(run: Callable[..., None], reason: Reason) -> None:
    async def body(process: Process) -> None:
        await process.visits(START + timedelta(minutes=2))
        if reason is Reason.PAUSED:
            await process.backend.pause("mail", paused=True)
            await process.visits(START + timedelta(minutes=3))  # it has read that
        process.clock.now -= HOUR
        await process.visits(START)
        assert Reason.CLOCK_BACK not in [skip.reason for skip in await process.skips("mail")]

    run(minutely(enabled=reason is Reason.PAUSED), body)


def test_set_forward_a_day_only_the_latest_slot_runs(run: Callable[..., None]) -> None:
    crons = minutely()
    crons.add("nightly", int, "0 2 * * *")

    async def body(process: Process) -> None:
        await process.visits(START + timedelta(minutes=1))
        process.clock.now += DAY
        await process.visit()
        now = process.clock.now
        assert (await process.slots("mail"))[1:] == [now]
        (skip,) = await process.skips("mail")
        assert (skip.reason, skip.slots) == (Reason.NO_TRAFFIC, 24 * 60 - 1)
        assert await process.slots("nightly") == [now.replace(hour=2, minute=0)]

    run(crons, body)


def test_set_forward_a_day_and_back_it_waits_and_a_reset_ends_it(
    run: Callable[..., None],
) -> None:
    async def body(process: Process) -> None:
        await process.visits(START + timedelta(minutes=1))
        process.clock.now += DAY
        await process.visit()
        process.clock.now -= DAY
        await process.visits(START + timedelta(minutes=5))
        assert len(await process.slots("mail")) == 2
        skip = (await process.skips("mail"))[-1]
        assert (skip.reason, skip.slots) == (Reason.CLOCK_BACK, 24 * 60 - 1)
        await process.backend.reset("mail", process.clock.now)
        await process.visits(START + timedelta(minutes=7))
        assert len(await process.slots("mail")) == 4

    run(minutely(), body)


def test_set_forward_a_day_a_run_that_goes_on_here_is_not_taken_for_lost(
    run: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    go_on, crons = asyncio.Event(), Crons()
    crons.add("long", go_on.wait, 60)

    async def body(process: Process) -> None:
        await process.poller.poll({polling.PollReason.REQUEST})
        process.clock.now += DAY
        await process.poller.poll({polling.PollReason.REQUEST})
        assert len(process.runs.pool.runs) == 1
        go_on.set()
        await process.runs.idle()
        assert [run.state for run in await using.runs_of(process.backend, "long")] == [State.SUCCEEDED]
        assert {skip.reason for skip in await process.skips("long")} == {Reason.NO_TRAFFIC, Reason.OVERLAP}

    run(crons, body)
    assert "lost" not in caplog.text


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_of_the_clock_neither_shortens_nor_lengthens_a_timeout(step: timedelta) -> None:
    crons = Crons()
    go_on = asyncio.Event()
    crons.add("long", go_on.wait, 86400, timeout=0.2)
    assert list(crons)

    async def main() -> None:
        clock = Clock()
        process = Process(crons, clock, Memory(host=clock.host))
        await process.poller.poll({polling.PollReason.REQUEST})
        clock.now += step
        await asyncio.sleep(0)
        assert len(process.runs.pool.runs) == 1
        with took(0.1, 1.5):
            await asyncio.wait_for(process.runs.idle(), 2)
        (run,) = await using.runs_of(process.backend, "long")
        assert run.state is State.TIMED_OUT

    asyncio.run(main())


@pytest.mark.parametrize("step", [HOUR, -HOUR, DAY])
def test_two_processes_under_one_clock_that_steps_still_grant_each_slot_once(step: timedelta) -> None:
    crons, clock = minutely(), Clock()
    first = Memory(keep=1000, host=clock.host)
    assert list(crons)

    async def main() -> None:
        others = [Memory(keep=1000, host=clock.host, shared=first) for _ in range(2)]
        processes = [Process(crons, clock, backend) for backend in others]
        for minute in range(90):
            if minute == 10:
                clock.now += step
            clock.forward(60)
            await asyncio.gather(*(process.visit() for process in processes))
        slots = await processes[0].slots("mail")
        assert len(slots) == len(set(slots))
        assert slots == sorted(slots)

    asyncio.run(main())


def test_a_lease_ends_though_the_clock_was_set_back(run: Callable[..., None]) -> None:
    async def body(process: Process) -> None:
        clock, backend = process.clock, process.backend
        claim = await using.claim_at(backend, clock.now)
        clock.now -= HOUR
        assert not (await using.poll(backend)).lost
        clock.now += HOUR + timedelta(seconds=30)
        assert [lost.run_id for lost in (await using.poll(backend)).lost] == [claim.run_id]

    run(minutely(), body)
