"""Many processes at one gate and one cron, with every core busy; each appends what it is granted to a history file.

    python rush.py FOLDER PROCESSES SLOTS

A line is `enter` when a poll has the gate, `leave` when that is over, or `slot` with the microseconds since the epoch
and the fence.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends import using
from pseudocron.backends.file import commits, connection
from pseudocron.backends.file.backend import File
from pseudocron.backends.file.folder import GATE
from pseudocron.backends.file.gate import FileGate
from pseudocron.backends.file.transaction import micros
from pseudocron.backends.legible import instant
from pseudocron.backends.model import State
from pseudocron.backends.questions import End, Plan, Poll
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pseudocron.backends.model import CronState

STEP = 10_000
"""Microseconds from slot to slot."""
PATIENCE = 80
"""Seconds after which a rush that does not get there is given up."""

# The rush is about who gets in; how many seconds a busy disk may take for one flush is another matter.
for module in (commits, connection):
    module.PATIENCE = 30.0  # type: ignore[attr-defined]


async def inline(fn: Callable[..., Any], /, *args: object) -> Any:
    """No thread: the processes are the crowd."""
    return fn(*args)


def planned(state: CronState) -> Plan:
    """The slot that has come last."""
    slot = micros(datetime.now(UTC)) // STEP * STEP
    return Plan("rush", state.mark, state.since or using.now(), [instant(slot)], next=instant(slot + STEP))


class Watched(FileGate):
    """A gate that writes down who has it."""

    def __init__(self, path: Path, history: int) -> None:
        super().__init__(path)
        self._history = history

    @contextmanager
    def entering(self) -> Iterator[bool]:
        with super().entering() as entered:
            if entered:
                os.write(self._history, b"enter\n")
            yield entered
            if entered:
                os.write(self._history, b"leave\n")


async def visit(folder: Path, slots: int) -> None:
    history = os.open(folder / "history", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    deadline = time.monotonic() + PATIENCE
    backend = File(folder / "store", host=Host(hop=inline))
    backend._gate = Watched(folder / "store" / GATE, history)
    taking = using.take(crons={"rush": 1}, worker=str(os.getpid()))
    await backend.open()
    claims = 0
    while claims < slots and time.monotonic() < deadline:
        if await backend.stale_in() > 0:
            await asyncio.sleep(0.001)
            continue
        state = (await backend.states(["rush"])).crons["rush"]
        claims = state.claims
        polled = await backend.poll(Poll(taking, [planned(state)]))
        for claim in polled.claims if polled else ():
            assert claim.slot
            os.write(history, f"slot {micros(claim.slot)} {claim.fence}\n".encode())
            await backend.finish([End(claim, State.SUCCEEDED)])
    await backend.close()
    os.close(history)


def enter(folder: Path, slots: int) -> None:
    asyncio.run(visit(folder, slots))


def burn() -> None:
    while True:
        pass


def main(folder: Path, processes: int, slots: int) -> None:
    fork = multiprocessing.get_context("fork")
    burners = [fork.Process(target=burn) for _ in range(os.cpu_count() or 1)]
    crowd = [fork.Process(target=enter, args=(folder, slots)) for _ in range(processes)]
    for one in burners + crowd:
        one.start()
    for one in crowd:
        one.join()
    for one in burners:
        one.terminate()
        one.join()
    assert not any(one.exitcode for one in crowd)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
