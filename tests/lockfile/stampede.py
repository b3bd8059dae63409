"""Some processes find a lock file stale at the same moment, again and again; prints how many entered each time.

python stampede.py PATH PROCESSES ROUNDS
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pseudocron.lockfile import LockFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Barrier

HOUR = 3600 * 10**9


def outdate(path: Path) -> None:
    past = time.time_ns() - HOUR
    os.utime(path, ns=(past, past))


def postdate(path: Path) -> None:
    future = time.time_ns() + HOUR
    os.utime(path, ns=(future, future))


SPOIL: tuple[Callable[[Path], None], ...] = (outdate, Path.unlink, postdate)


def visit(number: int, path: Path, rounds: int, barrier: Barrier, counts: list[int]) -> None:
    lock = LockFile(path)
    for turn in range(rounds):
        if number == 0 and path.exists():
            SPOIL[turn % len(SPOIL)](path)
        barrier.wait()
        if lock.enter(60):
            # An array without a lock: a second one in the same round would be seen all the same.
            counts[turn * 64 + number] = 1
        barrier.wait()


def main(path: Path, processes: int, rounds: int) -> None:
    fork = multiprocessing.get_context("fork")
    barrier, counts = fork.Barrier(processes), fork.Array("b", rounds * 64, lock=False)
    crowd = [fork.Process(target=visit, args=(n, path, rounds, barrier, counts)) for n in range(processes)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert not any(one.exitcode for one in crowd)
    print(*(sum(counts[turn * 64 : turn * 64 + 64]) for turn in range(rounds)))  # noqa: T201  its output


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
