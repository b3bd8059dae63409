"""Many processes on one gate and one slot, with every core busy; each appends what it is granted to a history file.

    python rush.py FOLDER PROCESSES SLOTS

A line is `gate` or `slot` and the microseconds since the epoch at which the gate was dated, or of the slot.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pseudocron.backends.file import File, store
from pseudocron.backends.file.verbs import micros
from pseudocron.backends.legible import instant
from pseudocron.backends.records import Claim, Outcome, Proposal, Result
from pseudocron.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 10_000
"""Microseconds from slot to slot."""
PATIENCE = 80
"""Seconds after which a rush that does not get there is given up."""

# The rush is about who gets in; how many seconds a busy disk may take for one flush is another matter.
store.PATIENCE = 30.0


async def inline(fn: Callable[..., object], /, *args: object) -> object:
    """No thread: the processes are the crowd."""
    return fn(*args)


async def visit(folder: Path, slots: int) -> None:
    read: list[datetime] = []

    def now() -> datetime:
        read[:] = [datetime.now(UTC)]
        return read[0]

    history = os.open(folder / "history", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    deadline = time.monotonic() + PATIENCE
    backend = File(folder / "store", cron_max_time=STEP / 1e6, host=Host(now=now, hop=inline))  # type: ignore[arg-type]
    await backend.open()
    granted = 0
    while granted < slots and time.monotonic() < deadline:
        if await backend.enter(STEP / 1e6):
            os.write(history, f"gate {micros(read[0])}\n".encode())
        slot = instant(micros(datetime.now(UTC)) // STEP * STEP)
        claim = await backend.claim(Proposal(name="rush", slot=slot, worker=str(os.getpid()), lease=30))
        if isinstance(claim, Claim):
            os.write(history, f"slot {micros(slot)}\n".encode())
            await backend.finish(claim, Result(outcome=Outcome.SUCCEEDED))
            granted = claim.fence
        granted = max(granted, (await backend.states({"rush": slot}))["rush"].runs)
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
