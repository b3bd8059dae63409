"""The commands as people type them, in processes of their own."""

from __future__ import annotations

import json
import signal
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from support import wait_until

from cli.shell import pseudocron, start

if TYPE_CHECKING:
    from pathlib import Path


def test_check_shows_each_schedule_in_words_and_its_next_three_runs(folder: Path) -> None:
    done = pseudocron(folder, "check")
    assert done.returncode == 0, done.stderr
    assert "3 crons" in done.stdout
    block = done.stdout.split("\n\n")[2]
    assert block.startswith("digest: ")
    assert "Asia/Shanghai" in block
    runs = [datetime.fromisoformat(run) for run in block.splitlines()[-1].removeprefix("  next ").split(", ")]
    assert len(runs) == 3
    assert {(run.hour, run.minute, run.utcoffset() is not None) for run in runs} == {(23, 0, True)}


def test_times_are_shown_in_the_readers_zone(folder: Path) -> None:
    assert "07:00:00+08:00" in pseudocron(folder, "check", TZ="Asia/Shanghai").stdout


def test_check_says_what_is_wrong_in_one_line_and_exits_with_1(folder: Path) -> None:
    (folder / "crons.py").write_text('crons = {"digest": {"run": "jobs:work", "schedule": 60, "timout": 5}}')
    done = pseudocron(folder, "check")
    assert done.returncode == 1
    assert done.stderr == "Error: crons.py: 'digest': unknown option 'timout', did you mean 'timeout'?\n"


def test_tick_runs_what_is_due_once_and_list_tells(folder: Path) -> None:
    before = json.loads(pseudocron(folder, "list", "--json").stdout)
    assert [(cron["name"], cron["due"]) for cron in before] == [("hourly", True), ("digest", False), ("off", False)]
    first, second = pseudocron(folder, "tick"), pseudocron(folder, "tick")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "at work" in first.stdout
    assert "hourly: slot" in first.stderr
    assert "at work" not in second.stdout
    (cron, *_) = json.loads(pseudocron(folder, "list", "--json").stdout)
    assert (cron["runs"], cron["failures"], cron["due"], cron["last"]["outcome"]) == (1, 0, False, "succeeded")


def test_tick_exits_with_1_when_a_run_fails_and_shows_its_traceback(folder: Path) -> None:
    (folder / "crons.py").write_text('crons = {"broken": ("jobs:fail", 60)}')
    done = pseudocron(folder, "tick")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_tick_goes_on_until_nothing_is_due_though_there_is_little_room(folder: Path) -> None:
    (folder / "crons.py").write_text('crons = {f"cron{n}": ("jobs:work", 3600) for n in range(5)}\nCONCURRENCY = 2')
    assert pseudocron(folder, "tick").stdout.count("at work") == 5


def test_a_tick_that_is_told_to_stop_drains(folder: Path) -> None:
    (folder / "jobs.py").write_text("import time\ndef work():\n    print('begins', flush=True)\n    time.sleep(60)\n")
    tick = start(folder, "tick", PSEUDOCRON_DRAIN="0.1")
    with tick:
        assert tick.stdout is not None
        assert tick.stdout.readline() == "begins\n"
        tick.send_signal(signal.SIGTERM)
        wait_until(lambda: tick.poll() is not None)
    assert tick.returncode == 128 + signal.SIGTERM
    (hourly, *_) = json.loads(pseudocron(folder, "list", "--json").stdout)
    assert hourly["last"]["outcome"] == "interrupted"


def test_list_is_a_table_for_people(folder: Path) -> None:
    pseudocron(folder, "tick")
    head, hourly, digest, off = pseudocron(folder, "list").stdout.splitlines()
    assert head.split()[:2] == ["NAME", "SCHEDULE"]
    assert "succeeded" in hourly
    assert "never" in digest
    assert "disabled" in off


@pytest.mark.parametrize("how", ["option", "environment"])
def test_the_configuration_may_be_an_import_string(how: str, folder: Path) -> None:
    argv, environ = (["--crons", "crons:crons"], {}) if how == "option" else ([], {"PSEUDOCRON_CRONS": "crons:crons"})
    done = pseudocron(folder, "check", *argv, **environ)
    assert done.returncode == 0, done.stderr
    assert "3 crons" in done.stdout


def test_a_configuration_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = pseudocron(tmp_path, "check")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "crons.py" in done.stderr


def test_switched_off_a_tick_runs_nothing_and_says_why(folder: Path) -> None:
    done = pseudocron(folder, "tick", PSEUDOCRON_ENABLED="0")
    assert (done.returncode, done.stdout) == (0, "")
    assert "PSEUDOCRON_ENABLED" in done.stderr
