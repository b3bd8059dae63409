"""A look claims and starts; runs are executed, tried again, and recorded, each on its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import Clock, until

from pseudocron.backends.memory import Memory, Store
from pseudocron.backends.records import Claim, Outcome, Proposal, Reason
from pseudocron.context import current_run
from pseudocron.crons import Crons
from pseudocron.errors import BackendError
from pseudocron.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pseudocron.backends.base import Backend
    from pseudocron.backends.records import Result, Run


def a_runner(backend: Backend, clock: Clock, *, concurrency: int = 10, lease: float = 30) -> Runner:
    return Runner(backend, host=clock.host, worker="me", concurrency=concurrency, lease=lease)


def checked(crons: Crons) -> Crons:
    """The same crons, as the config hands them to a look: all resolved, off the event loop."""
    assert list(crons)
    return crons


async def run_all(runner: Runner) -> None:
    while runner.runs:
        await asyncio.wait(runner.runs)


def once(crons: Crons, body: Callable[[Crons, Runner, Memory], Awaitable[None]], **options: Any) -> list[Run]:
    """A look over the crons on a clock that stands still, then the body; the history, newest first."""
    clock = Clock()
    checked(crons)

    async def main() -> list[Run]:
        backend = Memory(host=clock.host)
        runner = a_runner(backend, clock, **options)
        await runner.look(crons)
        await body(crons, runner, backend)
        await run_all(runner)
        return list(await backend.history(limit=1000))

    return asyncio.run(main())


async def nothing_more(crons: Crons, runner: Runner, backend: Memory) -> None:
    """The look was all."""


def test_a_look_starts_what_is_due_and_does_not_wait_for_it() -> None:
    crons, go_on = Crons(), asyncio.Event()

    @crons.every(60)
    async def slow() -> None:
        await go_on.wait()

    async def body(_: Crons, runner: Runner, backend: Memory) -> None:
        assert len(runner.runs) == 1
        assert [run.outcome for run in await backend.history()] == [None]
        go_on.set()

    (run,) = once(crons, body)
    assert (run.outcome, run.worker) == (Outcome.SUCCEEDED, "me")


def test_no_more_is_claimed_than_there_is_room_for_and_the_oldest_slots_come_first() -> None:
    crons, go_on = Crons(), asyncio.Event()
    for number in range(5):
        crons.add(f"cron{number}", go_on.wait, 3600 - number)

    checked(crons)

    async def main() -> None:
        clock = Clock()
        backend = Memory(host=clock.host)
        runner = a_runner(backend, clock, concurrency=3)
        looked = await runner.look(crons)
        assert looked.left
        assert runner.full
        slots = sorted((cron.schedule.latest(clock.now - timedelta(hours=1), clock.now), cron.name) for cron in crons)
        assert [started.claim.name for started in looked.started] == [name for _, name in slots[:3]]
        go_on.set()
        await run_all(runner)
        looked = await runner.look(crons)
        assert not looked.left
        assert [started.claim.name for started in looked.started] == [name for _, name in slots[3:]]
        await run_all(runner)

    asyncio.run(main())


def test_a_look_tells_when_the_next_one_is_wanted() -> None:
    crons = Crons()
    crons.add("hourly", print, 3600)
    crons.add("often", print, 90)

    checked(crons)

    async def main() -> None:
        clock = Clock()
        runner = a_runner(Memory(host=clock.host), clock)
        looked = await runner.look(crons)
        assert looked.next == clock.now + timedelta(seconds=30), "the leases of what it has started end"
        await run_all(runner)
        looked = await runner.look(crons)
        assert looked.next == crons["often"].schedule.next(clock.now)

    asyncio.run(main())


def test_one_failing_and_one_stuck_cron_delay_no_other() -> None:
    crons, done, go_on = Crons(), threading.Event(), threading.Event()
    crons.add("stuck", go_on.wait, 60)
    crons.add("broken", lambda: 1 / 0, 60)
    crons.add("fine", done.set, 60)

    async def body(_: Crons, runner: Runner, backend: Memory) -> None:
        await until(done.is_set)
        await until(lambda: len(runner.runs) == 1)
        go_on.set()

    outcomes = {run.name: run.outcome for run in once(crons, body)}
    assert outcomes == {"stuck": "succeeded", "broken": "failed", "fine": "succeeded"}


def test_each_run_gives_one_line_with_name_slot_lateness_duration_and_outcome(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    crons = Crons()
    crons.add("digest", int, 3600, last_run="2024-05-01T10:59:58+00:00")
    once(crons, nothing_more)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "digest: slot 2024-05-01T11:59:58+00:00, 2.000 s late, took 0.000 s: succeeded"


def test_a_failure_is_stored_and_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    crons = Crons()

    @crons.every(60)
    def broken() -> None:
        raise ValueError("oh no")

    (run,) = once(crons, nothing_more)
    assert run.outcome == Outcome.FAILED
    assert run.error is not None
    assert run.error.endswith("ValueError: oh no\n")
    assert run.error in caplog.text


def test_retries_stay_within_the_claim_and_wait_longer_each_time() -> None:
    crons, tries = Crons(), []

    @crons.every(60, retries=3)
    async def flaky() -> None:
        tries.append(1)
        if len(tries) < 4:
            raise ValueError

    clock = Clock()

    checked(crons)

    async def main() -> list[Run]:
        backend = Memory(host=clock.host)
        runner = a_runner(backend, clock)
        await runner.look(crons)
        await run_all(runner)
        return list(await backend.history())

    (run,) = asyncio.run(main())
    assert (run.outcome, run.attempt, len(tries)) == (Outcome.SUCCEEDED, 1, 4)
    assert clock.slept == [0.5, 1.0, 2.0], "half of 1, 2 and 4 seconds, as chance is owned here"


def test_after_its_last_retry_a_run_has_failed() -> None:
    crons, tries = Crons(), []

    @crons.every(60, retries=2)
    async def broken() -> None:
        tries.append(1)
        raise ValueError

    (run,) = once(crons, nothing_more)
    assert (run.outcome, len(tries)) == (Outcome.FAILED, 3)


def test_a_second_look_records_the_overlap_of_a_run_that_goes_on() -> None:
    crons, go_on = Crons(), asyncio.Event()
    crons.add("slow", go_on.wait, 1)
    clock = Clock()

    checked(crons)

    async def main() -> list[Run]:
        backend = Memory(host=clock.host)
        runner = a_runner(backend, clock)
        await runner.look(crons)
        clock.forward(1)
        assert (await runner.look(crons)).started == []
        go_on.set()
        await run_all(runner)
        return list(await backend.history())

    skip, run = asyncio.run(main())
    assert (skip.reason, skip.slot) == (Reason.OVERLAP, run.slot + timedelta(seconds=1))


def test_the_lost_run_of_a_cron_that_recovers_is_taken_over_by_the_next_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crons, attempts, clock = Crons(), [], Clock()
    go_on = asyncio.Event()

    @crons.every(3600, at_least_once=True)
    async def important() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            await go_on.wait()

    checked(crons)

    async def main() -> list[Run]:
        store = Store()
        dying, living = (a_runner(Memory(store=store, host=clock.host), clock) for _ in range(2))
        await dying.look(crons)
        await until(lambda: attempts)
        clock.forward(31)  # the keeper's thread renews by the real clock, in ten seconds
        assert len((await living.look(crons)).started) == 1
        await run_all(living)
        go_on.set()
        await run_all(dying)
        return list(await Memory(store=store, host=clock.host).history())

    second, first = asyncio.run(main())
    assert (first.outcome, first.attempt) == (Outcome.LOST, 1)
    assert (second.outcome, second.attempt, second.slot) == (Outcome.SUCCEEDED, 2, first.slot)
    assert second.fence > first.fence
    assert "is lost" in caplog.text
    assert "came after its lease" in caplog.text, "the late holder's result is refused, and said to be"


class Away(Memory):
    """A store that is away while it is told to be."""

    away = True

    async def finish(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
        if self.away:
            self.away = False
            raise BackendError("the store is away")
        return await super().finish(claim, result, keep_lease=keep_lease)


def test_a_result_is_recorded_when_the_store_is_back(caplog: pytest.LogCaptureFixture) -> None:
    crons, clock = Crons(), Clock()
    crons.add("cron", int, 60)

    checked(crons)

    async def main() -> list[Run]:
        backend = Away(host=clock.host)
        runner = a_runner(backend, clock)
        await runner.look(crons)
        await run_all(runner)
        return list(await backend.history())

    (run,) = asyncio.run(main())
    assert run.outcome == Outcome.SUCCEEDED
    assert "could not be recorded yet: the store is away" in caplog.text


def test_a_thread_beyond_its_timeout_keeps_its_lease_until_it_returns() -> None:
    crons, go_on, clock = Crons(), threading.Event(), Clock()
    crons.add("stuck", go_on.wait, 1, timeout=0.05)

    checked(crons)

    async def main() -> list[Run]:
        backend = Memory(host=clock.host)
        runner = a_runner(backend, clock)
        await runner.look(crons)
        await run_all(runner)
        clock.forward(1)
        await runner.look(crons)
        assert not runner.runs, "it would overlap itself"
        go_on.set()
        await until(lambda: not backend._store.living("stuck"))
        clock.forward(1)
        assert len((await runner.look(crons)).started) == 1
        await run_all(runner)
        return list(await backend.history())

    again, overlap, stuck = asyncio.run(main())
    assert (stuck.outcome, overlap.reason, again.outcome) == ("timed_out", "overlap", "succeeded")


@pytest.mark.alone
def test_a_blocked_event_loop_loses_no_lease() -> None:
    crons = Crons()
    lease = 0.3

    @crons.every(3600)
    async def blocks_the_loop() -> None:
        end = time.monotonic() + 4 * lease
        while time.monotonic() < end:
            pass

    checked(crons)

    async def reap_until_it_ends(backend: Memory) -> None:
        while not any(run.outcome for run in await backend.history()):
            await backend.reap()
            await asyncio.sleep(0.01)

    async def main() -> list[Run]:
        store = Store()
        runner = Runner(Memory(store=store), host=Clock().host, worker="me", concurrency=1, lease=lease)
        other = threading.Thread(target=asyncio.run, args=(reap_until_it_ends(Memory(store=store)),))
        other.start()
        await runner.look(crons)
        await run_all(runner)
        other.join()
        return list(await Memory(store=store).history())

    (run,) = asyncio.run(main())
    assert run.outcome == Outcome.SUCCEEDED


def test_a_drain_waits_then_interrupts_and_records() -> None:
    crons = Crons()

    @crons.every(60)
    async def endless() -> None:
        await asyncio.Event().wait()

    crons.add("quick", int, 60)

    async def body(_: Crons, runner: Runner, backend: Memory) -> None:
        await runner.drain(0.05)
        assert not runner.runs

    outcomes = {run.name: run.outcome for run in once(crons, body)}
    assert outcomes == {"endless": "interrupted", "quick": "succeeded"}


def test_a_drain_ends_though_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pseudocron.runner.pool.RECORD_WITHIN", 0.05)
    monkeypatch.setattr("pseudocron.runner.runs.RECORD_WITHIN", 0.05)
    crons = Crons()
    crons.add("cron", int, 60)

    async def refuse(*_: object, **__: object) -> bool:
        raise BackendError("the store is away")

    async def body(_: Crons, runner: Runner, backend: Memory) -> None:
        monkeypatch.setattr(backend, "finish", refuse)
        async with asyncio.timeout(5):
            await runner.drain(0.05)

    once(crons, body)


def test_without_coalesce_every_missed_slot_runs_one_after_the_other() -> None:
    crons, ran, clock = Crons(), [], Clock()

    @crons.every(60, coalesce=False)
    async def each() -> None:
        ran.append(current_run().slot)

    checked(crons)

    async def main() -> list[Run]:
        backend = Memory(host=clock.host)
        runner = a_runner(backend, clock)
        await runner.look(crons)
        await run_all(runner)
        clock.forward(600)
        while (await runner.look(crons)).left:
            await run_all(runner)
        await run_all(runner)
        return list(await backend.history(limit=100))

    lines = asyncio.run(main())
    assert ran == [ran[0] + timedelta(seconds=60 * number) for number in range(11)]
    assert {line.outcome for line in lines} == {Outcome.SUCCEEDED}


def test_a_disabled_cron_recovers_nothing() -> None:
    ran: list[int] = []
    clock = Clock()

    def one(**options: Any) -> Crons:
        crons = Crons()
        crons.add("cron", lambda: ran.append(1), 3600, at_least_once=True, **options)
        return checked(crons)

    on, off = one(), one(enabled=False)

    async def main() -> None:
        store = Store()
        claim = await Memory(store=store, host=clock.host).claim(
            Proposal(name="cron", slot=on["cron"]._first_mark(clock.now), worker="dead", lease=1, recover=True)
        )
        assert isinstance(claim, Claim)
        clock.forward(2)
        runner = a_runner(Memory(store=store, host=clock.host), clock)
        await runner.look(off)
        await run_all(runner)
        assert not ran
        await runner.look(on)
        await run_all(runner)
        assert ran

    asyncio.run(main())


def test_slots_to_recover_that_find_no_room_are_left_for_a_look_that_comes_soon() -> None:
    crons, clock, go_on = Crons(), Clock(), asyncio.Event()
    for name in ("a", "b"):
        crons.add(name, go_on.wait, 3600, at_least_once=True)
    checked(crons)

    async def main() -> None:
        store = Store()
        dead = Memory(store=store, host=clock.host)
        for cron in crons:
            await dead.claim(
                Proposal(name=cron.name, slot=cron._first_mark(clock.now), worker="dead", lease=1, recover=True)
            )
        clock.forward(2)
        runner = a_runner(Memory(store=store, host=clock.host), clock, concurrency=1)
        looked = await runner.look(crons)
        assert len(looked.started) == 1
        assert looked.left
        go_on.set()
        await run_all(runner)

    asyncio.run(main())


def test_a_process_does_not_take_its_own_runs_for_lost_when_the_clock_has_stepped() -> None:
    crons, starts, clock, go_on = Crons(), [], Clock(), asyncio.Event()

    @crons.every(86400, at_least_once=True)
    async def long() -> None:
        starts.append(1)
        await go_on.wait()

    checked(crons)

    async def main() -> None:
        backend = Memory(host=clock.host)
        runner = a_runner(backend, clock)
        await runner.look(crons)
        clock.forward(3600)
        looked = await runner.look(crons)
        assert looked.started == []
        go_on.set()
        await run_all(runner)
        (run,) = await backend.history()
        assert run.outcome == Outcome.SUCCEEDED

    asyncio.run(main())
    assert starts == [1]


def test_a_run_that_lost_its_lease_while_it_waited_is_not_tried_again() -> None:
    crons, tries, clock = Crons(), [], Clock()

    @crons.every(3600, retries=5)
    async def flaky() -> None:
        tries.append(1)
        raise ValueError

    checked(crons)

    async def main() -> None:
        backend = Memory(host=clock.host)
        runner = a_runner(backend, clock)

        async def sleep(_: float) -> None:
            runner._runs.keeper.close()

        runner._runs._worker = replace(runner._worker, host=replace(clock.host, sleep=sleep))
        await runner.look(crons)
        await run_all(runner)

    asyncio.run(main())
    assert tries == [1]


def test_a_run_that_is_interrupted_while_the_store_is_away_gives_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pseudocron.runner.pool.RECORD_WITHIN", 0.05)
    monkeypatch.setattr("pseudocron.runner.runs.RECORD_WITHIN", 0.05)
    crons, clock = Crons(), Clock()
    crons.add("endless", asyncio.Event().wait, 3600)
    checked(crons)

    class Gone(Memory):
        async def finish(self, *_: object, **__: object) -> bool:
            raise BackendError("the store is away")

    async def main() -> None:
        runner = a_runner(Gone(host=clock.host), clock)
        await runner.look(crons)
        (run,) = runner.runs
        await until(lambda: runner._pool._executing)
        run.cancel()
        await asyncio.wait_for(run, 5)

    asyncio.run(main())
