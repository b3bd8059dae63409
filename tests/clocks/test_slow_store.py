"""A store that takes its time: what is due is judged by the clock after its answer, not by that of the question."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from pseudocron.backends.memory import Memory, Store
from pseudocron.backends.records import Claim, Proposal
from support import Clock

from clocks.test_steps import Process
from pseudocron.crons import Crons

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pseudocron.backends.records import State


class Slow(Memory):
    """A store to which a question takes so many seconds, in which another process may claim a slot.

    Args:
        seconds: How long it takes.
        other: What claims, if anything does.
    """

    def __init__(self, clock: Clock, *, seconds: float, other: Memory | None = None) -> None:
        super().__init__(store=other._store if other else Store(), keep=1000, host=clock.host)
        self._owned, self._seconds, self._other = clock, seconds, other

    async def states(self, marks: Mapping[str, datetime]) -> Mapping[str, State]:
        self._owned.forward(self._seconds)
        if self._other:
            claim = Proposal(name="often", slot=self._owned.now, worker="other:1", lease=60)
            assert isinstance(await self._other.claim(claim), Claim)
        return await super().states(marks)


def often() -> Crons:
    crons = Crons()
    crons.add("often", int, 1)
    assert list(crons)
    return crons


def test_a_slot_that_comes_due_while_the_store_answers_runs_in_that_poll() -> None:
    clock, crons = Clock(), often()

    async def main() -> None:
        process = Process(Slow(clock, seconds=10), crons, clock)
        await process.visit()
        assert await process.slots("often") == [clock.now]

    asyncio.run(main())


def test_what_others_claim_while_the_store_answers_is_no_step_of_the_clock(caplog: pytest.LogCaptureFixture) -> None:
    clock, crons = Clock(), often()
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        other = Memory(store=Store(), keep=1000, host=clock.host)
        process = Process(Slow(clock, seconds=10, other=other), crons, clock)
        await process.visit()
        assert await process.slots("often") == [clock.now], "the other's"
        assert not await process.skips("often")

    asyncio.run(main())
    assert not caplog.messages
