"""The processes under the nemesis: uvicorn with its workers, `pseudocron work`, and who starts them again."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from random import randrange
from typing import TYPE_CHECKING

from harness.hosts import Host, path
from harness.process_tree import children, command_line, running

if TYPE_CHECKING:
    from pathlib import Path

ENDS_WITHIN = 15.0
"""Seconds."""

BEATS, JOBS = "crons.py", "verification.chaos.application:crons"


def quiet_port() -> int:
    """Return a free port that no client gets while its server is away: systems give clients those from 32768 on."""
    while True:
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", randrange(20_000, 32_000)))
            return int(one.getsockname()[1])


@dataclass
class Member(Host):
    """A server, or a command, in a process group of its own.

    Args:
        name: By which the plan and the notes know it.
        clock: The file in the folder with the seconds by which its clock is fast.
        lease: Seconds.
        cron_max_time: Its `CRON_MAX_TIME`; that of the processes of one store may differ.
        command: `work` or `tick` and its configuration, instead of serving.
    """

    name: str = ""
    clock: str = "clock"
    lease: float = 2.0
    cron_max_time: int = 60
    command: tuple[str, ...] = ()
    port: int = field(default_factory=quiet_port)

    def __post_init__(self) -> None:
        self.cwd = self.folder

    @property
    def argv(self) -> tuple[object, ...]:
        if self.command:
            verb, ref = self.command
            return "verification.chaos.command", verb, "--crons", ref
        return "uvicorn", "verification.chaos.application:app", *self.serving, "--log-level", "warning"

    @property
    def own(self) -> dict[str, object]:
        return {
            "CHAOS_CLOCK": self.clock,
            "CHAOS_FOLDER": self.folder,
            "CHAOS_PATH": path(),
            "CHAOS_TICKER": "1" if "ticks" in self.roles else "",
            "CRON_MAX_TIME": self.cron_max_time,
            "PSEUDOCRON_BACKEND": self.store,
            "PSEUDOCRON_DRAIN": self.lease / 2,
            "PSEUDOCRON_HISTORY": 1_000_000,
            "PSEUDOCRON_LEASE": self.lease,
        }

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def pids(self) -> list[int]:
        """Those of its processes that look and run."""
        if self.command or self.workers == 1:
            return [self.process.pid] if self.alive else []
        workers = [child for child in children(self.process.pid) if "spawn_main" in command_line(child)]
        return [pid for pid in workers if running(pid)]

    def signal_all(self, number: int) -> None:
        """To the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        """In the end nothing of it is left."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDS_WITHIN)
        self.signal_all(signal.SIGKILL)
        self.process.wait()


def members(folder: Path, store: str, *, lease: float, own_clocks: bool, few: bool) -> list[Member]:
    """Return a host with two workers and a ticker and a worker for jobs; where few are not enough, one more of each."""

    def member(name: str, **more: object) -> Member:
        clock = f"clock-{name}" if own_clocks else "clock"
        set_clock(folder / clock, 0)
        return Member(folder, store, name=name, clock=clock, lease=lease, **more)  # type: ignore[arg-type]

    some = [member("many", workers=2, roles="ticks"), member("jobs", command=("work", JOBS), cron_max_time=5)]
    beats = member("beats", command=("work", BEATS), cron_max_time=5)
    return some if few else [*some, member("one", workers=1, roles=""), beats]


def set_clock(file: Path, ahead: float) -> None:
    """From now on the clock of those who have the file mapped is so many seconds fast."""
    mode = "r+b" if file.exists() else "wb"
    with file.open(mode) as clock:
        clock.write(struct.pack("d", ahead))


def clock_of(file: Path) -> float:
    return float(struct.unpack("d", file.read_bytes())[0])
