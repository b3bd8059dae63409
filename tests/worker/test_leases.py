"""Leases are kept until a run is recorded; only one that is taken away is a loss."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support import START, wait_until

from pseudocron.backends.file.backend import Memory
from pseudocron.backends.model import Kind
from pseudocron.backends.questions import Claim
from pseudocron.context import CurrentRun, current_run
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from pseudocron.host import Pulse
from pseudocron.worker.leases import LeaseRenewer
from worker.world import World

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pseudocron.backends.questions import End, Finished, Take


def claim(run_id: str) -> Claim:
    return Claim(run_id, Kind.JOB, "task", START, 1, 1, 0, START)


def never() -> bool:
    return False


def test_a_renewal_beside_the_record_of_a_run_finds_no_lease_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crons, renewed = Crons(), list[int]()
    crons.add("cron", int, 60)

    class Renewing(Memory):
        async def finish(self, ends: Sequence[End], take: Take | None = None) -> Finished:
            finished = await super().finish(ends, take)
            await asyncio.to_thread(world.runs.leases.renew)
            renewed.append(len(ends))
            return finished

    world = World(crons, store=Renewing)
    asyncio.run(world.poll_all())
    assert renewed == [1]
    assert "lost" not in caplog.text
    assert not world.runs.leases._held


def test_the_thread_ends_with_the_last_lease_and_starts_with_the_next() -> None:
    renewed: list[str] = []

    def renew(claims: Sequence[Claim], _: float) -> Collection[str]:
        ids = [one.run_id for one in claims]
        renewed.extend(ids)
        return ids

    def threads() -> int:
        ours = set(threading.enumerate()) - others
        return sum(thread.name == "pseudocron-leases" for thread in ours)

    others = set(threading.enumerate())
    renewer = LeaseRenewer(renew, 0.03)
    for name in ("first", "second"):
        renewer.hold([claim(name)], renewer.asked(), never)
        wait_until(partial(renewed.__contains__, name))
        assert threads() == 1
        renewer.drop(claim(name))
        wait_until(lambda: threads() == 0)


@pytest.mark.parametrize("error", [BackendError("away"), ZeroDivisionError()], ids=["away", "a bug"])
def test_after_an_error_of_the_store_the_next_beat_renews(error: Exception) -> None:
    asked, renewed = [0], list[float]()

    def renew(claims: Sequence[Claim], _: float) -> Collection[str]:
        asked[0] += 1
        if asked[0] == 1:
            raise error
        renewed.append(time.monotonic())
        return [one.run_id for one in claims]

    renewer = LeaseRenewer(renew, 0.3)
    began = time.monotonic()
    renewer.hold([claim("a")], renewer.asked(), never)
    wait_until(lambda: len(renewed) == 2, 3)
    renewer.close()
    assert 0.2 <= renewed[0] - began < 0.5, "a third of the lease after the one that failed"
    assert 0.1 <= renewed[1] - renewed[0] < 0.3


def test_a_result_that_is_being_recorded_is_renewed_once_and_not_for_ever() -> None:
    renewed = list[str]()

    def renew(claims: Sequence[Claim], _: float) -> Collection[str]:
        ids = [one.run_id for one in claims]
        renewed.extend(ids)
        return ids

    renewer = LeaseRenewer(renew, 30)
    renewer.hold([claim("a")], renewer.asked(), never)
    renewer.ended(claim("a"))
    for _ in range(3):
        renewer.renew()
    renewer.close()
    assert renewed == ["a"]


def test_what_outlasts_its_run_is_renewed_until_its_code_has_ended() -> None:
    renewed, over = list[str](), list[bool]()

    def renew(claims: Sequence[Claim], _: float) -> Collection[str]:
        ids = [one.run_id for one in claims]
        renewed.extend(ids)
        return ids

    renewer = LeaseRenewer(renew, 30)
    renewer.hold([claim("a")], renewer.asked(), never)
    renewer.outlast(claim("a"), lambda: bool(over))
    renewer.close()  # the event loop has ended, its thread goes on
    renewer.renew()
    over.append(True)
    renewer.renew()
    renewer.close()
    assert renewed == ["a"]


def test_a_lease_that_is_not_renewed_is_trusted_for_nine_tenths(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = BackendError("away")
    clock, trouble = [100.0], [away]

    def renew(claims: Sequence[Claim], _: float) -> Collection[str]:
        if trouble:
            raise trouble[0]
        return [one.run_id for one in claims]

    renewer = LeaseRenewer(renew, 30, pulse=Pulse(monotonic=lambda: clock[0]))
    renewer.hold([claim("a")], 98, never)
    clock[0] = 98 + 27
    with pytest.raises(BackendError):
        renewer.renew()
    assert renewer.holds(claim("a"))
    trouble.clear()
    renewer.renew()
    clock[0] += 27
    assert renewer.holds(claim("a"))
    clock[0] += 0.1
    assert not renewer.holds(claim("a"))
    renewer.renew()
    renewer.renew()
    assert not renewer.holds(claim("a"))
    assert caplog.messages == ["run a: lease not renewed in time: the run is notified to stop"]
    renewer.close()


def test_a_run_that_is_being_recorded_needs_to_be_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    renewer = LeaseRenewer(
        lambda claims, _: [one.run_id for one in claims], 30, pulse=Pulse(monotonic=lambda: clock[0])
    )
    renewer.hold([claim("a")], 0, never)
    renewer.ended(claim("a"))
    clock[0] = 31
    renewer.renew()
    assert not caplog.messages
    renewer.close()


def test_outside_of_a_process_that_keeps_its_lease_nothing_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    run = CurrentRun(name="cron", slot=START, fence=1, attempt=1, run_id="a")
    for name, value in run._environ().items():
        monkeypatch.setenv(name, value)
    assert not current_run().cancelled
    assert not current_run().cancelled.is_set()
