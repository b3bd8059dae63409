"""A server that is killed takes its scripts along, within a second."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from executors.executing import is_gone, kill, wait_until
from executors.test_processes import IN_ONE_C_CALL, IN_SLEEP, outlives, pids

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., Path]

SERVER = """
import asyncio, os, sys, time
from pathlib import Path
sys.path.insert(0, {folder!r})
from executors.executing import RUN, call
from pseudocron.executors import execute

async def main():
    run = asyncio.create_task(execute(call(Path(sys.argv[1]), sys.argv[2]), RUN))
    if {forks}:
        while not os.path.exists(sys.argv[2]):
            await asyncio.sleep(0.01)
        if not os.fork():
            print(os.getpid(), flush=True)
            time.sleep(1000)
        print(flush=True)
    await run

asyncio.run(main())
"""


def server(script: Path, told: Path, *, forks: bool = False) -> subprocess.Popen[str]:
    folder = str(Path(__file__).parents[1])
    program = SERVER.format(folder=folder, forks=forks)
    return subprocess.Popen([sys.executable, "-c", program, script, told], stdout=subprocess.PIPE, text=True)


@pytest.mark.alone
@pytest.mark.parametrize(
    ("on_term", "work"),
    [
        ("signal.SIG_DFL", IN_SLEEP),
        ("signal.SIG_IGN", IN_SLEEP),
        ("lambda *_: None", IN_ONE_C_CALL),
    ],
    ids=["that sleeps", "that ignores SIGTERM", "that holds the GIL in one C call"],
)
def test_a_script_dies_with_its_server_and_its_own_children_with_it(
    write: Write, tmp_path: Path, on_term: str, work: str
) -> None:
    told = tmp_path / "told"
    with server(outlives(write, on_term=on_term, work=work), told) as process:
        group = pids(told)
        process.kill()
        killed = time.monotonic()
    wait_until(lambda: all(map(is_gone, group)), within=1 - (time.monotonic() - killed))


def test_a_fork_of_the_server_keeps_no_script_alive(write: Write, tmp_path: Path) -> None:
    told = tmp_path / "told"
    with server(outlives(write), told, forks=True) as process:
        group = pids(told)
        assert process.stdout
        fork = int(process.stdout.readline().strip() or process.stdout.readline())
        process.kill()
        try:
            wait_until(lambda: all(map(is_gone, group)), within=1)
            assert not is_gone(fork)
        finally:
            kill(fork)
