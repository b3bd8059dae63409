"""The store under the nemesis, a folder on a small disk or a Redis server: how it is made, harmed, mended and read."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.redis_proxy import Proxy
from harness.redis_server import FORGETFUL, Server
from pseudocron.backends import connect
from pseudocron.backends.model import Kind, Run
from pseudocron.backends.questions import Where
from verification.chaos.processes import quiet_port
from verification.chaos.store_recorder import micros

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Skip
    from verification.chaos.history import Notes

DISK = 512 << 20
"""Bytes: room for the jobs of an hour."""

VERBS = ("poll", "finish", "defer", "stale_in", "states", "renew", "cancel")


class Store:
    """What both kinds have.

    Args:
        folder: Where all is kept.
        notes: Where harm is written down.
    """

    url: str
    direct: str
    own_clocks: bool
    epoch = 0
    """How often it has forgotten everything."""

    deeds: dict[str, Callable[[float], Coroutine[Any, Any, float]]]
    """Each does harm for some seconds, and tells when that was mended."""

    def __init__(self, folder: Path, notes: Notes) -> None:
        self.folder = folder
        self.notes = notes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it is left."""

    async def dump(self, *, epoch: int, asked: float, url: str | None = None) -> int:
        """Write down all that is stored; how many jobs are not over."""
        left = 0
        async for backend in self._opened("jobs", url):
            async for told in _jobs(backend):
                left += told["state"] in {"pending", "running"}
                self.notes.add("job", epoch=epoch, asked=asked, **told)
        async for backend in self._opened("beats", url):
            for entries in (await backend.timelines(limit=1_000_000)).values():
                for entry in entries:
                    told = _run(entry) if isinstance(entry, Run) else _skip(entry)
                    self.notes.add("line", epoch=epoch, asked=asked, **told)
        return left

    async def left(self) -> int:
        """How many jobs are not over."""
        async for backend in self._opened("jobs", None):
            counts = await backend.counts()
            return sum(counts[state] for state in counts if state in {"pending", "running"})
        raise AssertionError

    async def _opened(self, app: str, url: str | None) -> AsyncIterator[Backend]:
        backend = await asyncio.to_thread(connect, url or self.direct, app=app, folder=self.folder, keep=1_000_000)
        await backend.open()
        try:
            yield backend
        finally:
            await backend.close()


async def _jobs(backend: Backend) -> AsyncIterator[dict[str, Any]]:
    before = None
    while page := await backend.runs(Where(kinds={Kind.JOB}), limit=1000, before=before):
        for job in page:
            told = {"job": job.run_id, "task": job.name, "state": job.state, "reason": job.reason}
            yield told | {"attempts": job.attempts, "failures": job.failures, "lost": job.lost}
        before = page[-1].run_id


def _run(run: Run) -> dict[str, Any]:
    slot = micros(run.slot or run.due)
    told = {"cron": run.name, "run": run.run_id, "slot": slot, "first": slot, "fence": run.fence, "reason": None}
    return told | {"attempt": run.attempts, "lost": run.lost, "outcome": run.state}


def _skip(skip: Skip) -> dict[str, Any]:
    first = micros(skip.first or skip.slot)
    return {"cron": skip.name, "run": None, "slot": micros(skip.slot), "first": first, "reason": skip.reason}


