"""What is mistyped in a shell, or in what it names, gets one line with the fix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from cli.shell import named
from pseudocron.cli import main

if TYPE_CHECKING:
    from pathlib import Path

CRONS = """
from pseudocron import Crons

crons = Crons()

@crons.task
def restore(classroom: str) -> None:
    pass
"""


@pytest.fixture
def school(here: Path) -> Path:
    (here / "crons.py").write_text(CRONS)
    return here


def error_of(folder: Path, *argv: str) -> str:
    done = CliRunner().invoke(main, argv, env=named(folder))
    assert done.exit_code == 1, done.output
    return done.stderr


@pytest.mark.parametrize("command", ["run", "next", "pause", "why"])
def test_a_task_is_named_as_one_where_a_cron_is_meant(school: Path, command: str) -> None:
    said = "there is no cron 'restore': it is a task, which is run by a job: pseudocron defer restore\n"
    assert error_of(school, command, "restore") == f"Error: {said}"


def test_an_unknown_argument_of_a_task_is_named(school: Path) -> None:
    said = error_of(school, "defer", "restore", "--arg", "clasroom=B-204")
    assert said == "Error: restore(): has no parameter 'clasroom', did you mean 'classroom'?\n"


def test_check_refuses_a_target_that_lacks_an_argument(here: Path) -> None:
    (here / "crons.py").write_text(CRONS + "\ncrons.every(60)(restore)\n")
    said = error_of(here, "check")
    assert said.startswith("Error: ")
    assert "'restore': " in said
    assert "missing a required argument: 'classroom'" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("digits", ["12345", "049151", "1.10"])
def test_digits_that_are_typed_stay_text_where_text_is_meant(school: Path, digits: str) -> None:
    runner, environ = CliRunner(), named(school)
    assert runner.invoke(main, ["defer", "restore", "--arg", f"classroom={digits}"], env=environ).exit_code == 0
    (job,) = json.loads(runner.invoke(main, ["jobs", "--json"], env=environ).stdout)
    assert job["arguments"] == {"classroom": digits}
