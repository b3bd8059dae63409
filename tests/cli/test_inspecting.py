"""What is seen of schedules, of the history, and of what is wrong."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from cli.shell import asked, named, pseudocron
from pseudocron.cli import main

if TYPE_CHECKING:
    from pathlib import Path

TWO = 'crons = {"hourly": ("jobs:work", 3600), "broken": ("jobs:fail", 3600)}'


def test_list_warns_of_a_cron_of_which_another_schedule_counts(folder: Path) -> None:
    (folder / "crons.py").write_text('crons = {"cron": ("jobs:work", "0 2 * * *")}')
    pseudocron(folder, "tick")
    assert asked(folder, "list")[0]["counting"] is None
    (folder / "crons.py").write_text('crons = {"cron": ("jobs:work", "0 16 * * *")}')
    done = pseudocron(folder, "list")
    assert "\nWarning: cron: another schedule counts since " in done.stderr
    assert "at 02:00 every day" in done.stderr
    (shown,) = asked(folder, "list")
    assert (shown["due"], shown["next"][11:16], shown["counting"]) == (False, "16:00", "at 02:00 every day (UTC)")
    pseudocron(folder, "tick")
    assert asked(folder, "list")[0]["counting"] is None
    assert "Warning" not in pseudocron(folder, "list").stderr


def test_next_shows_the_coming_slots_in_the_readers_zone(folder: Path) -> None:
    done = pseudocron(folder, "next", "digest", "-n", "12", TZ="Asia/Shanghai")
    head, *shown = done.stdout.splitlines()
    assert head.split() == ["NEXT", "RUN", "IN"]
    slots = [datetime.fromisoformat(line[:25]) for line in shown]
    assert len(slots) == 12
    assert slots == sorted(slots)
    assert {slot.strftime("%H:%M:%S%z") for slot in slots} == {"07:00:00+0800"}
    assert all(slot.weekday() < 5 for slot in slots)


def test_next_tells_programs_the_slot_and_when_its_jitter_has_it_run(folder: Path) -> None:
    (folder / "crons.py").write_text('crons = {"cron": {"run": "jobs:work", "schedule": 3600, "jitter": 60}}')
    (first, *others) = asked(folder, "next", "cron")
    assert len(others) == 9
    slot, due = datetime.fromisoformat(first["slot"]), datetime.fromisoformat(first["due"])
    assert (slot.minute, slot.utcoffset()) == (0, timedelta())
    assert slot <= due <= slot + timedelta(seconds=60)


def test_next_of_a_disabled_cron_says_so_beside_the_table(folder: Path) -> None:
    done = pseudocron(folder, "next", "off", "-n", "1")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert "disabled" in done.stderr


def test_next_asks_no_store(folder: Path) -> None:
    pseudocron(folder, "next", "hourly")
    assert not (folder / ".pseudocron").exists()


@pytest.mark.parametrize("command", ["next", "history", "run", "pause", "resume", "reset"])
def test_an_unknown_name_is_one_line_with_the_one_that_was_meant(command: str, here: Path) -> None:
    done = CliRunner().invoke(main, [command, "hourli"], env=named(here))
    assert done.exit_code == 1
    assert done.stderr == "Error: there is no cron 'hourli', did you mean 'hourly'?\n"


def test_history_shows_outcome_lateness_duration_and_error(folder: Path) -> None:
    (folder / "crons.py").write_text(TWO)
    pseudocron(folder, "tick")
    head, *shown = pseudocron(folder, "history").stdout.splitlines()
    assert head.split() == ["NAME", "SLOT", "OUTCOME", "LATE", "TOOK", "WHY"]
    broken = next(line for line in shown if line.startswith("broken"))
    assert " failed " in broken
    assert broken.endswith("ZeroDivisionError: division by zero")
    assert [line.split()[0] for line in pseudocron(folder, "history", "hourly").stdout.splitlines()[1:]] == ["hourly"]


def test_history_as_json_has_all_that_is_known(folder: Path) -> None:
    (folder / "crons.py").write_text(TWO)
    pseudocron(folder, "tick")
    assert len(asked(folder, "history", "--limit", "1")) == 1
    (run,) = asked(folder, "history", "broken")
    assert (run["outcome"], run["reason"]) == ("failed", None)
    assert run["error"].startswith("Traceback")
    slot, started, ended = (datetime.fromisoformat(run[key]) for key in ("slot", "started", "ended"))
    assert run["lateness"] == (started - slot).total_seconds()
    assert run["duration"] == (ended - started).total_seconds()


def test_history_shows_skipped_slots_with_their_reason_and_number(folder: Path) -> None:
    (folder / "crons.py").write_text('crons = {"hourly": ("jobs:work", 3600)}')
    pseudocron(folder, "reset", "hourly", "--yes", "--to", "2024-05-01T00:30:00+00:00")
    pseudocron(folder, "tick")
    run, skip = asked(folder, "history")
    assert (run["outcome"], skip["outcome"], skip["reason"]) == ("succeeded", "skipped", "no_traffic")
    assert (skip["lateness"], skip["duration"]) == (None, None)
    line = pseudocron(folder, "history").stdout.splitlines()[2]
    assert line.split()[2:] == ["skipped", "-", "-", "no_traffic,", str(skip["slots"]), "slots"]


def test_a_run_that_is_retried_is_shown_with_when_and_its_attempts(folder: Path) -> None:
    crons = {"broken": {"run": "jobs:fail", "schedule": 3600, "retries": 2}}
    (folder / "crons.py").write_text(f"{crons = }")
    assert pseudocron(folder, "tick").returncode == 0, "another attempt follows"
    (run,) = asked(folder, "history")
    assert (run["outcome"], run["attempt"]) == ("pending", 1)
    assert run["due"] > run["ended"]
    assert [attempt["outcome"] for attempt in run["earlier"]] == ["failed"]
    (line,) = pseudocron(folder, "history").stdout.splitlines()[1:]
    assert "  retries at " in line
    assert line.endswith(": ZeroDivisionError: division by zero")
    assert "  retries at " in pseudocron(folder, "list").stdout
    (why, *_) = asked(folder, "why", "broken")
    assert (why["kind"], why["run"]["run_id"]) == ("retrying", run["run_id"])
    assert why["sentence"].startswith("failed, and runs again at ")


def test_history_of_a_cron_that_has_left_the_configuration_can_be_seen(folder: Path) -> None:
    pseudocron(folder, "tick")
    (folder / "crons.py").write_text(TWO.replace("hourly", "other"))
    assert [run["name"] for run in asked(folder, "history", "hourly")] == ["hourly"]


def test_check_shows_the_settings_and_that_the_store_can_be_opened(folder: Path) -> None:
    done = pseudocron(folder, "check", PSEUDOCRON_LEASE="7")
    settings = dict(line.split(None, 1) for line in done.stdout.split("\n\n")[0].splitlines()[1:])
    assert (settings["lease"], settings["backend"], settings["folder"]) == ("7.0", "file:.pseudocron", str(folder))
    assert f"\nThe store file:{folder}/.pseudocron can be opened.\n" in done.stdout


@pytest.mark.parametrize("command", [["next", "a", "-n", "1"], ["check"], ["jobs"], ["jobs", "purge"], ["tick"]])
def test_the_configuration_may_be_named_before_the_command(here: Path, command: list[str]) -> None:
    (here / "crons.py").unlink()
    (here / "own.py").write_text('BACKEND = "file:own"\ncrons = {"a": ("os:getpid", "@yearly")}')
    absent = {"PSEUDOCRON_CRONS": str(here / "absent.py")}
    assert CliRunner().invoke(main, ["--crons", str(here / "own.py"), *command], env=absent).exit_code == 0
    done = CliRunner().invoke(main, ["--crons", "own.py", *command, "--crons", "absent.py"])
    assert (done.exit_code, "absent.py: there is no such file" in done.stderr) == (1, True)
    assert CliRunner().invoke(main, command, env=absent).exit_code == 1


@pytest.mark.parametrize("command", ["tick", "work", "list"])
def test_a_wrong_configuration_is_one_line_and_nothing_else(tmp_path: Path, command: str) -> None:
    done = pseudocron(tmp_path, command, PYTHONWARNINGS="always")
    assert (done.returncode, done.stderr) == (1, f"Error: crons.py: there is no such file in {tmp_path}\n")


def test_list_names_the_store_beside_the_table(folder: Path) -> None:
    done = pseudocron(folder, "list", PSEUDOCRON_APP="shop")
    assert done.stderr == f"Store: file:{folder}/.pseudocron/shop\n"


def test_check_exits_with_1_and_one_line_when_the_store_cannot_be_opened(folder: Path) -> None:
    (folder / ".pseudocron").write_text("no folder")
    done = pseudocron(folder, "check")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(folder / ".pseudocron") in done.stderr
    assert "hourly" in done.stdout


def test_json_is_an_array_also_where_there_is_nothing(folder: Path) -> None:
    assert json.loads(pseudocron(folder, "history", "--json").stdout) == []
