"""A coroutine that blocks its event loop is named once; what awaits, or has a thread, is not."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from executors.executing import RUN, ended
from pseudocron import Crons
from pseudocron.backends.model import State
from pseudocron.executors import blocking
from pseudocron.executors.blocking import timed
from pseudocron.testing import FakeScheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

now = 0.0


@pytest.fixture(autouse=True)
def owned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only `block` moves, and no names of other tests."""
    monkeypatch.setattr(blocking, "monotonic", lambda: now)
    monkeypatch.setattr(blocking, "_named", set())


def block(seconds: float = 1.5) -> None:
    global now  # noqa: PLW0603 - the clock of this module
    now += seconds


async def at_once() -> None:
    block()


async def later() -> None:
    await asyncio.sleep(0)
    block()
    await asyncio.sleep(0)


async def as_it_is_cancelled() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        block()


async def and_fails() -> None:
    await asyncio.sleep(0)
    block()
    raise ValueError


async def waits() -> None:
    for _ in range(3):
        asyncio.get_running_loop().call_soon(block)
        await asyncio.sleep(0.001)


async def for_a_second() -> None:
    block(0.5)
    await asyncio.sleep(0)
    block(1)


def in_a_thread() -> None:
    block()


def plain() -> Any:
    return at_once()


def named(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if "blocked the event loop" in record.getMessage()]


@pytest.mark.parametrize("function", [at_once, later, and_fails, as_it_is_cancelled, plain])
def test_what_blocks_the_event_loop_is_named_once(function: Any, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        ended(function, timeout=0.01 if function is as_it_is_cancelled else None)
    (line,) = named(caplog)
    assert line.startswith(f"{RUN.name}: blocked the event loop: 1.5 s without an await; make it a plain function")


@pytest.mark.parametrize("function", [waits, for_a_second, in_a_thread])
def test_what_awaits_or_has_a_thread_is_not(function: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert ended(function).outcome is State.SUCCEEDED
    assert named(caplog) == []


def test_middleware_does_not_hide_it(caplog: pytest.LogCaptureFixture) -> None:
    crons = Crons()

    @crons.middleware
    async def session() -> AsyncIterator[None]:
        yield

    crons.add("sleepy", at_once, 3600)
    with FakeScheduler(crons) as scheduler:
        asyncio.run(scheduler.advance(seconds=1))
    (line,) = named(caplog)
    assert line.startswith("sleepy: blocked")


# It awaits as Python does


class Marker:
    """Something to hold."""


def test_it_returns_raises_and_is_cancelled_as_the_coroutine() -> None:
    async def main() -> None:
        async def catches() -> str:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "caught"
            return "late"

        async def value() -> int:
            return await asyncio.sleep(0, 5)

        assert await timed(value(), RUN) == 5
        assert await timed(asyncio.sleep(0, 6), RUN) == 6
        future = asyncio.get_running_loop().create_future()
        future.set_result(7)
        assert await timed(future, RUN) == 7
        with pytest.raises(ValueError):  # noqa: PT011 - it has no words
            await timed(and_fails(), RUN)
        async with asyncio.timeout(0.01):
            assert await timed(catches(), RUN) == "caught"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await timed(asyncio.sleep(60), RUN)

    asyncio.run(main())


def test_a_coroutine_that_is_closed_ends() -> None:
    ends: list[str] = []

    async def waits_long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("end")

    async def main() -> None:
        code = outer()
        code.send(None)
        code.close()

    async def outer() -> None:
        await timed(waits_long(), RUN)

    asyncio.run(main())
    assert ends == ["end"]


def test_an_exception_is_not_held_by_its_own_traceback() -> None:
    async def main() -> weakref.ref[Marker]:
        marker = Marker()

        async def fails(held: Marker) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                held.error = KeyError  # type: ignore[attr-defined]
                raise

        task = asyncio.ensure_future(timed(fails(marker), RUN))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return weakref.ref(marker)

    gc.disable()
    try:
        assert asyncio.run(main())() is None
    finally:
        gc.enable()
