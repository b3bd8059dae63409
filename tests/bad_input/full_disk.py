"""Leaves a store no room while a run goes on, gives it back, and tells in JSON what came of it.

`FOLDER limit` forbids this process to make files larger. `FOLDER disk` mounts a small disk and fills it, as any user
may in a namespace of their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sqlite3
import subprocess
import sys
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from backends.using import opened, runs_of
from support import hello, visit

from pseudocron import BackendError, Crons, PseudoCronMiddleware
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pseudocron.backends.model import Run

KIBI = 1024
DISK = 8192 * KIBI
"""More than the 4 MiB to which SQLite lets its log grow: there has to be room again once the filler is gone."""


class Log(logging.Handler):
    """What was said, in order."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def no_room_on_the_disk(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4 * KIBI))
    yield
    filler.unlink()


@contextmanager
def no_room_in_files(disk: Path) -> Iterator[None]:
    # Below the size of SQLite's log, which is grown when the store is opened: what it holds beyond can't be written.
    size = 128 * KIBI
    assert max(path.stat().st_size for path in disk.rglob("crons.db*")) > size
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


@contextmanager
def reading(disk: Path) -> Iterator[None]:
    """Read the store, so that SQLite can't begin its log anew, which would make room."""
    db = sqlite3.connect(disk / "store" / "crons.db", isolation_level=None)
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM meta").fetchone()
    yield
    db.close()


class Site:
    """An application with a run that waits, a cron that is due with every look, and its visitors."""

    def __init__(self, disk: Path) -> None:
        self.end = asyncio.Event()
        self.crons = Crons(backend=f"file:{disk}/store")
        self.crons.add("digest", self.end.wait, 86400)
        self.crons.add("often", int, 0.001)
        self.bulk = self.crons.task(name="bulk")(lambda text: None).options(delay=86400)
        self.app = PseudoCronMiddleware(hello, crons=self.crons)
        self.refused = 0

    async def use_up(self) -> None:
        """Write until not even one page finds room: SQLite has grown its log before."""
        for size in (200 * KIBI, KIBI):
            with suppress(BackendError):
                while True:
                    await self.bulk.defer("x" * size)
        async with process_of(self.crons).store() as (_, backend):
            with suppress(BackendError):
                for paused in cycle((True, False)):
                    await backend.pause("no cron", paused)

    async def come(self) -> None:
        process_of(self.crons).deadline = -1
        self.refused += (await visit(self.app))[0]["status"] != 200
        await asyncio.sleep(0.005)

    async def runs(self, name: str) -> Sequence[Run]:
        async with opened(self.crons.settings.backend) as backend:
            return await runs_of(backend, name)

    async def states(self, name: str) -> list[str]:
        return [str(run.state) for run in await self.runs(name)]

    async def newest(self, name: str) -> str:
        return (await self.runs(name))[0].run_id


async def main(disk: Path, how: str) -> dict[str, object]:
    log = Log()
    logging.getLogger("pseudocron").addHandler(log)
    site = Site(disk)
    while await site.states("digest") != ["running"]:
        await site.come()
    with reading(disk), no_room_on_the_disk(disk) if how == "disk" else no_room_in_files(disk):
        while not log.lines:
            await site.use_up()
            await site.come()
        site.end.set()
        while len({line.split(":")[0] for line in log.lines}) < 2:
            await site.come()
        for _ in range(300):
            await site.come()
        told = list(log.lines)
    async with asyncio.timeout(20):
        while await site.states("digest") != ["succeeded"]:
            await site.come()
    ran = await site.newest("often")  # how many are kept has an end, at which their number stays
    while await site.newest("often") == ran:
        await site.come()
    await process_of(site.crons).runtime().close()
    return {"refused": site.refused, "told": told, "digest": await site.states("digest")}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if sys.argv[2] == "disk":
        size = f"size={DISK},mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", place], check=True)  # noqa: S607 - it is where the system has it
    sys.stdout.write(json.dumps(asyncio.run(main(place, sys.argv[2]))))
