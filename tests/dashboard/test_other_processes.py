"""What a reader does in the dashboard, and when another process, to which requests come, does it."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from support import Lifespan, hello, visit

from dashboard.house import House
from pseudocron import Crons, PseudoCronMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.alone


def crons_of(store: str, started: list[float]) -> Crons:
    """A cron of half a second and a task that fails; when each of them started."""
    crons = Crons(backend=store, app="pseudocron")

    @crons.every(0.5)
    async def often() -> None:
        started.append(monotonic())

    @crons.task(retries=0)
    async def broken() -> None:
        started.append(monotonic())
        raise ValueError

    return crons


class Other:
    """Another process on the store of the house, with a request every 20 ms."""

    def __init__(self, store: str) -> None:
        self.started: list[float] = []
        self.crons = crons_of(store, self.started)
        self.app = PseudoCronMiddleware(hello, crons=self.crons)

    async def until(self, condition: Callable[[], object], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await visit(self.app)
                await asyncio.sleep(0.02)

    async def for_seconds(self, seconds: float) -> None:
        end = monotonic() + seconds
        await self.until(lambda: monotonic() > end, seconds + 1)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"file:{tmp_path / 'store'}"


@pytest.fixture
def house(store: str) -> Iterator[House]:
    with House.at(crons_of(store, [])) as house:
        yield house


async def act(house: House, path: str, **form: Any) -> float:
    """Do something in the dashboard; when it was done."""
    await asyncio.to_thread(house.act, path, **form)
    return monotonic()


def test_a_cron_that_is_resumed_starts_within_a_second_of_its_slot(store: str, house: House) -> None:
    async def main() -> None:
        other = Other(store)
        async with Lifespan(other.app):
            await act(house, "/cron", name="often", do="pause")
            await other.for_seconds(1.2)
            assert not other.started
            resumed = await act(house, "/cron", name="often", do="resume")
            await other.until(lambda: other.started, 5)
            assert other.started[0] - resumed < 3, "a slot every half a second"

    asyncio.run(main())


def test_a_cron_that_is_paused_starts_no_more(store: str, house: House) -> None:
    async def main() -> None:
        other = Other(store)
        async with Lifespan(other.app):
            await other.until(lambda: other.started, 2)
            paused = await act(house, "/cron", name="often", do="pause")
            await other.for_seconds(1.2)
            assert other.started[-1] - paused < 0.2, "one that was being claimed"

    asyncio.run(main())


def test_a_job_that_is_retried_starts_within_a_second(store: str, house: House) -> None:
    async def main() -> None:
        other = Other(store)
        async with Lifespan(other.app):
            await act(house, "/cron", name="often", do="pause")
            job = await other.crons._task_named("broken").defer()
            await other.until(lambda: other.started, 2)
            await other.for_seconds(1.2)
            assert len(other.started) == 1
            assert "pending again" in await asyncio.to_thread(house.act, "/job", id=job.id, do="retry")
            retried = monotonic()
            await other.until(lambda: len(other.started) == 2, 5)
            assert other.started[1] - retried < 2

    asyncio.run(main())
