"""Pausing, resuming, and setting a mark right."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from cli.shell import asked, named, pseudocron, recorded
from pseudocron.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def hourly(folder: Path) -> tuple[bool, bool]:
    cron = asked(folder, "list")[0]
    return cron["paused"], cron["due"]


def test_a_paused_cron_is_skipped_until_it_is_resumed(folder: Path) -> None:
    assert pseudocron(folder, "pause", "hourly").stdout == "hourly is paused\n"
    assert hourly(folder) == (True, False)
    assert pseudocron(folder, "tick").stdout == ""
    assert [run.reason for run in recorded(folder, "hourly")] == ["paused"]
    assert pseudocron(folder, "resume", "hourly").stdout == "hourly is not paused\n"
    assert hourly(folder) == (False, False)


def test_a_reset_asks_first_and_changes_nothing_without_a_yes(folder: Path) -> None:
    for said in ("n\n", ""):
        done = pseudocron(folder, "reset", "hourly", said=said)
        assert done.returncode == 1
        assert "Set the mark of hourly from " in done.stdout
    assert hourly(folder) == (False, True)
    assert pseudocron(folder, "reset", "hourly", said="y\n").returncode == 0
    assert hourly(folder) == (False, False)


def test_a_reset_to_the_past_lets_the_latest_slot_run_again(folder: Path) -> None:
    pseudocron(folder, "tick")
    before = datetime.now(UTC) - timedelta(hours=3)
    done = pseudocron(folder, "reset", "hourly", "--yes", "--to", before.isoformat())
    assert (done.returncode, hourly(folder)) == (0, (False, True))
    assert "at work" in pseudocron(folder, "tick").stdout


def stale_in(folder: Path) -> float:
    return (folder / ".pseudocron/cron.lock").stat().st_mtime - time.time()


def test_a_cron_whose_mark_is_reset_is_polled_for_at_once(folder: Path) -> None:
    pseudocron(folder, "tick")
    assert stale_in(folder) > 5
    pseudocron(folder, "reset", "hourly", "--yes")
    assert stale_in(folder) <= 0


def test_a_cron_that_is_resumed_is_polled_for_at_its_next_slot(folder: Path) -> None:
    (folder / "crons.py").write_text('crons = {"often": ("jobs:work", 20)}')
    pseudocron(folder, "pause", "often")
    pseudocron(folder, "tick")
    assert stale_in(folder) > 25
    pseudocron(folder, "resume", "often")
    assert stale_in(folder) < 20


@pytest.mark.parametrize("to", ["tomorrow", "2024-05-01T08:00:00", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00Z"])
def test_a_mark_that_makes_no_sense_is_a_wrong_command_line(to: str, here: Path) -> None:
    done = CliRunner().invoke(main, ["reset", "hourly", "--yes", "--to", to])
    assert done.exit_code == 2
    assert to in done.stderr


@pytest.mark.parametrize("command", [["pause", "hourly"], ["resume", "hourly"], ["reset", "hourly", "--yes"]])
def test_of_a_store_that_ends_with_its_process_nothing_can_be_changed(command: list[str], here: Path) -> None:
    done = CliRunner().invoke(main, command, env={**named(here), "PSEUDOCRON_BACKEND": "memory:"})
    assert done.exit_code == 1
    assert "'memory:'" in done.stderr
