"""The help for the tests of applications does what it says."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pseudocron import ConfigError, Crons
from pseudocron.testing import START, DeferredJob, FakeScheduler, FinishedRun
from pseudocron.worker.poll import Poller

if TYPE_CHECKING:
    from pathlib import Path

    from pseudocron.polling import Report


def test_what_falls_due_is_run_in_order_each_at_its_time() -> None:
    crons, seen = Crons(backend="file:nowhere"), []

    @crons.cron("30 0 * * *")
    async def nightly() -> None:
        seen.append(("nightly", scheduler.now))
        await remind.options(delay=600).defer("B-204")

    @crons.task
    def remind(classroom: str) -> None:
        seen.append((classroom, scheduler.now))

    scheduler = FakeScheduler(crons)

    async def main() -> None:
        assert await scheduler.advance(minutes=29) == []
        half = START + timedelta(minutes=30)
        assert await scheduler.advance(hours=1) == [
            FinishedRun("nightly", half, "succeeded"),
            FinishedRun("remind", half + timedelta(minutes=10), "succeeded"),
        ]
        assert seen == [("nightly", half), ("B-204", half + timedelta(minutes=10))]
        assert scheduler.now == START + timedelta(minutes=89)

    asyncio.run(main())


def test_a_job_that_fails_is_seen_to_be_tried_again() -> None:
    crons = Crons()

    @crons.task(retries=1)
    async def broken() -> None:
        raise ValueError

    scheduler = FakeScheduler(crons)

    async def main() -> list[object]:
        await broken.options().defer()
        return [ran.outcome for ran in await scheduler.advance(minutes=1)]

    assert asyncio.run(main()) == ["pending", "failed"]


def test_a_backlog_is_run_to_its_end_and_each_job_returned() -> None:
    crons = Crons(concurrency=2)

    @crons.task
    async def slow(number: int) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    scheduler = FakeScheduler(crons)

    async def main() -> list[str]:
        await slow.defer_many([{"number": number} for number in range(20)])
        return [ran.name for ran in await scheduler.advance(seconds=1)]

    assert asyncio.run(main()) == ["slow"] * 20


def test_jobs_are_compared_by_what_was_deferred() -> None:
    crons = Crons()

    @crons.task
    def remind(classroom: str, lesson: date | None = None) -> None: ...

    @crons.task
    def clean() -> None: ...

    scheduler = FakeScheduler(crons)
    lesson_end, expires = START + timedelta(hours=1), START + timedelta(hours=2)
    job = remind.options(at=lesson_end, key="B-204").defer_sync("B-204", lesson=date(2024, 1, 2))
    clean.options(priority=5, expires=expires).defer_sync()
    first = DeferredJob("remind", {"classroom": "B-204", "lesson": date(2024, 1, 2)}, lesson_end, key="B-204")
    second = DeferredJob("clean", {}, START, priority=5, expires=expires)
    assert scheduler.jobs() == [first, second]
    assert scheduler.jobs("clean") == [second]
    assert scheduler.jobs(key="B-204") == [first]
    assert scheduler.jobs()[0].id == job.id


def test_jobs_are_those_that_wait_unless_a_state_is_given() -> None:
    crons = Crons()

    @crons.task(retries=1)
    async def broken(number: int) -> None:
        raise ValueError

    scheduler = FakeScheduler(crons)

    async def main() -> None:
        await broken.defer(1)
        await broken.options(key="once").defer(2)
        await broken.options(key="once", delay=60).defer(3)
        assert [job.arguments["number"] for job in scheduler.jobs()] == [1, 3]
        assert [job.arguments["number"] for job in scheduler.jobs(state="replaced")] == [2]
        assert [job.state for job in scheduler.jobs(state=None)] == ["pending", "replaced", "pending"]
        await scheduler.advance(seconds=30)
        (failed,) = scheduler.jobs(state="failed")
        assert (failed.arguments["number"], failed.attempts) == (1, 2)
        assert [job.arguments["number"] for job in scheduler.jobs()] == [3]

    asyncio.run(main())


def test_a_state_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="'done' is not a valid State"):
        FakeScheduler(Crons()).jobs(state="done")


def test_time_in_which_nothing_is_due_costs_no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    polls, poll_now = 0, Poller.poll_now

    async def counted(*args: Any, **options: Any) -> Report | None:
        nonlocal polls
        polls += 1
        return await poll_now(*args, **options)

    monkeypatch.setattr(Poller, "poll_now", counted)
    crons = Crons(cron_max_time=30)

    @crons.cron("0 0 1 * *")
    async def monthly() -> None: ...

    with FakeScheduler(crons) as scheduler:
        assert len(asyncio.run(scheduler.advance(days=366))) == 12
    assert polls <= 2 * 12 + 2
    assert crons.settings.cron_max_time == 30


def test_afterwards_the_crons_have_their_own_store_and_clock_again(tmp_path: Path) -> None:
    crons = Crons(backend=f"file:{tmp_path}/store", app="shop")

    @crons.task
    async def later() -> None: ...

    with FakeScheduler(crons) as scheduler:
        assert later.defer_sync().id
    assert not (tmp_path / "store").exists()
    job = later.defer_sync()
    assert (tmp_path / "store" / "shop" / "crons.db").exists()
    assert asyncio.run(scheduler.advance(days=1)) != [], "the job of the scheduler is in its own store"
    found = asyncio.run(crons.job(job.id))
    assert found is not None
    assert found.due > START + timedelta(days=1)
    asyncio.run(crons._connect().close())


def test_the_clock_starts_at_an_aware_instant() -> None:
    with pytest.raises(ConfigError, match=r"^FakeScheduler: start: .*: must be an aware datetime"):
        FakeScheduler(Crons(), start=datetime(2024, 1, 1))  # noqa: DTZ001 - that is what is refused


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
def test_each_test_has_a_scheduler_of_its_own(scheduler, time):
    async def main():
        await restore.options(delay=60).defer("B-204")
        assert [(ran.name, ran.outcome) for ran in await scheduler.advance(hours=1)] == [("restore", "succeeded")]
    asyncio.run(main())
"""
BARE = "def test_it_is_said_what_is_missing(scheduler): pass"


def test_the_fixture_schedules_the_crons_that_another_fixture_returns(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_shop.py").write_text(TESTS)
    assert "2 passed" in of_pytest(tmp_path)
    (tmp_path / "test_shop.py").unlink()
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["pseudocron.pytest_plugin"]')
    (tmp_path / "test_bare.py").write_text(BARE)
    assert "needs a fixture `crons` of yours" in of_pytest(tmp_path)


def of_pytest(folder: Path) -> str:
    """What pytest says of the tests in a folder, where a warning is an error."""
    argv = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--rootdir", str(folder), str(folder)]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_the_help_for_tests_works_without_pytest() -> None:
    ask = "import sys, pseudocron, pseudocron.testing; print('pytest' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
