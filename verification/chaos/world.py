"""One store with its processes, their visitors and their nemesis, from the start to the verdict."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from verification.chaos import edited_crons
from verification.chaos.checker import Violation, check
from verification.chaos.history import History, Notes
from verification.chaos.load import Visitors
from verification.chaos.nemesis import Nemesis, lanes, plan
from verification.chaos.processes import BEATS, JOBS, Member, members
from verification.chaos.stores import OnDisk, OnRedis, Store

if TYPE_CHECKING:
    from pathlib import Path

TASKS = {"quick": (3, None), "flaky": (2, None), "slow": (3, 6), "blocking": (1, 2), "newest": (3, None)}
"""Their retries and `max_instances`, as the application has them."""

TICK_BEGINS = 0.6
"""Seconds after which a `tick` is in the middle of its work."""

START_WITHIN, SETTLE_WITHIN = 30.0, 60.0
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How much goes wrong, and how much there is to do.

    As it is by default, an hour on both stores is 1,000 kills, 200 stops, 100 restarts of Redis and 150,000 jobs.

    Args:
        seconds: For how long.
        seed: Of what is planned.
        lease: Seconds.
        gaps: Seconds between two deeds against processes, the store, and the surroundings.
        rate: Visits a second.
        tick_every: Seconds between two calls of `tick`.
        few: Whether fewer processes are enough.
    """

    seconds: float
    seed: int
    lease: float = 2.0
    gaps: tuple[float, float, float] = (2.6, 6.0, 10.0)
    rate: float = 27.0
    tick_every: float = 6.0
    few: bool = False


class World:
    """Everything about one store, in a folder of its own.

    Args:
        kind: `file` or `redis`.
        folder: An empty one.
        weather: What it has to bear.
        mounts: Whether this process may mount disks.
    """

    def __init__(self, kind: str, folder: Path, weather: Weather, *, mounts: bool) -> None:
        self.weather = weather
        self.notes = Notes(folder / "notes")
        self._folder = folder
        self._kind = kind
        self._store: Store = (
            OnDisk(folder, self.notes, mounts=mounts) if kind == "file" else OnRedis(folder, self.notes)
        )
        self._members: list[Member] = []
        self._call: Member | None = None
        self._over = False

    def run(self) -> tuple[History, list[Violation]]:
        """All that happened, and what was not kept."""
        with ExitStack() as stack:
            stack.enter_context(self._store)
            stack.callback(self._end)
            asyncio.run(self._run())
        history = History(self.notes.read())
        return history, check(history)

    async def _run(self) -> None:
        weather = self.weather
        self._introduce()
        self._members = members(
            self._folder, self._store.url, lease=weather.lease, own_clocks=self._store.own_clocks, few=weather.few
        )
        for member in self._members:
            member.start()
        keeper = asyncio.create_task(self._keep())
        await self._until_it_works()
        await self._storm(time.time() + weather.seconds)
        left = await self._settle()
        self._over = True
        await keeper
        self.notes.add("settled", left=left)
        await self._stop()
        asked = time.time()
        await self._store.dump(epoch=self._store.epoch, asked=asked)

    def _introduce(self) -> None:
        """Record what there is to run, for the checker."""
        (self._folder / BEATS).write_text(edited_crons.crons_file(), encoding="utf-8")
        (self._folder / "script.py").write_text(edited_crons.script_file(), encoding="utf-8")
        self.notes.add("store", kind=self._kind, lease=self.weather.lease)
        for name, cron in edited_crons.told().items():
            self.notes.add("cron", name=name, **cron)
        for name, (retries, most) in TASKS.items():
            self.notes.add("task", name=name, retries=retries, max_instances=most)

    async def _until_it_works(self) -> None:
        ports = [member.port for member in self._members if not member.command]
        self._visitors = Visitors(ports, rate=self.weather.rate, notes=self.notes, seed=self.weather.seed)
        end = time.time() + START_WITHIN
        while not all([await Visitors([port], rate=1, notes=self.notes, seed=0).served() for port in ports]):
            assert time.time() < end, "\n".join(member.log for member in self._members)
            await asyncio.sleep(0.05)

    async def _storm(self, until: float) -> None:
        weather = self.weather
        nemesis = Nemesis(self._members, self._store, self.notes, lease=weather.lease)
        await asyncio.gather(
            self._visitors.come(until),
            self._tick(until),
            *(
                nemesis.carry_out(plan(weather.seed, lane, kinds, gap), until)
                for (lane, kinds), gap in zip(lanes(self._kind).items(), weather.gaps, strict=True)
            ),
        )
        nemesis.heal()

    async def _keep(self) -> None:
        """Who has ended is started again."""
        while not self._over:
            for member in self._members:
                if not member.alive:
                    member.signal_all(signal.SIGKILL)  # workers whose first process is gone hold its port
                    member.start()
            await asyncio.sleep(0.2)

    async def _tick(self, until: float) -> None:
        """As the system's crontab does; each sixth call is killed."""
        number = 0
        while time.time() < until:
            number += 1
            ours = self._members[0]
            self._call = call = replace(ours, name="tick", command=("tick", (BEATS, JOBS)[number % 2])).start()
            await asyncio.sleep(TICK_BEGINS)
            if number % 6 == 0 and call.alive:
                self.notes.add("fault", kind="tick killed", pids=[call.process.pid], asked=time.time())
                call.signal_all(signal.SIGKILL)
            await asyncio.sleep(self.weather.tick_every - TICK_BEGINS)
            await asyncio.to_thread(call.end)

    async def _settle(self) -> int:
        """Nothing goes wrong any more: wait until all jobs are over; how many are not."""
        end = time.time() + SETTLE_WITHIN
        await self._until_it_works()
        await self._visitors.come(time.time() + self.weather.lease / 2)  # whatever became of those before
        left = await self._store.left()
        while left and time.time() < end:
            await asyncio.sleep(0.1)
            left = await self._store.left()
        return left

    async def _stop(self) -> None:
        for member in self._members:
            member.stop()
        await asyncio.gather(*(asyncio.to_thread(member.end) for member in self._members))

    def _end(self) -> None:
        """However it came, nothing is left behind."""
        for member in filter(None, (*self._members, self._call)):
            if hasattr(member, "process"):
                member.signal_all(signal.SIGCONT)
                member.signal_all(signal.SIGKILL)
