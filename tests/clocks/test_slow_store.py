"""A store that takes its time: what is due is judged by the clock after its answer, not by that of the question."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from backends import using
from support import START, Clock

from clocks.test_steps import Process
from pseudocron.backends.file.backend import Memory
from pseudocron.crons import Crons

if TYPE_CHECKING:
    from collections.abc import Collection

    from pseudocron.backends.questions import States


class Slow(Memory):
    """A store to which a question takes so many seconds, in which another process may claim a slot.

    Args:
        seconds: How long it takes.
        other: What claims, if anything does.
    """

    def __init__(self, clock: Clock, *, seconds: float, other: Memory | None = None) -> None:
        super().__init__(shared=other, keep=1000, host=clock.host)
        self._owned, self._seconds, self._other = clock, seconds, other

    async def states(self, names: Collection[str]) -> States:
        self._owned.forward(self._seconds)
        if self._other:
            await using.claim_at(self._other, self._owned.now, name="often", crons={"often": 1})
        return await super().states(names)


def often() -> Crons:
    crons = Crons()
    crons.add("often", int, 1)
    assert list(crons)
    return crons


def test_a_slot_that_comes_due_while_the_store_answers_runs_in_that_poll() -> None:
    clock, crons = Clock(), often()

    async def main() -> None:
        process = Process(crons, clock, Slow(clock, seconds=10))
        await process.visit()
        assert await process.slots("often") == [clock.now]

    asyncio.run(main())


def test_what_others_claim_while_the_store_answers_is_no_step_of_the_clock(caplog: pytest.LogCaptureFixture) -> None:
    clock, crons = Clock(), often()
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        other = Memory(keep=1000, host=clock.host)
        await other.open()
        process = Process(crons, clock, Slow(clock, seconds=10, other=other))
        await process.visit()
        assert await process.slots("often") == [START + timedelta(seconds=10)], "the other's"
        assert not await process.skips("often")

    asyncio.run(main())
    assert not caplog.messages
