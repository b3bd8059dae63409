"""The lowest priority of child processes, where the kernel has autogroups and where it has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from executors.executing import ended
from pseudocron.executors import supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., Path]

ENABLED = Path("/proc/sys/kernel/sched_autogroup_enabled")


def has_autogroups() -> bool:
    return ENABLED.exists() and ENABLED.read_text().strip() == "1" and Path("/proc/self/autogroup").exists()


autogroups = pytest.mark.skipif(not has_autogroups(), reason="this kernel has no autogroups, or they are off")


@autogroups
def test_a_script_has_the_lowest_priority_among_all_sessions(write: Write) -> None:
    script = write("""
        import json, os, time
        from pathlib import Path
        own, supervisors = (Path(f"/proc/{who}/autogroup") for who in ("self", os.getppid()))
        end = time.monotonic() + 5
        while not own.read_text().endswith("nice 19\\n") and time.monotonic() < end:
            time.sleep(0.01)
        print(json.dumps([own.read_text(), supervisors.read_text()]))
    """)
    own, supervisors = json.loads(ended(script).output or "")
    assert own.endswith(" nice 19\n")
    assert supervisors.endswith(" nice 0\n"), "it must kill the script in time"
    tests = Path("/proc/self/autogroup").read_text()  # empty where the process is in the group of all others
    assert own.split()[0] != supervisors.split()[0] != tests.partition(" ")[0]


@autogroups
def test_a_script_that_is_told_to_end_has_the_priority_to_do_so(write: Write) -> None:
    script = write("""
        import signal, sys, time
        from pathlib import Path
        own = Path("/proc/self/autogroup")
        def clean_up(*_):
            end = time.monotonic() + 2
            while not own.read_text().endswith("nice 0\\n") and time.monotonic() < end:
                time.sleep(0.01)
            sys.exit(print(own.read_text()))
        signal.signal(signal.SIGTERM, clean_up)
        time.sleep(1000)
    """)
    assert (ended(script, timeout=2).output or "").endswith(" nice 0\n\n")  # the interpreter starts within the timeout


def test_a_priority_is_written_to_the_autogroup_of_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert supervisor._AUTOGROUP.format(12) == "/proc/12/autogroup"
    monkeypatch.setattr(supervisor, "_AUTOGROUP", f"{tmp_path}/{{}}")
    (tmp_path / "12").touch()
    assert supervisor._set_autogroup(12, 19)
    assert (tmp_path / "12").read_text() == "19"


@pytest.mark.parametrize(
    ("error", "is_settled"),
    [(FileNotFoundError, True), (PermissionError, True), (OSError, True), (BlockingIOError, False)],
)
def test_a_refused_priority_is_retried_only_if_it_came_too_soon(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError], *, is_settled: bool
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("builtins.open", refuse)
    assert supervisor._set_autogroup(12, 19) is is_settled


def test_a_priority_that_came_too_soon_is_written_while_the_script_runs(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy of the supervisor whose first two writes are refused, and go to a file."""
    told = tmp_path / "told"
    source = Path(supervisor.__file__).read_text()
    refuses = f"""
_writes = []
def _set_autogroup(pid, nice):
    _writes.append((monotonic(), nice))
    with open({str(told)!r}, "w") as file:
        file.write(json.dumps(_writes))
    return len(_writes) == 3

if __name__ == "__main__":"""
    copy = write("", name="copy.py")
    copy.write_text(source.replace('if __name__ == "__main__":', refuses))
    monkeypatch.setattr("pseudocron.executors.child_process._SUPERVISOR", str(copy))
    ended(write("import time; time.sleep(0.6)"))
    (first, _), (second, _), (third, _) = writes = json.loads(told.read_text())
    assert [nice for _, nice in writes] == [19] * 3
    assert 0.1 <= second - first < 0.4
    assert 0.1 <= third - second < 0.4
