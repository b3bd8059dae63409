"""Hosts of one machine: each a server, or another command, in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from harness.ports import free_port

ROOT = Path(__file__).parents[1]


def path() -> str:
    """Return the `PYTHONPATH` of a child, which finds there what is imported here."""
    return os.pathsep.join([str(ROOT), *filter(None, sys.path)])


@dataclass
class Host:
    """A server in a process group of its own; a subclass says what is started.

    Args:
        folder: Where the runs of all hosts write.
        store: The URL of a server, or the nodes of a cluster.
        workers: How many processes serve.
        roles: What its middleware does.
        cwd: Where it is started; where we are if None.
    """

    folder: Path
    store: str
    workers: int = 2
    roles: str = "executes ticks"
    port: int = field(default_factory=free_port)
    cwd: Path | None = None

    @property
    def argv(self) -> tuple[object, ...]:
        """What is started, as a module of Python's."""
        raise NotImplementedError

    @property
    def serving(self) -> tuple[object, ...]:
        """The options of uvicorn."""
        return "--port", self.port, "--workers", self.workers, "--no-access-log"

    @property
    def own(self) -> dict[str, object]:
        """What it finds in its environment besides ours."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it; whether it serves yet is another matter."""
        own = {name: str(value) for name, value in self.own.items()}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *map(str, self.argv)],
                env={**os.environ, **own, "PYTHONPATH": path()},
                cwd=self.cwd,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def stop(self) -> None:
        """Send it SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    @property
    def _log(self) -> Path:
        return self.folder / f"log-{self.port}"

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text(encoding="utf-8")
