"""Leases are kept until a run is recorded; only one that is taken away is a loss."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support import START, Clock, wait_until

from pseudocron.backends.memory import Memory
from pseudocron.context import CurrentRun, current_run
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from pseudocron.host import Pulse
from pseudocron.runner import Runner
from pseudocron.runner.leases import Keeper

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pseudocron.backends.records import Claim, Result


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
    runner = Runner(backend, host=clock.host, worker="me", concurrency=1, lease=30)

    async def main() -> None:
        (started,) = (await runner.look(crons)).started
        await started.task

    asyncio.run(main())
    assert len(renewed) == 1
    assert "is lost" not in caplog.text
    assert not runner._runs.keeper._held


def test_the_thread_ends_when_nothing_is_held_any_more_and_the_next_claim_is_renewed_too() -> None:
    renewed: list[str] = []

    def renew(claims: Sequence[str], _: float) -> Sequence[str]:
        renewed.extend(claims)
        return claims

    def threads() -> int:
        ours = set(threading.enumerate()) - others
        return sum(thread.name == "pseudocron-leases" for thread in ours)

    others = set(threading.enumerate())
    keeper = Keeper(renew, 0.03, str)
    for claim in ("first", "second"):
        keeper.hold(claim, keeper.asked())
        wait_until(partial(renewed.__contains__, claim))
        assert threads() == 1
        keeper.drop(claim)
        wait_until(lambda: threads() == 0)


@pytest.mark.parametrize("error", [BackendError("away"), ZeroDivisionError()], ids=["away", "a bug"])
def test_after_an_error_of_the_store_the_next_beat_renews(error: Exception) -> None:
    asked, renewed = [0], list[float]()

    def renew(claims: Sequence[str], _: float) -> Sequence[str]:
        asked[0] += 1
        if asked[0] == 1:
            raise error
        renewed.append(time.monotonic())
        return claims

    keeper = Keeper(renew, 0.3, str)
    began = time.monotonic()
    keeper.hold("a", keeper.asked())
    wait_until(lambda: len(renewed) == 2, 3)
    keeper.close()
    assert 0.2 <= renewed[0] - began < 0.5, "a third of the lease after the one that failed"
    assert 0.1 <= renewed[1] - renewed[0] < 0.3


def test_a_result_that_is_being_recorded_is_renewed_once_and_not_for_ever() -> None:
    renewed = list[str]()

    def renew(claims: Sequence[str], _: float) -> Sequence[str]:
        renewed.extend(claims)
        return claims

    keeper = Keeper(renew, 30, str)
    keeper.hold("a", keeper.asked())
    keeper.end("a")
    for _ in range(3):
        keeper.renew()
    keeper.close()
    assert renewed == ["a"]


def test_what_outlasts_its_run_is_renewed_until_its_code_has_ended() -> None:
    renewed, over = list[str](), list[bool]()

    def renew(claims: Sequence[str], _: float) -> Sequence[str]:
        renewed.extend(claims)
        return claims

    keeper = Keeper(renew, 30, str)
    keeper.hold("a", keeper.asked())
    keeper.outlast("a", lambda: bool(over))
    keeper.close()  # the event loop has ended, its thread goes on
    keeper.renew()
    over.append(True)
    keeper.renew()
    keeper.close()
    assert renewed == ["a"]


def test_a_lease_that_can_not_be_renewed_is_trusted_for_nine_tenths_of_it_and_never_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = BackendError("away")
    clock, trouble = [100.0], [away]

    def renew(claims: Sequence[str], _: float) -> Collection[str]:
        if trouble:
            raise trouble[0]
        return claims

    keeper = Keeper(renew, 30, str, pulse=Pulse(monotonic=lambda: clock[0]))
    keeper.hold("a", 98)
    clock[0] = 98 + 27
    with pytest.raises(BackendError):
        keeper.renew()
    assert keeper.holds("a")
    trouble.clear()
    keeper.renew()
    clock[0] += 27
    assert keeper.holds("a")
    clock[0] += 0.1
    assert not keeper.holds("a")
    keeper.renew()
    keeper.renew()
    assert not keeper.holds("a")
    assert caplog.messages == ["the lease of run a could not be renewed in time: it is told to stop"]
    keeper.close()


def test_a_run_that_is_being_recorded_needs_to_be_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    keeper = Keeper(lambda claims, _: claims, 30, str, pulse=Pulse(monotonic=lambda: clock[0]))
    keeper.hold("a", 0)
    keeper.end("a")
    clock[0] = 31
    keeper.renew()
    assert not caplog.messages
    keeper.close()


def test_outside_of_a_process_that_keeps_its_lease_nothing_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    run = CurrentRun(name="cron", slot=START, fence=1, attempt=1, run_id="a")
    for name, value in run._environ().items():
        monkeypatch.setenv(name, value)
    assert not current_run().cancelled
    assert not current_run().cancelled.is_set()
