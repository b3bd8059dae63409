"""Variables that look like settings and are none are told at the start, by name and never by value."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cli.shell import pseudocron
from support import Lifespan, hello

from pseudocron.config.environment import OF_RUNS, unknown_variables
from pseudocron.config.settings import VARIABLES
from pseudocron.config.source import open_source
from pseudocron.context import CurrentRun
from pseudocron.crons import Crons
from pseudocron.middleware import PseudoCronMiddleware

if TYPE_CHECKING:
    from pathlib import Path

TOLD = [
    ("CRON_MAXTIME", ", did you mean 'CRON_MAX_TIME'?"),
    ("CRONMAXTIME", ", did you mean 'CRON_MAX_TIME'?"),
    ("CRON_MAX_TIMEOUT", ", did you mean 'CRON_MAX_TIME'?"),
    ("cron_max_time", ", did you mean 'CRON_MAX_TIME'?"),
    ("PSEUDOCRON_CRON_MAXTIME", ", did you mean 'PSEUDOCRON_CRON_MAX_TIME'?"),
    ("PSEUDOCRON_BACKENDS", ", did you mean 'PSEUDOCRON_BACKEND'?"),
    ("PSEUDOCRON_ENABLE", ", did you mean 'PSEUDOCRON_ENABLED'?"),
    ("PSEUDOCRON_CRON", ", did you mean 'PSEUDOCRON_CRONS'?"),
    ("PSEUDOCRONS_APP", ", did you mean 'PSEUDOCRON_APP'?"),
    ("PSEUDO_CRON_LEASE", ", did you mean 'PSEUDOCRON_LEASE'?"),
    ("PSEUDOCRON_URL", ""),
]
OTHERS = ["CRON_TZ", "CRON_TIME", "CRON_SCHEDULE", "CRON_MIN_TIME", "MAX_TIME", "_PSEUDOCRON_COMPLETE", "TZ"]


@pytest.mark.parametrize(("name", "fix"), TOLD)
def test_an_unknown_variable_is_told_with_the_one_that_was_meant(name: str, fix: str) -> None:
    assert unknown_variables({name: "secret"}) == [f"environment: {name!r}: is no setting{fix}"]


@pytest.mark.parametrize("name", [*OTHERS, *sorted(VARIABLES), *sorted(OF_RUNS), "PSEUDOCRON_CRONS"])
def test_what_is_read_or_of_another_program_is_not_told(name: str) -> None:
    assert unknown_variables({name: "x"}) == []


def test_a_script_finds_nothing_that_would_be_told() -> None:
    run = CurrentRun(name="a", slot=datetime.now(UTC), fence=1, attempt=1, run_id="1")
    assert set(run._environ()) == OF_RUNS


def test_the_start_tells_each_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRON_MAXTIME", "30")
    middleware = PseudoCronMiddleware(hello, crons=Crons(backend="memory:"))

    async def main() -> None:
        for _ in range(2):
            async with Lifespan(middleware):
                pass

    asyncio.run(main())
    assert caplog.messages == ["environment: 'CRON_MAXTIME': is no setting, did you mean 'CRON_MAX_TIME'?"]


def test_check_tells_them(tmp_path: Path) -> None:
    (tmp_path / "crons.py").write_text("crons = {}")
    done = pseudocron(tmp_path, "check", PSEUDOCRON_LEESE="9")
    line = "Warning: environment: 'PSEUDOCRON_LEESE': is no setting, did you mean 'PSEUDOCRON_LEASE'?"
    assert line in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("CRON_MAXTIME = 5", "CRON_MAX_TIME"),
        ("RETENTION_FAIL = 5", "RETENTION_FAILED"),
        ("CONCURENCY = 5", "CONCURRENCY"),
    ],
)
def test_a_constant_that_is_nearly_a_setting_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, meant: str
) -> None:
    (tmp_path / "crons.py").write_text(f"{line}\nSENDERS = 7\nAPPLICATION = object()\ncrons = {{}}")
    open_source(tmp_path / "crons.py").load()
    (told,) = caplog.messages
    assert told.endswith(f": {line.split(maxsplit=1)[0]!r}: is no setting, did you mean {meant!r}?")
