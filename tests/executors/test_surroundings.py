"""Child processes in unusual surroundings: the environment of the server, its locale, its signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import pytest

from executors.executing import ended
from pseudocron.backends.model import State

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., Path]

# What Python itself writes to stderr


@pytest.mark.parametrize("variable", ["PYTHONVERBOSE=1", "PYTHONMALLOCSTATS=1"])
def test_what_python_writes_to_stderr_is_not_taken_for_the_report(
    write: Write, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(*variable.split("="))
    result = ended(write("print('done')"))
    assert (result.outcome, result.error) == (State.SUCCEEDED, None)
    assert "done\n" in (result.output or "")


def test_a_site_that_prints_does_not_spoil_the_report(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("import atexit; print('{}' * 50_000); atexit.register(print, '{}')", name="sitecustomize.py")
    script = write("import sys; sys.exit(4)", name="failing.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert (ended(script).error or "").startswith("exit code 4")


EXECUTES = """
    import asyncio, sys
    from pathlib import Path
    from executors.executing import RUN, call
    from pseudocron.executors import child_process, execute
    child_process.tail = lambda text: text
    start = child_process._supervisor

    def started(report):
        supervisor = start(report)
        read = supervisor.stdout.read
        def tee():
            said = read()
            print(said.decode(), file=sys.stderr)
            return said
        supervisor.stdout = type("Tee", (), {"read": staticmethod(tee), "close": supervisor.stdout.close})
        return supervisor

    child_process._supervisor = started
    for target, process in ((Path(sys.argv[1]), False), ("os:getpid", True)):
        ended = asyncio.run(execute(call(target, process=process), RUN))
        print(ended.outcome, ended.output)
"""


def test_neither_server_nor_supervisor_nor_child_leaves_a_file_unclosed(write: Write) -> None:
    script = write("print('done')")
    program = write(EXECUTES, name="executes.py")
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    argv = [sys.executable, "-X", "dev", "-W", "always::ResourceWarning", str(program), str(script)]
    environ = {**os.environ, "PYTHONPATH": path, "PYTHONDEVMODE": "1", "PYTHONWARNINGS": "default"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "succeeded done\n\nsucceeded \n", done.stderr
    assert "ResourceWarning" not in done.stderr


# Names, arguments and output in any locale

CHINESE = """\
crons = {
    "备份": {"run": "备份.py", "schedule": 60, "args": ["数据库", "müller"]},
    "报表": {"run": "jobs:report", "schedule": 60, "executor": "process", "args": ["数据库"]},
}
"""
REPORTS = """
from pseudocron import current_run

def report(*args):
    print(current_run().name, *args)
"""
WITHOUT_UTF_8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("locales")
    argv = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / "de_DE.ISO-8859-1")]
    if which("localedef") is None or subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("there is no such locale")
    return {**WITHOUT_UTF_8, "LC_ALL": "de_DE.ISO-8859-1", "LOCPATH": str(folder)}


@pytest.mark.parametrize("where", ["C", "Latin-1"])
def test_chinese_names_arguments_and_output_are_kept_in_any_locale(
    write: Write, tmp_path: Path, request: pytest.FixtureRequest, where: str
) -> None:
    locale = request.getfixturevalue("latin_1") if where == "Latin-1" else WITHOUT_UTF_8
    (tmp_path / "crons.py").write_text(CHINESE, encoding="utf-8")
    write(REPORTS, name="jobs.py")
    shown = "import os, sys; from jobs import report; report(*map(os.fsencode, sys.argv[1:]))"
    (tmp_path / "备份.py").write_text(shown, encoding="utf-8")
    argv = [sys.executable, "-m", "pseudocron"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **locale}
    done = subprocess.run([*argv, "tick"], cwd=tmp_path, env=environ, capture_output=True, timeout=60, check=False)
    assert not done.returncode, done.stderr.decode(errors="replace")
    told = subprocess.run([*argv, "history", "--json"], cwd=tmp_path, env=environ, capture_output=True, check=True)
    name = "müller".encode("latin-1" if where == "Latin-1" else "utf-8")
    outputs = {line["name"]: line["output"] for line in json.loads(told.stdout)}
    assert outputs == {"备份": f"备份 {'数据库'.encode()!r} {name!r}\n", "报表": "报表 数据库\n"}


def test_output_that_is_no_utf_8_stays_readable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    script = write(r"import os; os.write(1, 'schön\n'.encode() + b'sch\xf6n\r\n' + '数据库\n'.encode())")
    assert ended(script).output == "schön\nsch\\xf6n\r\n数据库\n"
    monkeypatch.setattr("locale.getencoding", lambda: "ISO-8859-1")
    assert ended(script).output == "schön\nschön\r\n数据库\n"


def test_a_word_with_a_nul_is_a_failure_with_its_reason(write: Write) -> None:
    assert "embedded null byte" in (ended(write(""), "a\0b").error or "")
