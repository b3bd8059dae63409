"""A process with an open store forks, and closes its own while the child goes on; the child is killed.

    python heir.py FOLDER

Prints the slots that were granted to the parent and to the child, in seconds after noon.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.worlds import NOON
from pseudocron.backends.file import File
from pseudocron.backends.records import Claim, Proposal
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable


async def inline(fn: Callable[..., Any], /, *args: object) -> Any:
    """No thread: Python warns of forking a process that has some."""
    return fn(*args)


def claim(backend: File, second: int) -> None:
    slot = NOON + timedelta(seconds=second)
    answer = asyncio.run(backend.claim(Proposal(name="mail", slot=slot, worker="", lease=3600, max_instances=9)))
    assert isinstance(answer, Claim)
    print(second, flush=True)  # noqa: T201  its output


def main(folder: Path) -> None:
    backend = File(folder, host=Host(hop=inline))
    asyncio.run(backend.open())
    claim(backend, 1)
    heard, told = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        claim(backend, 2)
        os.write(told[1], b"claimed")
        os.read(heard[0], 1)
        claim(backend, 3)
        os.write(told[1], b"claimed")
        signal.pause()
    os.read(told[0], 7)
    asyncio.run(backend.close())
    os.write(heard[1], b"closed")
    os.read(told[0], 7)
    os.kill(child, signal.SIGKILL)
    os.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
