"""`pseudocron health`: the exit code for scripts, the lines for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from cli.shell import named
from pseudocron.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

CRONS = 'crons = {"fails": ("builtins:int", 3600), "works": ("os:getpid", 3600)}'
FAILS = CRONS.replace('("builtins:int", 3600)', '{"run": "builtins:int", "schedule": 3600, "args": ["x"]}')
LATE = 'crons = {"late": {"run": "os:getpid", "schedule": 3600, "last_run": "2024-05-01T00:00:00Z"}}'


def invoke(folder: Path, *argv: str) -> Result:
    return CliRunner().invoke(main, argv, env=named(folder))


def health(folder: Path, *argv: str) -> tuple[int, str]:
    done = invoke(folder, "health", *argv)
    return done.exit_code, done.stdout


def test_a_fresh_store_is_healthy(here: Path) -> None:
    (here / "crons.py").write_text(CRONS)
    assert health(here) == (0, "healthy: config ok, store ok, 2 crons, no poll yet\n")


def test_crons_that_fail_are_named_and_end_with_1_only_if_that_is_asked_for(here: Path) -> None:
    (here / "crons.py").write_text(FAILS)
    for _ in range(2):
        assert invoke(here, "run", "fails").exit_code == 1
    code, said = health(here)
    assert code == 0
    assert said.splitlines()[1:] == ["  fails: its last 2 runs did not succeed, the latest failed"]
    assert [health(here, "--failures", str(number))[0] for number in (1, 2, 3)] == [1, 1, 0]
    assert health(here, "--failures", "2")[1].startswith("not healthy: ")


def test_a_cron_that_is_overdue_ends_with_1(here: Path) -> None:
    (here / "crons.py").write_text(LATE)
    code, said = health(here)
    assert code == 1
    assert "late: overdue by" in said


def test_a_configuration_that_is_wrong_ends_with_1_and_its_line(here: Path) -> None:
    (here / "crons.py").write_text('crons = {"one": ("os:getpid", "sometimes")}')
    code, said = health(here)
    assert code == 1
    assert said.startswith("not healthy: config broken, store not asked")
    assert "'sometimes'" in said


def test_a_store_that_can_not_be_used_ends_with_1_and_its_line(here: Path) -> None:
    (here / "file").touch()
    (here / "crons.py").write_text(f"BACKEND = 'file:file'\n{CRONS}")
    code, said = health(here)
    assert code == 1
    assert "store down" in said
    assert str(here / "file") in said


@pytest.mark.parametrize(("number", "code"), [("1", 1), ("2", 0)])
def test_programs_get_what_the_endpoint_says(here: Path, number: str, code: int) -> None:
    (here / "crons.py").write_text(FAILS)
    invoke(here, "run", "fails")
    done = invoke(here, "health", "--failures", number, "--json")
    values: dict[str, Any] = json.loads(done.stdout)
    assert (done.exit_code, values["healthy"], values["failed"][0]["failures"]) == (code, code == 0, 1)
    assert values["errors"] == []
