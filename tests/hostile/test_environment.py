"""What a child process is given: the whole environment of the server, secrets too, and of ours nothing more."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from typing import TYPE_CHECKING

from executors.executing import RUN, call

from pseudocron.executors import execute

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

TELL = """
import json, os, sys
print(json.dumps({"environ": dict(os.environ), "argv": sys.argv, "stdin": sys.stdin.read(),
                  "open": sorted(os.listdir("/proc/self/fd"), key=int)}))
"""
RUN_SAYS = ("NAME", "SLOT", "FENCE", "ATTEMPT", "RUN_ID", "DEADLINE", "IS_JOB", "CONTEXT")


def test_a_script_gets_nothing_of_the_server_but_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("PSEUDOCRON_BACKEND", "redis://:secret@host/0")
    path = tmp_path / "tell.py"
    path.write_text(TELL)
    with (tmp_path / "private").open("w"):
        ended = asyncio.run(execute(call(path), RUN))
    told = json.loads(ended.output or "")
    assert told["environ"]["DATABASE_PASSWORD"] == "hunter2"  # noqa: S105 - that is what is shown
    assert told["environ"]["PSEUDOCRON_BACKEND"] == "redis://:secret@host/0"
    added = told["environ"].keys() - os.environ.keys()
    assert added <= {"PYTHONIOENCODING", "PYTHONPATH", "PYTHONUNBUFFERED"} | {f"PSEUDOCRON_{name}" for name in RUN_SAYS}
    assert told["argv"] == [str(path)]
    assert not told["stdin"]
    assert len(told["open"]) == 5  # its three, the one that lists them, and the pipe of its shield


def test_what_is_kept_of_a_script_is_no_more_than_it_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    path = tmp_path / "fail"
    path.write_text("#!/bin/sh\necho failed; exit 3\n")
    path.chmod(stat.S_IRWXU)
    result = asyncio.run(execute(call(path), RUN))
    assert result.output == "failed\n"
    assert "hunter2" not in str(result)
