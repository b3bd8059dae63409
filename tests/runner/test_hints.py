"""A look asks the store only about what may be due, and still notices in time what other processes do."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from support import Clock

from pseudocron.backends.memory import Memory, Store
from pseudocron.backends.records import Claim, Proposal, Reason
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from pseudocron.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from pseudocron.backends.records import State

CRON_MAX_TIME = 60


class Process:
    """A runner on a store that others may share, and what its looks ask about."""

    def __init__(self, clock: Clock, store: Store | None = None, *, concurrency: int = 10) -> None:
        self.asked: list[Collection[str]] = []
        self.backend = Spied(self.asked, store=store or Store(), host=clock.host)
        self.runner = Runner(self.backend, host=clock.host, worker="me", concurrency=concurrency, lease=3600)

    async def look(self, crons: Crons) -> tuple[set[str], datetime | None]:
        """The crons that the look started, and when the next one is due."""
        looked = await self.runner.look(crons)
        await asyncio.gather(*(started.task for started in looked.started))
        return {started.claim.name for started in looked.started}, looked.next


class Spied(Memory):
    def __init__(self, asked: list[Collection[str]], **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._asked = asked
        self.away = False

    async def states(self, marks: Mapping[str, datetime]) -> Mapping[str, State]:
        if self.away:
            raise BackendError("away")
        self._asked.append(set(marks))
        return await super().states(marks)


def some(**schedules: float) -> Crons:
    crons = Crons(cron_max_time=CRON_MAX_TIME)
    for name, schedule in schedules.items():
        crons.add(name, int, schedule)
    assert list(crons)
    return crons


async def settled(process: Process, crons: Crons) -> None:
    """The first look runs everything; the second one finds nothing due, and remembers that."""
    await process.look(crons)
    await process.look(crons)
    process.asked.clear()


def test_a_look_asks_only_about_what_may_be_due() -> None:
    clock, crons = Clock(), some(often=10, rarely=3600)

    async def main() -> None:
        process = Process(clock)
        await settled(process, crons)
        clock.forward(10)
        assert await process.look(crons) == ({"often"}, clock.now + timedelta(seconds=10))
        assert process.asked == [{"often"}]

    asyncio.run(main())


def test_everything_is_asked_about_once_in_cron_max_time_and_a_look_is_wanted_by_then() -> None:
    clock, crons = Clock(), some(often=50, rarely=3600)

    async def main() -> None:
        process = Process(clock)
        await settled(process, crons)
        asked_all = clock.now
        clock.forward(50)
        _, upcoming = await process.look(crons)
        assert process.asked == [{"often"}]
        assert upcoming is not None
        assert (upcoming - asked_all).total_seconds() == CRON_MAX_TIME
        clock.forward(10)
        await process.look(crons)
        assert process.asked[-1] == {"often", "rarely"}

    asyncio.run(main())


def test_a_mark_that_another_process_sets_back_is_noticed_within_cron_max_time() -> None:
    clock, crons, store = Clock(), some(cron=3600), Store()

    async def main() -> None:
        process = Process(clock, store)
        await settled(process, crons)
        await Memory(store=store, host=clock.host).reset("cron", clock.now.replace(hour=1))
        clock.forward(CRON_MAX_TIME)
        assert (await process.look(crons))[0] == {"cron"}

    asyncio.run(main())


def test_a_cron_that_another_process_pauses_is_not_run_and_one_that_it_resumes_is() -> None:
    clock, crons, store = Clock(), some(cron=10), Store()

    async def main() -> None:
        process, other = Process(clock, store), Memory(store=store, host=clock.host)
        await settled(process, crons)
        await other.pause("cron")
        clock.forward(10)
        assert (await process.look(crons))[0] == set()
        assert [run.reason for run in await other.history(limit=1)] == [Reason.PAUSED]
        await other.resume("cron")
        clock.forward(10)
        assert (await process.look(crons))[0] == {"cron"}

    asyncio.run(main())


def test_a_slot_that_another_process_has_taken_is_neither_run_again_nor_asked_about_for_ever() -> None:
    clock, crons, store = Clock(), some(cron=10, rarely=3600), Store()

    async def main() -> None:
        process, other = Process(clock, store), Memory(store=store, host=clock.host)
        await settled(process, crons)
        clock.forward(10)
        assert isinstance(await other.claim(Proposal(name="cron", slot=clock.now, worker="other", lease=60)), Claim)
        assert (await process.look(crons))[0] == set()
        await process.look(crons)
        assert process.asked == [{"cron"}, set()]

    asyncio.run(main())


def test_a_slot_that_was_left_for_want_of_room_is_claimed_by_the_next_look() -> None:
    clock, crons = Clock(), some(one=3600, other=3600)

    async def main() -> None:
        process = Process(clock, concurrency=1)
        first, _ = await process.look(crons)
        second, _ = await process.look(crons)
        assert first | second == {"one", "other"}

    asyncio.run(main())


def test_a_clock_that_steps_back_voids_what_was_remembered() -> None:
    clock, crons = Clock(), some(often=10, rarely=3600)

    async def main() -> None:
        process = Process(clock)
        await settled(process, crons)
        clock.forward(-1)
        await process.look(crons)
        assert process.asked == [{"often", "rarely"}]

    asyncio.run(main())


def test_what_the_config_has_changed_or_added_is_asked_about_at_once() -> None:
    clock, crons, edited = Clock(), some(same=3600), some(same=1800, added=3600)

    async def main() -> None:
        process = Process(clock)
        await settled(process, crons)
        crons.add("added", int, 3600)
        await process.look(crons)
        assert process.asked.pop() == {"added"}
        await process.look(edited)
        assert process.asked.pop() == {"same", "added"}

    asyncio.run(main())


def test_a_store_that_fails_while_everything_is_asked_about_is_asked_about_everything_again() -> None:
    clock, crons = Clock(), some(often=10, rarely=3600)

    async def main() -> None:
        process = Process(clock)
        await settled(process, crons)
        clock.forward(CRON_MAX_TIME)
        process.backend.away = True
        with pytest.raises(BackendError):
            await process.look(crons)
        process.backend.away = False
        clock.forward(1)
        await process.look(crons)
        assert process.asked == [{"often", "rarely"}]

    asyncio.run(main())


def test_a_store_that_has_lost_everything_is_told_the_marks_that_this_process_remembers() -> None:
    clock, crons = Clock(), some(cron=3600)

    async def main() -> None:
        process = Process(clock)
        assert (await process.look(crons))[0] == {"cron"}
        forget(process)
        assert (await process.look(crons))[0] == set()
        clock.forward(3600)
        assert (await process.look(crons))[0] == {"cron"}

    asyncio.run(main())


def test_a_slot_that_was_skipped_is_remembered_as_one_that_was_claimed() -> None:
    clock, crons = Clock(), Crons(cron_max_time=CRON_MAX_TIME)
    crons.add("cron", int, 3600, misfire_grace_time=60)
    assert list(crons)

    async def main() -> None:
        process = Process(clock)
        await process.look(crons)
        clock.forward(7000)
        await process.look(crons)
        mark = process.runner._hints._marks["cron"]
        forget(process)
        assert (await process.backend.states(process.runner._hints.ask(crons, clock.now)))["cron"].mark == mark
        assert mark == (clock.now - timedelta(seconds=7000) + timedelta(hours=1)).replace(minute=0, second=0)

    asyncio.run(main())


def test_a_mark_that_a_person_has_set_back_is_remembered_as_it_is_now() -> None:
    clock, crons = Clock(), some(cron=3600)

    async def main() -> None:
        process = Process(clock)
        await process.look(crons)
        await process.backend.reset("cron", clock.now - timedelta(hours=3))
        await process.look(crons)
        assert process.runner._hints._marks["cron"] == clock.now

    asyncio.run(main())


def forget(process: Process) -> None:
    process.backend._store = Store()
    process.runner._hints._asked_all = process.runner._hints._asked - timedelta(days=1)
