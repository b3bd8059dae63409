"""One timer and one wake-up of an event loop, however many runs it has."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from executors.executing import RUN, call, until
from pseudocron.backends.model import State
from pseudocron.executors import execute
from pseudocron.executors.wakeups import Wakeups, of_loops


class Counting(asyncio.SelectorEventLoop):
    """An event loop that counts timers and wake-ups."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[float] = []
        self.wakeups = 0

    def call_at(self, when: float, *args: Any, **options: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        self.timers.append(when)
        return super().call_at(when, *args, **options)

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        self.wakeups += 1
        return super().call_soon_threadsafe(*args, **options)


def counting(main: Any) -> None:
    with asyncio.Runner(loop_factory=Counting) as runner:
        runner.run(main(runner.get_loop()))


async def quick() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("function", [quick, int], ids=["coroutine", "thread"])
def test_a_thousand_runs_start_one_timer(function: Any) -> None:
    async def main(loop: Counting) -> None:
        for _ in range(100):
            await asyncio.gather(*(execute(call(function, timeout=1000), RUN) for _ in range(10)))
        assert len(loop.timers) == 1

    counting(main)


def test_many_deadlines_are_kept_each_in_time() -> None:
    late: list[float] = []

    async def main(loop: Counting) -> None:
        async def one(seconds: float) -> None:
            before = loop.time()
            assert (await execute(call(asyncio.sleep, 60, timeout=seconds), RUN)).outcome is State.TIMED_OUT
            late.append(loop.time() - before - seconds)

        await asyncio.gather(*(one(seconds) for seconds in (0.5, 0.1, 1000e-3, 0.3, 0.2, 0.1, 0)))

    counting(main)
    assert len(late) == 7
    assert min(late) >= 0
    assert max(late) < 0.2


def test_an_earlier_deadline_replaces_the_timer_and_a_later_one_does_not() -> None:
    async def main(loop: Counting) -> None:
        wakeups, waiters = of_loops[loop], [loop.create_future() for _ in range(3)]
        now = loop.time()
        for waiter, at in zip(waiters, (100, 200, 0.01), strict=True):
            wakeups.add_deadline(waiter, now + at)
        assert [round(at - now, 2) for at in loop.timers] == [100, 0.01]
        await asyncio.wait_for(waiters[2], 1)
        assert loop.timers[-1] - now == pytest.approx(100)
        assert not waiters[0].done()

    counting(main)


def test_deadlines_of_runs_that_have_ended_are_forgotten() -> None:
    async def main(loop: Counting) -> None:
        for _ in range(1000):
            await execute(call(quick, timeout=1000), RUN)
        assert len(of_loops[loop]._deadlines) <= 65

    counting(main)


def test_threads_that_end_together_wake_the_event_loop_once() -> None:
    async def main(loop: Counting) -> None:
        barrier = threading.Barrier(21, timeout=5)
        runs = [asyncio.create_task(execute(call(barrier.wait), RUN)) for _ in range(20)]
        await until(lambda: barrier.n_waiting == 20)
        before = loop.wakeups
        barrier.wait()
        time.sleep(0.3)  # noqa: ASYNC251 - the loop is busy while they end
        ends = await asyncio.gather(*runs)
        assert {end.outcome for end in ends} == {State.SUCCEEDED}
        assert loop.wakeups - before == 1

    counting(main)


def test_what_is_posted_while_others_are_delivered_is_delivered_too() -> None:
    delivered: list[int] = []

    class Posted:
        def __init__(self, number: int) -> None:
            self.number = number

        def deliver(self) -> None:
            delivered.append(self.number)
            if self.number < 3:
                of_loops[asyncio.get_running_loop()].post(Posted(self.number + 1))

    async def main(loop: Counting) -> None:
        of_loops[loop].post(Posted(1))
        await until(lambda: delivered == [1, 2, 3])

    counting(main)


def test_what_is_posted_to_a_closed_event_loop_is_dropped() -> None:
    loop = Counting()
    wakeups = Wakeups(loop)
    loop.close()
    wakeups.post(Unwanted())
    wakeups.post(Unwanted())
    assert not wakeups._posted


class Unwanted:
    def deliver(self) -> None:
        raise AssertionError


def test_closed_event_loops_are_forgotten() -> None:
    async def main() -> None:
        await execute(call(quick, timeout=5), RUN)
        assert sum(loop.is_closed() for loop in of_loops) == 0

    for _ in range(5):
        asyncio.run(main())
