"""Scripts and functions in child processes: how they are started, what is kept of them, how they end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from executors.executing import RUN, call, cancelled_when, ended, is_gone, kill, wait_until
from pseudocron.backends.model import State
from pseudocron.executors import child_process, execute

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., Path]

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tell")

LIMIT = 64 * 1024
OUTLIVES = """
    import os, pathlib, signal, subprocess, sys
    signal.signal(signal.SIGTERM, {on_term})
    other = subprocess.Popen(["sleep", "1000"])
    told = pathlib.Path(sys.argv[1])
    told.with_suffix(".new").write_text(f"{{os.getpid()}} {{other.pid}} {{os.getppid()}}")
    told.with_suffix(".new").rename(told)
    {work}
"""
IN_ONE_C_CALL = "sum(range(10**13))"
IN_SLEEP = "__import__('time').sleep(1000)"


def outlives(write: Write, *, on_term: str = "signal.SIG_DFL", work: str = IN_SLEEP) -> Path:
    return write(OUTLIVES.format(on_term=on_term, work=work))


def pids(told: Path) -> list[int]:
    wait_until(told.exists)
    return [int(pid) for pid in told.read_text().split()]


# How they are started


def test_a_script_gets_its_arguments_and_its_output_is_kept(write: Write) -> None:
    script = write("import sys; print(sys.argv[1:]); print('ü', file=sys.stderr)")
    result = ended(script, 1, "two words", dry_run=True)
    assert result.outcome is State.SUCCEEDED
    assert result.output == "['1', 'two words', '--dry_run=True']\nü\n"
    assert result.error is None


def test_a_script_knows_its_run_and_has_the_lowest_priority(write: Write) -> None:
    script = write("""
        import json, os
        from pseudocron.context import current_run
        run = current_run()
        seen = {name: value for name, value in os.environ.items() if name.startswith("PSEUDOCRON_")}
        leads = os.getpgid(0) == os.getpid()
        print(json.dumps([os.getcwd(), os.nice(0), leads, run.fence, run.slot.isoformat(), seen]))
    """)
    cwd, nice, leads, fence, slot, environ = json.loads(ended(script).output or "")
    assert Path(cwd) == Path.cwd()
    assert nice == 19
    assert leads
    assert fence == RUN.fence
    assert slot == RUN.slot.isoformat()
    assert environ == {k: v for k, v in os.environ.items() if k.startswith("PSEUDOCRON_")} | RUN._environ()


def test_a_script_can_import_what_the_application_can(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    write("colour = 'red'", name="shop/paint.py")
    write("import paint, sys; print(paint.colour)", name="cron.py")
    monkeypatch.syspath_prepend("shop")
    assert ended(Path("cron.py")).output == "red\n"


def test_a_program_of_another_interpreter_is_left_its_own_import_path(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/its/own")
    script = write('#!/bin/sh\necho "$PYTHONPATH $1"\n', name="report", mode=0o755)
    assert ended(script, "now").output == "/its/own now\n"


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("echo no interpreter\n", 0o755, "Exec format error"),
        ("#!/no/such/interpreter\n", 0o755, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_started_is_a_failure_with_the_mend(write: Write, text: str, mode: int, why: str) -> None:
    script = write(text, name="report", mode=mode)
    result = ended(script)
    mend = "it must be a .py, or executable and name its interpreter with #!"
    assert result.outcome is State.FAILED
    assert result.error == f"can't start {str(script)!r}: {why} ({mend})"


def test_no_further_process_is_a_failure(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert "can't be run: FileNotFoundError" in str(ended(write("")).error)


# What is kept of them


def test_an_exit_code_is_a_failure_with_the_last_lines_of_output(write: Write) -> None:
    result = ended(write("import sys; print('half of it'); sys.exit('no such book')"))
    assert result.outcome is State.FAILED
    assert result.error == "exit code 1\nhalf of it\nno such book"
    assert result.output == "half of it\nno such book\n"


def test_a_signal_is_a_failure_that_names_it(write: Write) -> None:
    assert ended(write("import os; os.kill(os.getpid(), 9)")).error == "killed by SIGKILL"
    assert ended(write("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 1)")).error == (
        f"killed by signal {signal.SIGRTMIN + 1}"
    )


@linux
def test_only_the_last_64_kib_of_an_output_are_held(write: Write) -> None:
    script = write("""
        import os, re, sys
        def supervisor_kib():
            return int(re.search(r"VmHWM:\\s+(\\d+)", open(f"/proc/{os.getppid()}/status").read())[1])
        before = supervisor_kib()
        for _ in range(160):
            sys.stdout.write("ü" * 32 * 1024)
        sys.stdout.flush()
        print(supervisor_kib() - before)
    """)
    output = ended(script).output or ""
    assert LIMIT - 4 <= len(output.encode()) <= LIMIT
    assert int(output.strip("ü\n")) < 1024


def test_bytes_that_are_no_text_are_shown_as_escapes(write: Write) -> None:
    script = write("import os; os.write(1, b'\\xff' * 100_000)")
    output = ended(script).output or ""
    assert output == "\\xff" * (LIMIT // 4)


def test_a_script_may_close_its_output(write: Write) -> None:
    script = write("import os; print('said', flush=True); os.close(1); os.close(2); os._exit(4)")
    assert ended(script).error == "exit code 4\nsaid"


@linux
def test_what_was_written_last_is_read_although_the_script_has_ended(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    script = write("""
        import fcntl, os, signal, subprocess
        fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1024 * 1024)
        supervisor = os.getppid()
        os.kill(supervisor, signal.SIGSTOP)
        subprocess.Popen(f"sleep 0.3; kill -CONT {supervisor}", shell=True, start_new_session=True, stdout=2)
        os.write(1, b"x" * 500_000 + b"the end")
        os._exit(0)
    """)
    output = ended(script).output or ""
    assert output.endswith("the end")
    assert len(output) == LIMIT


# Functions


def test_a_function_is_called_in_a_process_of_its_own(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(
        """
        import os
        from pseudocron.context import current_run
        class Shop:
            @staticmethod
            def paint(*args, **kwargs): print(os.getpid(), os.nice(0), current_run().name, args, kwargs)
        async def paint(*args, **kwargs): Shop.paint(*args, **kwargs)
        """,
        name="shop_of_processes.py",
    )
    for ref in ("shop_of_processes:paint", "shop_of_processes:Shop.paint"):
        result = ended(ref, 1, process=True, colour="red")
        pid, seen = (result.output or "").split(" ", 1)
        assert int(pid) != os.getpid()
        assert seen == "19 digest (1,) {'colour': 'red'}\n"
        assert result.outcome is State.SUCCEEDED


def test_an_error_in_a_child_process_has_the_traceback_of_the_user(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = write(
        """
        def paint(): raise ValueError("no such colour")
        async def paint_async(): paint()
        """,
        name="broken_shop.py",
    )
    for ref in ("broken_shop:paint", "broken_shop:paint_async"):
        error = (ended(ref, process=True).error or "").splitlines()
        assert error[:2] == ["exit code 1", "Traceback (most recent call last):"]
        assert f'File "{module}"' in error[2]
        assert error[-1] == "ValueError: no such colour"
    assert "No module named 'unknown_shop'" in str(ended("unknown_shop:paint", process=True).error)


@pytest.mark.parametrize("ref", ["__main__:paint", "shop:make.<locals>.paint", "shop:<lambda>", "shop"])
def test_a_function_that_no_process_can_import_is_a_failure_with_the_mend(ref: str) -> None:
    error = ended(ref, process=True).error
    assert error == f"{ref!r} can't be imported by a child process: define it on the top level of a module"


def test_arguments_that_no_process_can_be_given_are_a_failure() -> None:
    error = ended("shop:paint", {1, 2}, process=True).error
    why = "Object of type set is not JSON serializable"
    assert error == f"'shop:paint': what a child process is called with must be JSON: {why}"


def test_arguments_of_a_child_stand_on_no_command_line(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(
        """
        import sys
        from pathlib import Path
        def measure(text):
            assert "secret" not in Path("/proc/self/cmdline").read_text()
            assert not sys.stdin.read()
            print(len(text))
        """,
        name="shop_of_secrets.py",
    )
    result = ended("shop_of_secrets:measure", "secret" * 50_000, process=True)
    assert result.output == "300000\n"


def test_what_a_script_starts_has_a_python_path_of_its_own(write: Write) -> None:
    script = write("import os; print(os.environ['PYTHONPATH'])")
    output = ended(script).output or ""
    assert not [entry for entry in output.strip().split(os.pathsep) if entry in sysconfig.get_paths().values()]


# How they end


def test_what_a_script_leaves_behind_in_its_group_is_killed(write: Write, tmp_path: Path) -> None:
    told = tmp_path / "told"
    assert ended(outlives(write, work="pass"), told).outcome is State.SUCCEEDED
    assert all(map(is_gone, pids(told)))


def test_a_script_ends_though_a_descendant_holds_its_output_open(write: Write, tmp_path: Path) -> None:
    script = write("""
        import subprocess
        print(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid, flush=True)
        print("done")
    """)
    before = time.monotonic()
    result = ended(script)
    kill(int((result.output or "").split()[0]))
    assert result.outcome is State.SUCCEEDED
    assert (result.output or "").endswith("done\n")
    assert time.monotonic() - before < 5


def test_a_timeout_ends_the_whole_group(write: Write, tmp_path: Path) -> None:
    told = tmp_path / "told"
    result = ended(outlives(write), told, timeout=0.5)
    assert result.outcome is State.TIMED_OUT
    assert result.error == "timed out after 0.5 s"
    assert all(map(is_gone, pids(told)))


@linux
def test_no_zombie_is_left_to_the_first_process_of_a_container(write: Write, tmp_path: Path) -> None:
    told = tmp_path / "told"
    ended(outlives(write, work="pass"), told)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids(told))


def test_at_its_timeout_a_script_has_a_grace_to_clean_up(write: Write) -> None:
    script = write("""
        import signal, sys, time
        def clean_up(*_):
            time.sleep(0.2)
            sys.exit(print("cleaned up"))
        signal.signal(signal.SIGTERM, clean_up)
        time.sleep(1000)
    """)
    result = ended(script, timeout=0.5)
    assert (result.outcome, result.output) == (State.TIMED_OUT, "cleaned up\n")


def test_a_shells_child_has_its_grace_after_the_shell_has_gone(write: Write) -> None:
    script = write(
        """\
        #!/bin/sh
        (trap 'sleep 0.2; echo cleaned up; exit' TERM; while :; do sleep 0.05; done) &
        wait
        """,
        name="report",
        mode=0o755,
    )
    result = ended(script, timeout=0.5)
    assert result.outcome is State.TIMED_OUT
    assert (result.output or "").endswith("cleaned up\n")


def test_a_script_that_ignores_sigterm_is_killed_after_the_grace(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_TIMEOUT_GRACE", 0.3)
    told = tmp_path / "told"
    before = time.monotonic()
    result = ended(outlives(write, on_term="signal.SIG_IGN"), told, timeout=0.5)
    assert 0.8 <= time.monotonic() - before < 3  # with the start of two interpreters
    assert result.outcome is State.TIMED_OUT
    assert all(map(is_gone, pids(told)))


@pytest.mark.parametrize("on_term", ["signal.SIG_DFL", "signal.SIG_IGN"])
def test_a_cancelled_run_ends_its_process_before_execute_ends(write: Write, tmp_path: Path, on_term: str) -> None:
    told = tmp_path / "told"

    async def main() -> None:
        task = await cancelled_when(told.exists, execute(call(outlives(write, on_term=on_term), told), RUN))
        assert task.cancelled()
        assert all(map(is_gone, pids(told)))

    asyncio.run(main(), debug=True)


def test_a_run_that_is_cancelled_at_once_starts_nothing(write: Write, tmp_path: Path) -> None:
    told = tmp_path / "told"

    async def main() -> None:
        script = outlives(write)
        for pause in (0, 0.001, 0.01):
            task = asyncio.create_task(execute(call(script, told), RUN))
            await asyncio.sleep(pause)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()

    asyncio.run(main(), debug=True)
    assert not told.exists() or all(map(is_gone, pids(told)))


@linux
def test_a_supervisor_that_is_killed_takes_its_script_along(write: Write, tmp_path: Path) -> None:
    result, told = with_supervisor_signalled(write, tmp_path, signal.SIGKILL)
    kill(told[1])
    assert result.outcome is State.FAILED
    assert result.error == "the supervisor of the process ended with killed by SIGKILL"
    wait_until(lambda: is_gone(told[0]), within=1)


def with_supervisor_signalled(write: Write, tmp_path: Path, signum: int) -> tuple[Any, list[int]]:
    told = tmp_path / "told"

    async def main() -> Any:
        task = asyncio.create_task(execute(call(outlives(write), told), RUN))
        await asyncio.to_thread(wait_until, told.exists)
        os.kill(pids(told)[2], signum)
        return await task

    return asyncio.run(main(), debug=True), pids(told)


@pytest.mark.parametrize("signum", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_that_tells_the_supervisor_to_end_is_not_for_it(write: Write, signum: str) -> None:
    script = write(f"import os, signal; os.kill(os.getppid(), signal.{signum}); print('still here')")
    assert ended(script).output == "still here\n"
