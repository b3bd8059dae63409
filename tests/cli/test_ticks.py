"""The exit code of a tick, for the system's crontab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import wait_until

from cli.shell import pseudocron, recorded

if TYPE_CHECKING:
    from pathlib import Path

CRONS = """
from pseudocron import Crons

crons = Crons()

@crons.task(retries=0)
def job(fails: bool) -> None:
    assert not fails

"""
RETRIED = (
    CRONS
    + """
@crons.every(3600, retries=1)
def cron() -> None:
    1 / 0
"""
)


@pytest.mark.parametrize(("fails", "code"), [("true", 1), ("false", 0)])
def test_a_tick_fails_if_a_job_has_failed_for_good(tmp_path: Path, fails: str, code: int) -> None:
    (tmp_path / "crons.py").write_text(CRONS)
    assert pseudocron(tmp_path, "defer", "job", "--arg", f"fails={fails}").returncode == 0
    assert pseudocron(tmp_path, "tick").returncode == code


def test_a_tick_fails_with_the_last_retry_only(tmp_path: Path) -> None:
    (tmp_path / "crons.py").write_text(RETRIED)
    first = pseudocron(tmp_path, "tick")
    assert first.returncode == 0, first.stderr
    assert [run.outcome for run in recorded(tmp_path)] == ["pending"]
    wait_until(lambda: pseudocron(tmp_path, "tick").returncode == 1, 10)
    assert [run.outcome for run in recorded(tmp_path)] == ["failed"]
