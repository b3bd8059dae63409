"""A shell completes commands, options and the names of crons."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from pseudocron.cli import main

BASH = shutil.which("bash")


def completed(line: str) -> list[str]:
    """What a shell offers at the end of a line."""
    *words, incomplete = line.split(" ")
    offers = ShellComplete(main, {}, "pseudocron", "_PSEUDOCRON_COMPLETE").get_completions(words[1:], incomplete)
    return [offer.value for offer in offers]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_asks_pseudocron(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"_PSEUDOCRON_COMPLETE={shell}_complete" in done.stdout


def test_an_unknown_shell_is_a_wrong_command_line() -> None:
    assert CliRunner().invoke(main, ["completion", "csh"]).exit_code == 2


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_bash_completes_a_name(folder: Path) -> None:
    script = """
        eval "$(pseudocron completion bash)"
        COMP_WORDS=(pseudocron run h) COMP_CWORD=2
        _pseudocron_completion pseudocron
        echo "${COMPREPLY[@]}"
    """
    scripts = str(Path(sys.executable).parent)
    environ = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [str(BASH), "-c", script], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "hourly\n", done.stderr


@pytest.mark.parametrize("command", ["next", "history", "run", "pause", "resume", "reset"])
def test_names_come_from_the_configuration(command: str, here: Path) -> None:
    assert completed(f"pseudocron {command} ") == ["hourly", "daily"]
    assert completed(f"pseudocron {command} d") == ["daily"]


def test_names_come_from_the_configuration_that_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "other.py").write_text('crons = {"other": ("os:getpid", 60)}')
    assert completed("pseudocron run --crons other.py ") == completed("pseudocron --crons other.py run ") == ["other"]
    monkeypatch.setenv("PSEUDOCRON_CRONS", "other.py")
    assert completed("pseudocron run ") == ["other"]


@pytest.mark.parametrize("text", ["crons = {", "raise SystemExit(3)", "crons = {'a': ('no:where', 1)}", "1 / 0"])
def test_of_a_configuration_that_is_wrong_there_are_no_names_and_no_noise(
    text: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "crons.py").write_text(f"print('noise')\n{text}")
    assert completed("pseudocron run ") == []
    assert capfd.readouterr() == ("", "")


def test_what_an_application_prints_is_not_for_the_shell(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (here / "crons.py").read_text()
    (here / "crons.py").write_text(f"print('noise')\n{text}")
    assert completed("pseudocron run h") == ["hourly"]
    assert capfd.readouterr() == ("", "")