class OnDisk(Store):
    """A folder, on a disk of its own where one may be mounted; its processes share the machine's one clock."""

    own_clocks = False

    def __init__(self, folder: Path, notes: Notes, *, mounts: bool) -> None:
        super().__init__(folder, notes)
        self._disk = folder / "disk"
        self._disk.mkdir()
        self.url = self.direct = f"file:{self._disk}/store"
        self._mounts = mounts
        if mounts:
            _mount("-t", "tmpfs", "-o", f"size={DISK},mode=700", "none", self._disk)
            # The same disk, read-only: made so while nobody writes there, or else it would be refused.
            self._locked = folder / "locked"
            self._locked.mkdir()
            _mount("--bind", self._disk, self._locked)
            _mount("-o", "remount,bind,ro", self._locked)
        self.deeds = {"lock deleted": self.delete_lock, "lock back-dated": self.backdate_lock}
        self.deeds |= {"disk full": self.fill, "folder read-only": self.lock_up} if mounts else {}

    def __exit__(self, *_: object) -> None:
        if self._mounts:
            for place in (self._locked, self._disk):
                _unmount(place)

    def _locks(self) -> list[Path]:
        return sorted(self._disk.glob("store/*/cron.lock"))

    async def delete_lock(self, _: float) -> float:
        for lock in self._locks():
            lock.unlink(missing_ok=True)
        return time.time()

    async def backdate_lock(self, _: float) -> float:
        for lock in self._locks():
            with suppress(FileNotFoundError):
                os.utime(lock, (0, 0))
        return time.time()

    async def fill(self, seconds: float) -> float:
        filler = self._disk / "filler"
        await asyncio.to_thread(_fill, filler)
        await asyncio.sleep(seconds)
        filler.unlink()
        return time.time()

    async def lock_up(self, seconds: float) -> float:
        """Forbid writing to the store for those that open it now; what is open stays so."""
        _mount("--bind", self._locked, self._disk)
        await asyncio.sleep(seconds)
        _unmount(self._disk)
        return time.time()


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)  # noqa: S607 - it is where the system has it


def _unmount(disk: Path) -> None:
    subprocess.run(["umount", "-l", disk], check=True)  # noqa: S607 - likewise


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


class OnRedis(Store):
    """A server that keeps what it is told, behind a proxy that may lose its replies; each host has its own clock."""

    own_clocks = True

    def __init__(self, folder: Path, notes: Notes) -> None:
        super().__init__(folder, notes)
        data = folder / "redis"
        data.mkdir()
        self._server = Server(data, (*FORGETFUL, "--appendonly", "yes", "--appendfsync", "always"), quiet_port())
        self.direct = self._server.url
        self.deeds = {
            "Redis restarted": lambda seconds: self.restart(signal.SIGTERM, seconds),
            "Redis killed": lambda seconds: self.restart(signal.SIGKILL, seconds),
            "Redis restarted empty": self.wipe,
            "Redis paused": self.pause,
            "connections cut": self.cut,
            "replies lost": self.lose,
        }

    def __enter__(self) -> Self:
        self._server.start()
        self._proxy = Proxy(self._server.port).__enter__()
        self.url = self._proxy.url
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.__exit__()
        self._server.stop()

    async def restart(self, number: int, seconds: float) -> float:
        await asyncio.to_thread(self._server.kill, number)
        await asyncio.sleep(seconds / 4)
        await asyncio.to_thread(self._server.start)
        return time.time()

    async def wipe(self, _: float) -> float:
        """Wipe the store, and read what it held where no process can reach it, so that the loss is known."""
        await asyncio.to_thread(self._server.kill, signal.SIGTERM)
        asked = time.time()  # until now it has answered
        aside = Server(self._server.folder, self._server.options)
        await asyncio.to_thread(aside.start)
        await self.dump(epoch=self.epoch, asked=asked, url=aside.url)
        await asyncio.to_thread(aside.stop)
        (self._server.folder / "appendonly.aof").unlink()
        at = time.time()
        await asyncio.to_thread(self._server.start)
        self.epoch += 1
        self.notes.add("wipe", asked=asked, at=at)
        return time.time()

    async def pause(self, seconds: float) -> float:
        await asyncio.to_thread(self._server.do, "CLIENT", "PAUSE", round(seconds * 1000), "ALL")
        await asyncio.sleep(seconds)
        return time.time()

    async def cut(self, _: float) -> float:
        self._proxy.hang_up()
        return time.time()

    async def lose(self, seconds: float) -> float:
        end = time.time() + seconds
        while time.time() < end:
            self._proxy.lose_the_reply_to(VERBS[int(time.time() * 10) % len(VERBS)])
            await asyncio.sleep(0.1)
        return time.time()
