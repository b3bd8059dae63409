"""`PSEUDOCRON_ENABLED=0`, for the tests of an application: nothing on the disk, nothing runs, an outbox to read."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from support import environ_with

from pseudocron import ConfigError, Crons, JobConflictError, PseudoCronMiddleware
from pseudocron.jobs import outbox
from pseudocron.testing import DeferredJob, FakeScheduler

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from pseudocron.jobs.tasks import Task


@pytest.fixture(autouse=True)
def off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PSEUDOCRON_ENABLED", "0")
    monkeypatch.chdir(tmp_path)  # so that a relative store would be seen


def mailing(crons: Crons, ran: list[str]) -> Task[..., None]:
    @crons.task
    def mail(to: str, after: timedelta = timedelta(1)) -> None:
        ran.append(to)

    return mail


def shop(*, slow: bool = False) -> tuple[Starlette, Crons, list[str]]:
    """An application with a cron that is due at once, and two views that defer."""
    crons, ran = Crons(backend="file:store"), list[str]()
    mail = mailing(crons, ran)

    @crons.every(seconds=1)
    async def work() -> None:
        ran.append("work")
        await asyncio.sleep(60 if slow else 0)

    async def order(_: Request) -> PlainTextResponse:
        await mail.options(delay=60, key="order").defer("customer@test", timedelta(2))
        return PlainTextResponse("ordered")

    def order_sync(_: Request) -> PlainTextResponse:
        mail.defer_sync("other@test")
        return PlainTextResponse("ordered")

    app = Starlette(routes=[Route("/", order), Route("/sync", order_sync)])
    app.add_middleware(PseudoCronMiddleware, crons=crons, ticker=True)
    return app, crons, ran


def test_views_of_a_test_client_defer_into_the_outbox_and_nothing_else(tmp_path: Path) -> None:
    app, crons, ran = shop()
    with TestClient(app) as client:
        assert client.get("/").text == client.get("/sync").text == "ordered"
    assert TestClient(app).get("/sync").text == "ordered"  # without a lifespan, on another event loop
    first, *others = crons.outbox
    assert first == DeferredJob("mail", {"to": "customer@test", "after": timedelta(2)}, due=first.due, key="order")
    assert [job.arguments for job in others] == [{"to": "other@test"}] * 2
    assert first.due - others[0].due > timedelta(seconds=50)
    assert ran == []
    assert list(tmp_path.iterdir()) == []


def test_jobs_of_the_outbox_are_jobs_with_keys_and_handles() -> None:
    crons = Crons(backend="file:store")
    mail = mailing(crons, [])

    async def main() -> None:
        older = await mail.options(key="a").defer("old@test")
        newer = await mail.options(key="a").defer("new@test")
        with pytest.raises(JobConflictError):
            await mail.options(key="a", on_conflict="raise").defer("third@test")
        assert [await older.state(), await newer.state()] == ["replaced", "pending"]
        assert [job.id for job in crons.outbox] == [newer.id]
        assert await newer.cancel()
        assert crons.outbox == []

    asyncio.run(main())


def test_the_outbox_can_be_emptied_between_tests() -> None:
    crons, other = Crons(), Crons()
    mailing(crons, []).defer_sync("one@test")
    mailing(other, []).defer_sync("two@test")
    crons.clear_outbox()
    assert [len(crons.outbox), len(other.outbox)] == [0, 1]
    outbox.clear_all()
    assert other.outbox == []


def test_jobs_that_are_stored_are_in_no_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSEUDOCRON_ENABLED", "1")
    for verb in (lambda crons: crons.outbox, Crons.clear_outbox):
        with pytest.raises(ConfigError, match="set PSEUDOCRON_ENABLED=0 before the tests"):
            verb(Crons())
    assert Crons(backend="memory:").outbox == []


def test_a_fake_scheduler_runs_what_is_deferred_all_the_same() -> None:
    crons, ran = Crons(), list[str]()
    mail = mailing(crons, ran)

    async def main() -> None:
        await mail.defer("customer@test")
        assert [job.task for job in crons.outbox] == ["mail"]
        await scheduler.advance(seconds=1)
        assert ran == ["customer@test"]

    with FakeScheduler(crons) as scheduler:
        asyncio.run(main())
    assert crons.outbox == []


def test_a_test_client_does_not_wait_for_a_drain() -> None:
    app, _, ran = shop(slow=True)
    began = time.monotonic()
    with TestClient(app) as client:
        client.get("/")
    assert time.monotonic() - began < 1  # the default of `drain` is 5
    assert ran == []


CONFIG = """
from pseudocron import Crons

crons = Crons(backend="file:store")

@crons.every(seconds=1)
def work(): ...
"""


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["list"], 0, "everything is switched off"),
        (["pause", "work"], 1, "there is nothing to change"),
        (["run", "work"], 1, "everything is switched off"),
        (["tick"], 0, "everything is switched off"),
    ],
    ids=str,
)
def test_commands_tell_that_everything_is_off_and_leave_the_disk_alone(
    tmp_path: Path, command: list[str], code: int, words: str
) -> None:
    (tmp_path / "crons.py").write_text(CONFIG)
    run = shell(tmp_path, "pseudocron", *command)
    assert run.returncode == code
    assert words in run.stderr
    assert not (tmp_path / "store").exists()


def shell(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", *command]
    env = {**environ_with(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=30)


SHOP = """
from pseudocron import Crons

crons = Crons(backend="file:store")

@crons.task
def mail(to: str): ...
"""
CONFTEST = """
import pytest
import shop

pytest_plugins = ["pseudocron.pytest_plugin"]

@pytest.fixture
def crons():
    return shop.crons
"""
TESTS = """
import shop

def test_one():
    shop.mail.defer_sync("one@test")
    assert [job.arguments for job in shop.crons.outbox] == [{"to": "one@test"}]

def test_each_begins_with_an_empty_outbox():
    assert shop.crons.outbox == []
    shop.mail.defer_sync("two@test")

async def ran(scheduler):
    await shop.mail.defer("three@test")
    return await scheduler.advance(seconds=1)

def test_the_scheduler_runs(scheduler):
    import asyncio

    assert [run.outcome for run in asyncio.run(ran(scheduler))] == ["succeeded"]
    assert shop.crons.outbox == []
"""


def test_the_pytest_plugin_switches_off_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PSEUDOCRON_ENABLED")
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_shop.py").write_text(TESTS)
    options: Any = ["-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", os.fspath(tmp_path)]
    assert "3 passed" in shell(tmp_path, "pytest", *options).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conftest.py", "shop.py", "test_shop.py"]
