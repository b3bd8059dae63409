"""What a late slot has waited for: a request, the gate, a free place, the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support import START, Clock

from pseudocron.backends.model import CronState, Waited
from pseudocron.backends.questions import Capacity, Poll, Take
from pseudocron.crons import Crons
from pseudocron.worker.delays import KEPT, Delays
from pseudocron.worker.due import plan
from why.process import Process, at, every, ready

if TYPE_CHECKING:
    from pseudocron.report import HistoryLine


def test_whatever_is_not_held_up_waits_for_a_request() -> None:
    waits = Delays()
    waits.poll(at(7))
    assert waits.of(at(0)) == Waited(request=7)
    assert waits.of(at(9)) == Waited()


def test_each_part_of_a_wait_is_the_time_in_which_it_held() -> None:
    waits = Delays()
    waits.gate(at(0), 1)
    waits.store(at(3))
    waits.gate(at(4), 0.5)
    waits.capacity(at(6))
    waits.poll(at(9))
    assert waits.of(at(-1)) == Waited(request=1 + 2 + 1.5, gate=1.5, store=1, capacity=3)
    assert waits.of(at(0.75)) == Waited(request=2 + 1.5, gate=0.25 + 0.5, store=1, capacity=3)
    assert waits.of(at(7)) == Waited(capacity=2)


def test_while_there_is_no_capacity_the_gate_does_not_count() -> None:
    waits = Delays()
    waits.capacity(at(0))
    waits.gate(at(1), 1)
    waits.capacity(at(2))
    waits.poll(at(3))
    assert waits.of(at(0)) == Waited(capacity=3)


def test_a_look_ends_what_held_before() -> None:
    waits = Delays()
    waits.capacity(at(0))
    waits.poll(at(1))
    waits.gate(at(2), 1)
    waits.poll(at(4))
    assert waits.of(at(0)) == Waited(capacity=1, gate=1, request=2)


def test_a_hold_that_goes_on_is_one_however_often_it_is_noticed() -> None:
    waits = Delays()
    for second in range(10 * KEPT):
        waits.gate(at(second), 1)
    waits.poll(at(10 * KEPT))
    assert waits.of(at(0)) == Waited(gate=10 * KEPT)


def test_only_the_latest_holds_are_remembered() -> None:
    waits = Delays()
    for second in range(0, 4 * KEPT, 2):
        waits.gate(at(second), 1)
    waits.poll(at(4 * KEPT))
    assert waits.of(at(0)) == Waited(gate=KEPT, request=3 * KEPT)


def test_no_part_is_below_zero_after_a_step_of_the_clock() -> None:
    waits = Delays()
    waits.capacity(at(100))
    waits.poll(at(0))
    waits.gate(at(50), 10)
    assert waits.of(at(-5)) == Waited(request=5)


def test_a_slot_that_came_without_visitors_waited_for_a_request() -> None:
    crons = every(10)

    async def main() -> HistoryLine:
        process = Process(crons, Clock())
        await process.visit()
        await process.visit(after=17)
        return await process.newest()

    run = asyncio.run(main())
    assert (run.slot, run.waited) == (at(10), Waited(request=7))
    assert (run.started - run.slot).total_seconds() == 7


def test_a_slot_left_for_want_of_capacity_waited_until_the_next_poll() -> None:
    go_on = asyncio.Event()
    crons = Crons(backend="memory:")
    crons.add("long", go_on.wait, 3600)
    crons.add("cron", int, 3600)
    ready(crons)

    async def main() -> HistoryLine:
        process = Process(crons, Clock(), concurrency=1)
        await process.visit(stay=True)
        for _ in range(200):
            await process.visit(after=1, stay=True)
        go_on.set()
        await process.runs.idle()
        await process.visit(after=5)
        await process.visit(after=60)
        return next(line for line in await process.lines() if line.started > START)

    run = asyncio.run(main())
    waited = run.waited
    assert waited is not None
    assert waited.capacity == 205
    assert waited.request == pytest.approx(run.started.timestamp() - run.slot.timestamp() - 205)


def test_a_slot_that_came_while_the_store_was_away_waited_for_it() -> None:
    crons = every(10)

    async def main() -> HistoryLine:
        process = Process(crons, Clock())
        await process.visit()
        process.backend.away = True
        await process.visit(after=12)
        await process.visit(after=1)
        process.backend.away = False
        await process.visit(after=5)
        return await process.newest()

    assert asyncio.run(main()).waited == Waited(request=2, store=6)


def test_lateness_is_not_measured_by_hand_and_kept_in_retries() -> None:
    crons = every(3600, at_least_once=True)

    async def main() -> list[Waited | None]:
        process = Process(crons, Clock())
        due = plan(crons["cron"], CronState("cron"), at(0), since=at(-1))._replace(waited=[Waited(request=1)])
        gone = Take({}, {"cron": 3}, Capacity(total=1, slots=1, jobs=0), worker="other", lease=10)
        assert await process.backend.poll(Poll(gone, [due]))
        await process.run_once()
        await process.visit(after=20)
        await process.run_once()
        await process.runs.idle()
        return [line.waited for line in await process.lines() if not line.is_skip]

    assert asyncio.run(main()) == [None, Waited(request=1)]


def test_its_jitter_is_no_part_of_what_a_slot_waited_for() -> None:
    crons = every(3600, jitter=600)

    async def main() -> HistoryLine:
        process = Process(crons, Clock())
        await process.visit()
        slot = at(3600)
        process.clock.now = crons["cron"]._wake(slot)
        assert process.clock.now > slot
        await process.visit(after=3)
        return await process.newest()

    assert asyncio.run(main()).waited == Waited(request=3)
