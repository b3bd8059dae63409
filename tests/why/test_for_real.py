"""Each reason made for real, and then told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support import Clock

from pseudocron.backends.model import CronState, Reason
from pseudocron.backends.questions import Capacity, Poll, Take
from pseudocron.crons import Crons
from pseudocron.why import Fate, Waiting
from pseudocron.why.inquiry import inquire
from pseudocron.worker.due import plan
from why.process import Process, at, every, ready

if TYPE_CHECKING:
    from pseudocron.why import Inquiry, Why


async def inquiry(process: Process, crons: Crons, name: str = "cron") -> Inquiry:
    def clock(moment: object) -> str:
        return f"{moment:%H:%M:%S}"

    return await inquire(crons, process.backend, name, now=lambda: process.clock.now, tell=clock)


async def newest(process: Process, crons: Crons) -> Why:
    return (await inquiry(process, crons)).last(1)[0]


async def latest_skip(process: Process, crons: Crons) -> Why:
    return next(why for why in (await inquiry(process, crons)).last(99) if why.kind is Fate.SKIPPED)


def test_an_overlap_with_a_run_of_another_process_names_it() -> None:
    go_on = asyncio.Event()
    crons = Crons(backend="memory:")
    crons.add("cron", go_on.wait, 60)
    ready(crons)

    async def main() -> tuple[Why, Why]:
        clock = Clock()
        first = Process(crons, clock, worker="web:1")
        second = Process(crons, clock, backend=first.backend, worker="web:2")
        await first.visit(stay=True)
        await second.visit(after=61, stay=True)
        skip = await latest_skip(second, crons)
        (running,) = (await inquiry(second, crons)).at(at(0))
        go_on.set()
        await first.runs.idle()
        return skip, running

    skip, running = asyncio.run(main())
    assert skip.run
    assert running.run
    assert (running.kind, running.run.worker) == (Fate.RUNNING, "web:1")
    assert [(one.run_id, one.worker) for one in skip.run.blockers] == [(running.run.run_id, "web:1")]
    assert skip.sentence == (
        f"skipped: overlap with run {running.run.run_id} on web:1, running since 12:00:00, max_instances is 1"
    )


def test_a_store_that_was_away_is_told_from_when_to_when() -> None:
    crons = every(10)

    async def main() -> list[Why]:
        process = Process(crons, Clock())
        await process.visit()
        process.backend.away = True
        await process.visit(after=25)
        await process.visit(after=20)
        process.backend.away = False
        await process.visit(after=20)
        return (await inquiry(process, crons)).last(3)

    run, down, nobody = asyncio.run(main())
    assert run.parts["store"] == 5
    assert (down.reason, down.slots, down.first) == (Reason.BACKEND_DOWN, 3, at(30))
    assert down.sentence == "skipped: the store was away from 12:00:25 to 12:01:05 (3 slots, the first 12:00:30)"
    assert (nobody.reason, nobody.slots, nobody.first) == (Reason.NO_TRAFFIC, 2, at(10))
    assert "the last sign of anybody before at 12:00:00" in nobody.sentence


def test_a_night_without_visitors_is_told_from_when_to_when() -> None:
    crons = every(60)

    async def main() -> Why:
        process = Process(crons, Clock())
        await process.visit()
        await process.visit(after=30)
        await process.visit(after=7 * 3600)
        return await latest_skip(process, crons)

    why = asyncio.run(main())
    assert (why.reason, why.slots, why.first, why.slot) == (Reason.NO_TRAFFIC, 419, at(60), at(7 * 3600 - 60))
    assert why.run
    assert why.run.since == at(0), "the last look"
    assert why.sentence.startswith("skipped: nobody came by from 12:01:00 to 19:00:30: no request, no ticker, no tick")


@pytest.mark.parametrize("reason", [Reason.MISFIRE, Reason.PAUSED, Reason.DISABLED, Reason.CLOCK_BACK])
def test_a_misfire_a_pause_a_disabled_cron_and_a_clock_set_back_are_told(reason: Reason) -> None:
    crons = every(60, misfire_grace_time=20 if reason is Reason.MISFIRE else None)
    off = every(60, enabled=False)

    async def main() -> Why:
        process = Process(crons, Clock())
        await process.visit()
        if reason is Reason.PAUSED:
            await process.backend.pause("cron", True)
        if reason is Reason.DISABLED:
            process = Process(off, process.clock, backend=process.backend)
        await process.visit(after=-600 if reason is Reason.CLOCK_BACK else 90)
        return await latest_skip(process, off if reason is Reason.DISABLED else crons)

    why = asyncio.run(main())
    assert why.reason is reason
    told = {"misfire": "of 20.0s", "paused": "paused", "disabled": "disabled", "clock_back": "clock was back at 11:50"}
    assert told[reason] in why.sentence


def test_a_lost_run_is_told_by_whom_and_who_took_its_slot_over() -> None:
    crons = every(3600, at_least_once=True)

    async def main() -> Why:
        process = Process(crons, Clock(), worker="web:2")
        cron = crons["cron"]
        due = plan(cron, CronState("cron"), at(0), since=at(-1))
        gone = Take({}, {"cron": 1}, Capacity(total=1, slots=1, jobs=0), worker="web:1", lease=30)
        polled = await process.backend.poll(Poll(gone, [due]))
        assert polled
        assert polled.claims
        await process.visit(after=61)
        (told,) = (await inquiry(process, crons)).at(at(0))
        return told

    why = asyncio.run(main())
    assert why.run
    assert (why.kind, why.run.outcome, why.run.worker) == (Fate.RAN, "succeeded", "web:2")
    assert [(attempt.outcome, attempt.worker) for attempt in why.run.earlier] == [("lost", "web:1")]
    assert why.sentence == (
        "succeeded: web:1 began it when it was told to, and was found gone at 12:01:01; "
        "web:2 began it again at 12:01:01, and it took 0.000s"
    )
    assert why.parts == {}


def test_what_has_come_and_waits_is_told_by_what_it_waits_for() -> None:
    crons, other = every(60), every(600, name="other")

    async def main() -> list[Waiting | Reason | None]:
        process = Process(crons, Clock())
        await process.visit()
        process.clock.forward(61)
        told = [(await newest(process, crons)).reason]
        process.clock.forward(120)  # a gate is only fresh while a slot waits if its cron is in use no longer
        await Process(other, process.clock, backend=process.backend).visit()
        told.append((await newest(process, crons)).reason)
        await process.backend.pause("cron", True)
        told.append((await newest(process, crons)).reason)
        return told

    assert asyncio.run(main()) == [Waiting.NOBODY, Waiting.GATE, Waiting.PAUSED]


def test_a_process_that_is_full_is_named_while_a_slot_waits() -> None:
    go_on = asyncio.Event()
    crons = Crons(backend="memory:", concurrency=1)
    crons.add("cron", int, 60)
    crons.add("long", go_on.wait, 3600)
    ready(crons)

    async def main() -> Why:
        process = Process(crons, Clock(), concurrency=1, worker="web:7")
        await process.visit(stay=True)
        await process.visit(after=61, stay=True)
        why = await newest(process, crons)
        go_on.set()
        await process.runs.idle()
        return why

    why = asyncio.run(main())
    assert why.reason is Waiting.FULL
    assert "no free capacity in web:7" in why.sentence
