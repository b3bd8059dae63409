"""Leases are kept until a run is recorded; only one that is taken away is a loss."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support import Clock, wait_until

from pseudocron.backends.memory import Memory
from pseudocron.crons import Crons
from pseudocron.leases import Keeper
from pseudocron.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pseudocron.backends.base import Claim, Result


def test_a_renewal_between_the_record_of_a_run_and_its_end_finds_no_lease_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crons, clock = Crons(), Clock()
    renewed: list[Claim] = []
    crons.add("cron", int, 60)
    assert list(crons)

    class Renewing(Memory):
        async def finish(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
            own = await super().finish(claim, result, keep_lease=keep_lease)
            await asyncio.to_thread(runner._runs.keeper.renew)
            renewed.append(claim)
            return own

    backend = Renewing(host=clock.host)
    runner = Runner(backend, host=clock.host, worker="me", concurrency=1, lease=30, state={})

    async def main() -> None:
        (started,) = (await runner.look(crons)).started
        await started.task

    asyncio.run(main())
    assert len(renewed) == 1
    assert "is lost" not in caplog.text
    assert not runner._runs.keeper._ending


def test_the_thread_ends_when_nothing_is_held_any_more_and_the_next_claim_is_renewed_too() -> None:
    renewed: list[str] = []

    def renew(claims: Sequence[str], _: float) -> Sequence[str]:
        renewed.extend(claims)
        return claims

    def threads() -> int:
        return sum(thread.name == "pseudocron-leases" for thread in threading.enumerate())

    before = threads()
    keeper = Keeper(renew, 0.03, str)
    for claim in ("first", "second"):
        keeper.hold(claim)
        wait_until(partial(renewed.__contains__, claim))
        assert threads() == before + 1
        keeper.drop(claim)
        wait_until(lambda: threads() == before)
