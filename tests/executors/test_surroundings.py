"""Child processes in unusual surroundings: the environment of the server, its locale, its signals."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import pytest

from executors.executing import RUN, call, ended
from pseudocron.backends.model import State
from pseudocron.executors import child_process, execute, wrapped
from pseudocron.targets import Shell

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


def test_a_long_argument_needs_no_folder_for_temporary_files(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("raise OSError('no usable temporary directory')", name="tempfile.py")
    write("def measure(text): print(len(text))", name="measuring.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert ended("measuring:measure", "x" * 300_000, process=True).output == "300000\n"


def test_a_child_that_reads_only_a_part_of_its_long_argument_ends(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_a_script(*_: object) -> child_process.Command:
        return child_process.Command(argv=["/bin/sh", "-c", "head -c 3"], stdin="x" * 300_000)

    monkeypatch.setattr(wrapped, "command", of_a_script)
    assert ended(write("")).output == "xxx"


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


# The options of an entry


def test_a_command_line_is_run_by_a_shell_with_its_variables_in_its_folder(write: Write, tmp_path: Path) -> None:
    line = Shell("echo $COLOUR $PSEUDOCRON_NAME | tr a-z A-Z; pwd; exit 3")
    made = call(line)._replace(env={"COLOUR": "rot", "PSEUDOCRON_NAME": "other"}, cwd=tmp_path)
    result = asyncio.run(execute(made, RUN))
    assert result.outcome is State.FAILED
    assert result.output == f"ROT DIGEST\n{tmp_path}\n"
    assert (result.error or "").startswith("exit code 3\n")


def test_a_function_in_a_process_has_its_variables_and_its_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write("import os, beside\ndef work(): print(os.getcwd(), os.environ['COLOUR'], beside.here)", name="surrounded.py")
    (tmp_path / "own").mkdir()
    write("here = 'found'", name="own/beside.py")
    env = {"COLOUR": "rot", "PYTHONPATH": str(tmp_path / "own")}
    made = call("surrounded:work", process=True)._replace(env=env, cwd=tmp_path / "own")
    assert asyncio.run(execute(made, RUN)).output == f"{tmp_path}/own rot found\n"


def test_a_folder_that_is_gone_is_a_failure_that_names_it(write: Write, tmp_path: Path) -> None:
    made = call(write("", name="report.py"))._replace(cwd=tmp_path / "gone")
    error = asyncio.run(execute(made, RUN)).error
    assert error == f"cwd: can't enter '{tmp_path}/gone': No such file or directory"


# SIGTERM to every process of the service, as systemd sends it by default

TELLS = """
    import os, signal, sys, time
    from pathlib import Path
    supervisor = os.getppid()
    {before}
    for pid in {order}:
        os.kill(pid, signal.SIGTERM)
    time.sleep({seconds})
    print("done")
"""
BOTH = "(supervisor, os.getpid())"
TELLS_IN_TIME = "if not os.fork(): time.sleep(0.1); os.kill(supervisor, signal.SIGTERM); os._exit(0)"


def tells(write: Write, *, order: str, before: str = "", seconds: float = 0.1, name: str = "script.py") -> Path:
    return write(TELLS.format(order=order, before=before, seconds=seconds), name=name)


@pytest.mark.parametrize(
    ("order", "before"), [(BOTH, ""), ("(os.getpid(),)", TELLS_IN_TIME)], ids=["supervisor first", "script first"]
)
def test_a_python_script_survives_a_signal_to_the_whole_service(write: Write, order: str, before: str) -> None:
    result = ended(tells(write, order=order, before=before))
    assert (result.outcome, result.output) == (State.SUCCEEDED, "done\n")


def test_a_function_in_a_process_survives_a_signal_to_the_whole_service(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(
        """
        import os, signal
        def work():
            for pid in (os.getppid(), os.getpid()):
                os.kill(pid, signal.SIGTERM)
            print("done")
        """,
        name="told_to_end.py",
    )
    result = ended("told_to_end:work", process=True)
    assert (result.outcome, result.output) == (State.SUCCEEDED, "done\n")


def test_a_signal_to_the_script_alone_ends_it(write: Write) -> None:
    result = ended(tells(write, order="(os.getpid(),)"))
    assert (result.outcome, result.error) == (State.FAILED, "killed by SIGTERM")


def test_an_end_that_the_supervisor_wants_is_no_signal_for_all(write: Write) -> None:
    script = tells(write, order="(supervisor,)", seconds=60)
    before = time.monotonic()
    result = ended(script, timeout=0.7)
    assert result.outcome is State.TIMED_OUT
    assert time.monotonic() - before < 0.7 + child_process._TIMEOUT_GRACE


def test_a_fork_of_a_script_is_not_shielded(write: Write) -> None:
    script = write("""
        import multiprocessing, os, signal, time
        def work(): time.sleep(100)
        if __name__ == "__main__":
            os.kill(os.getppid(), signal.SIGTERM)
            for _ in range(20):
                one = multiprocessing.get_context("fork").Process(target=work)
                one.start()
                one.terminate()
                one.join()
                assert one.exitcode == -15
    """)
    assert ended(script, timeout=30).outcome is State.SUCCEEDED


@pytest.mark.parametrize(
    "dies", ["kill $PPID; kill $$", 'setsid sh -c "kill $$; kill $PPID"', 's=$PPID; sh -c "kill $s; kill \\$\\$"']
)
def test_a_program_that_dies_with_the_whole_service_is_interrupted(write: Write, dies: str) -> None:
    result = ended(write(f"#!/bin/sh\necho begun\n{dies}\n", name="report", mode=0o755))
    assert result.outcome is State.INTERRUPTED
    assert (result.output or "").startswith("begun\n")
    assert "under systemd: set KillMode=mixed" in (result.error or "")


def test_a_python_script_is_run_as_by_python_itself(write: Write, tmp_path: Path) -> None:
    text = """
        '''Its words.'''
        import json, multiprocessing, pickle, sys
        import beside
        class Kept: pass
        def twice(n): return n * 2
        if __name__ == "__main__":
            assert pickle.loads(pickle.dumps(Kept())).__class__ is Kept
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert pool.map(twice, [4]) == [8]
            print(json.dumps([__name__, __file__, __doc__, sys.argv, sys.path[0], beside.here, sorted(globals())]))
            1 / 0
    """
    write("here = __file__", name="beside.py")
    script = write(text)
    result = ended(script, "a", b=1)
    alone = subprocess.run([sys.executable, script, "a", "--b=1"], capture_output=True, text=True, check=False)
    assert (result.output or "") == alone.stdout + alone.stderr
    assert alone.returncode == 1
