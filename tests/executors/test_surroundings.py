"""Child processes in unusual surroundings: the environment of the server, its locale, its signals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
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
