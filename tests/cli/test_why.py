"""What `pseudocron why` says."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support import wait_until

from cli.shell import asked, named, pseudocron, recorded, start
from pseudocron.cli import main

if TYPE_CHECKING:
    from pathlib import Path

LONG = 'crons = {"long": ("jobs:until_told", 3600)}'
PAST = ("--yes", "--to", "2024-05-01T00:30:00+00:00")


def here_says(folder: Path, *argv: str) -> str:
    """What a command in this process prints."""
    done = CliRunner().invoke(main, [*argv], env=named(folder))
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def ticked(here: Path) -> Path:
    """A cron whose store was left alone for long, and then looked at."""
    here_says(here, "reset", "hourly", *PAST)
    here_says(here, "tick")
    return here


def test_it_says_what_became_of_the_last_slots_the_newest_first(ticked: Path) -> None:
    head, ran, skipped, before = here_says(ticked, "why", "hourly", "-n", "3").splitlines()
    assert head.split() == ["SLOT", "WHAT", "SLOTS", "WHY"]
    assert ran.split()[1 if ran[2] == ":" else 2] == "succeeded"
    assert " began it " in ran
    assert " for a request, " in ran
    assert " no_traffic " in skipped
    assert ": nobody came by from 2024-05-01 " in skipped
    assert " never known: " in before


def test_it_tells_programs_the_parts_of_a_lateness(ticked: Path) -> None:
    ran, skipped = json.loads(here_says(ticked, "why", "hourly", "-n", "2", "--json"))
    assert (ran["kind"], ran["run"]["outcome"], ran["reason"]) == ("ran", "succeeded", None)
    assert sum(ran["parts"].values()) == pytest.approx(ran["lateness"])
    assert (skipped["kind"], skipped["reason"], skipped["parts"]) == ("skipped", "no_traffic", {})
    assert datetime.fromisoformat(skipped["first"]) == datetime.fromisoformat("2024-05-01T01:00:00+00:00")


def test_of_one_slot_it_prints_the_whole_sentence_in_the_readers_zone(ticked: Path) -> None:
    slot = "2024-05-01T02:00:00+00:00"
    said = pseudocron(ticked, "why", "hourly", "--at", slot, TZ="Asia/Shanghai", COLUMNS="40").stdout
    assert said.startswith("2024-05-01 10:00:00+08:00: skipped: nobody came by from 2024-05-01 09:00:00+08:00 to ")


def test_where_there_is_no_slot_the_nearest_two_are_named(here: Path) -> None:
    said = here_says(here, "why", "hourly", "--at", "2024-05-01T02:30:00+00:00")
    assert ": no slot of hourly: every hour; the nearest are 2024-" in said


def test_an_overlap_names_the_run_of_another_process_that_was_in_the_way(folder: Path) -> None:
    (folder / "crons.py").write_text(LONG)
    with start(folder, "run", "long") as other:
        wait_until((folder / "begun").exists)
        pseudocron(folder, "tick")
        told = asked(folder, "why", "long")
        (folder / "end").touch()
    skipped = next(one for one in told if one["reason"] == "overlap")
    run = next(run for run in recorded(folder, "long") if not run.is_skip)
    assert skipped["run"]["blockers"] == [{"run_id": run.run_id, "worker": run.worker}]
    assert run.worker.endswith(f":{other.pid}")
    assert f"overlap with run {run.run_id} on {run.worker}, running since " in skipped["sentence"]


def test_a_time_that_is_none_and_a_cron_that_is_none_are_one_line(here: Path) -> None:
    done = CliRunner().invoke(main, ["why", "hourly", "--at", "noon"], env=named(here))
    assert done.exit_code == 2
    assert "'noon': must be ISO text with its offset from UTC" in done.stderr
    done = CliRunner().invoke(main, ["why", "hourli"], env=named(here))
    assert (done.exit_code, done.stderr) == (1, "Error: there is no cron 'hourli', did you mean 'hourly'?\n")
