"""What `pseudocron check` and a server that starts say of a configuration that is wrong: the same one line."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from servers.serving import Server
from support import Lifespan, hello

from pseudocron import PseudoCronMiddleware

if TYPE_CHECKING:
    from pathlib import Path

WORK = 'crons = {"digest": ("jobs:work", 60)}\n'
ENTRY = 'crons = {{"digest": {{"run": "jobs:work", {}}}}}'
INTERVAL = "not a number of seconds that can be waited for"

FILES: list[tuple[str, str]] = [
    # schedules that never come
    (
        ENTRY.format('"schedule": "0 0 31 2 *"'),
        "'digest': schedule '0 0 31 2 *': never comes: no day is day of month '31'",
    ),
    (ENTRY.format('"schedule": "0 0 30 feb *"'), "'digest': schedule '0 0 30 feb *': never comes: no day is "),
    (ENTRY.format('"schedule": "every year on february 31"'), "'digest': schedule 'every year on february 31': never "),
    # schedules that do not parse, and where
    (ENTRY.format('"schedule": "61 * * * *"'), "'digest': schedule '61 * * * *': bad minute '61', it takes 0-59"),
    (ENTRY.format('"schedule": "0 0 * *"'), "'digest': schedule '0 0 * *': 4 fields instead of 5 (minute, hour, "),
    (ENTRY.format('"schedule": "every 5 minuts"'), "'minuts' is not understood, did you mean 'minutes'?"),
    # intervals that are none
    (
        ENTRY.format('"schedule": 0'),
        "'digest': schedule 0: an interval of 0 seconds is too short, the shortest is 0.001",
    ),
    (ENTRY.format('"schedule": -60'), "'digest': schedule -60: an interval of -60 seconds is too short"),
    (ENTRY.format('"schedule": float("nan")'), f"'digest': schedule nan: {INTERVAL}"),
    (ENTRY.format('"schedule": float("inf")'), f"'digest': schedule inf: {INTERVAL}"),
    (
        ENTRY.format('"schedule": True'),
        "'digest': schedule True: bool is no schedule, use seconds, a timedelta or a text",
    ),
    # zones
    (ENTRY.format('"schedule": 60, "tz": "Mars/Base"'), "'digest': tz: 'Mars/Base': is unknown, use an IANA name"),
    (ENTRY.format('"schedule": 60, "tz": "../../etc/passwd"'), "'digest': tz: '../../etc/passwd': is unknown, "),
    (ENTRY.format('"schedule": 60, "tz": "/etc/localtime"'), "'digest': tz: '/etc/localtime': is unknown, "),
    (ENTRY.format('"schedule": 60, "tz": "UTC\\0"'), r"'digest': tz: 'UTC\x00': is unknown, did you mean 'UTC'?"),
    # names
    ('crons = {"\\x1b[2J": ("jobs:work", 60)}', r"'\x1b[2J': a name must hold no control characters"),
    ('crons = {"a\\u202eb": ("jobs:work", 60)}', r"'a\u202eb': a name must hold no control characters"),
    ('crons = {"x" * 201: ("jobs:work", 60)}', "...: a name must be text of 1 to 200 characters"),
    ('crons = {b"digest": ("jobs:work", 60)}', "b'digest': a name must be text of 1 to 200 characters"),
    # targets
    ('crons = {"digest": ("jobs/gone.py", 60)}', "'digest': 'jobs/gone.py': there is no such script in "),
    ('crons = {"digest": ("broken:work", 60)}', "'digest': 'broken:work': can't import 'broken': ZeroDivisionError: "),
    ('crons = {"digest": ("jobs:price", 60)}', "'digest': 'jobs:price': is of type int, must be callable"),
    (ENTRY.format('"schedule": 60, "timout": 5'), "'digest': unknown option 'timout', did you mean 'timeout'?"),
    # the file
    ("raise ValueError('\\x1b[31mred')", r"crons.py, line 1: ValueError: \x1b[31mred"),
    ("x = 1", "crons.py: holds no 'crons'"),
    ("crons = []", "crons.py: crons: []: must be a mapping or a Crons"),
    ("def f(): f()\nf()", "crons.py, line 1: RecursionError: "),
    # settings
    (f"CRON_MAX_TIME = -1\n{WORK}", "crons.py: CRON_MAX_TIME: -1: must be a number of seconds above 0"),
    (f"CRON_MAX_TIME = '60'\n{WORK}", "crons.py: CRON_MAX_TIME: '60': must be a number of seconds above 0"),
    (
        f"BACKEND = 'fil:'\n{WORK}",
        "crons.py: BACKEND: 'fil:': is unknown, must begin with 'file:', 'memory:' or 'redis://', did you mean 'file'?",
    ),
    (f"BACKEND = 'x'\n{WORK}", "crons.py: BACKEND: 'x': is unknown, must begin with 'file:', 'memory:' or 'redis://'"),
    (f"BACKEND = 'file:'\n{WORK}", "crons.py: BACKEND: 'file:': names no folder, did you mean 'file:.pseudocron'?"),
    (f"BACKEND = 'memory:x'\n{WORK}", "BACKEND: 'memory:x': takes nothing behind the colon, did you mean 'file:x'?"),
    (f"BACKEND = 'file:a\\0b'\n{WORK}", r"crons.py: BACKEND: 'file:a\x00b': must hold no control characters"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "jobs.py").write_text("price = 5\ndef work(): pass\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "jobs", raising=False)
    return tmp_path


def failure(folder: Path) -> str | None:
    """What the server is told when the application starts, while it is still there to be told."""

    async def start() -> str | None:
        lifespan = Lifespan(PseudoCronMiddleware(hello, crons=folder / "crons.py"))
        async with lifespan:
            return lifespan.failure

    return asyncio.run(start())


@pytest.mark.parametrize(("text", "message"), FILES)
def test_it_stops_the_start_with_one_printable_line_that_names_it(folder: Path, text: str, message: str) -> None:
    (folder / "crons.py").write_text(text)
    told = failure(folder)
    assert told is not None
    assert told.isprintable()
    assert message in told
    assert "crons.py" in told
    assert not (folder / ".pseudocron").exists(), "nothing is made for a configuration that is wrong"


@pytest.mark.parametrize("text", [FILES[0][0], FILES[-1][0], "raise SystemExit('\\x1b[31mred')"])
def test_check_says_the_same_and_exits_with_1(folder: Path, text: str) -> None:
    (folder / "crons.py").write_text(text)
    told = failure(folder)
    checked = subprocess.run(
        [sys.executable, "-m", "pseudocron", "check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert told is not None
    assert checked.returncode == 1
    assert checked.stdout == ""
    assert checked.stderr == f"Error: {told.replace(str(folder / 'crons.py'), 'crons.py')}\n"


def test_a_server_does_not_start_and_prints_the_line(tmp_path: Path) -> None:
    server = Server(tmp_path, '{"digest": {"run": "jobs:in_a_thread", "schedule": 60, "timout": 5}}').uvicorn()
    assert server.process.wait(30) == 3
    assert "crons.py: 'digest': unknown option 'timout', did you mean 'timeout'?" in server.log
    assert "Traceback" not in server.log
    assert len(re.findall("timout", server.log)) == 1
