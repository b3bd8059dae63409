"""The help for the tests of applications does what it says."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pseudocron import ConfigError, Crons
from pseudocron.testing import START, Ran, World

if TYPE_CHECKING:
    from pathlib import Path


def test_what_falls_due_is_run_in_order_each_at_its_time() -> None:
    crons, seen = Crons(backend="file:nowhere"), []

    @crons.cron("30 0 * * *")
    async def nightly() -> None:
        seen.append(("nightly", world.now))
        await remind.options(delay=600).defer("B-204")

    @crons.task
    def remind(classroom: str) -> None:
        seen.append((classroom, world.now))

    world = World(crons)

    async def main() -> None:
        assert await world.advance(minutes=29) == []
        half = START + timedelta(minutes=30)
        assert await world.advance(hours=1) == [
            Ran("nightly", half, "succeeded"),  # type: ignore[arg-type]
            Ran("remind", half + timedelta(minutes=10), "succeeded"),  # type: ignore[arg-type]
        ]
        assert seen == [("nightly", half), ("B-204", half + timedelta(minutes=10))]
        assert world.now == START + timedelta(minutes=89)

    asyncio.run(main())


def test_a_job_that_fails_is_seen_to_be_tried_again() -> None:
    crons = Crons()

    @crons.task(retries=1)
    async def broken() -> None:
        raise ValueError

    world = World(crons)

    async def main() -> list[object]:
        await broken.options().defer()
        return [ran.outcome for ran in await world.advance(minutes=1)]

    assert asyncio.run(main()) == ["pending", "failed"]


def test_a_backlog_is_run_to_its_end_and_each_job_returned() -> None:
    crons = Crons(concurrency=2)

    @crons.task
    async def slow(number: int) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    world = World(crons)

    async def main() -> list[str]:
        await slow.defer_many([{"number": number} for number in range(20)])
        return [ran.name for ran in await world.advance(seconds=1)]

    assert asyncio.run(main()) == ["slow"] * 20


def test_afterwards_the_crons_have_their_own_store_and_clock_again(tmp_path: Path) -> None:
    crons = Crons(backend=f"file:{tmp_path}/store", app="shop")

    @crons.task
    async def later() -> None: ...

    with World(crons) as world:
        assert later.defer_sync().id
    assert not (tmp_path / "store").exists()
    job = later.defer_sync()
    assert (tmp_path / "store" / "shop" / "crons.db").exists()
    assert asyncio.run(world.advance(days=1)) != [], "what the world had of its own stays there"
    found = asyncio.run(crons.job(job.id))
    assert found is not None
    assert found.due > START + timedelta(days=1)
    asyncio.run(crons.backend.close())


def test_a_world_begins_at_an_aware_instant() -> None:
    with pytest.raises(ConfigError, match=r"^World: start: .*: must be an aware datetime"):
        World(Crons(), start=datetime(2024, 1, 1))  # noqa: DTZ001 - that is what is refused


CONFTEST = """
import pytest
from pseudocron import Crons

pytest_plugins = ["pseudocron.pytest_plugin"]
shop = Crons()

@shop.task
async def restore(classroom: str) -> None: ...

@pytest.fixture
def crons() -> Crons:
    return shop
"""
TESTS = """
import asyncio
import pytest
from conftest import restore

@pytest.mark.parametrize("time", [1, 2])
def test_each_test_has_a_world_of_its_own(world, time):
    async def main():
        await restore.options(delay=60).defer("B-204")
        assert [(ran.name, ran.outcome) for ran in await world.advance(hours=1)] == [("restore", "succeeded")]
    asyncio.run(main())
"""
BARE = "def test_it_is_said_what_is_missing(world): pass"


def test_the_fixture_is_a_world_of_the_crons_that_another_returns(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_shop.py").write_text(TESTS)
    assert "2 passed" in of_pytest(tmp_path)
    (tmp_path / "test_shop.py").unlink()
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["pseudocron.pytest_plugin"]')
    (tmp_path / "test_bare.py").write_text(BARE)
    assert "asks for a fixture `crons` of yours" in of_pytest(tmp_path)


def of_pytest(folder: Path) -> str:
    """What pytest says of the tests in a folder, where a warning is an error."""
    argv = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--rootdir", str(folder), str(folder)]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_the_help_for_tests_works_without_pytest() -> None:
    ask = "import sys, pseudocron, pseudocron.testing; print('pytest' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
