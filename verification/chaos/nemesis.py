"""Harms processes, their store, their configuration and their clocks, as a seed has planned it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from verification.chaos.edited_crons import BROKEN, crons_file
from verification.chaos.processes import clock_of, set_clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from verification.chaos.history import Notes
    from verification.chaos.processes import Member
    from verification.chaos.stores import Store

_PROCESSES = ("worker killed",) * 12 + ("host killed",) * 2 + ("worker stopped",) * 4 + ("host told to stop",) * 2
_REDIS = ("Redis restarted", "Redis killed", "Redis restarted empty", "Redis paused", "connections cut", "replies lost")
_DISK = ("disk full", "folder read-only", "lock deleted", "lock back-dated")
_SURROUNDINGS = ("clock stepped", "crons edited", "crons broken")


CYCLE, LULL = 30.0, 12.0
"""Seconds: at the end of each cycle nothing is done, or else each late start would have a fault for its excuse."""


def lanes(store: str) -> dict[str, Sequence[str]]:
    """Return the possible faults, by lanes in which one fault follows the other."""
    return {"processes": _PROCESSES, store: _DISK if store == "file" else _REDIS, "surroundings": _SURROUNDINGS}


@dataclass(frozen=True, slots=True)
class Deed:
    """What will be done, so many seconds after the one before it in its lane.

    Args:
        kind: What.
        after: Seconds.
        chance: Whom it strikes, and for how long, in [0, 1).
    """

    kind: str
    after: float
    chance: float

    def __str__(self) -> str:
        return f"{self.after:.1f} {self.kind} {self.chance:.2f}"


def plan(seed: int, lane: str, kinds: Sequence[str], gap: float) -> Iterator[Deed]:
    """For ever: all of the kinds in one order, then in another; the first of them soon."""
    random = Random(f"{seed} {lane}")
    while True:
        for kind in random.sample(kinds, len(kinds)):
            yield Deed(kind, random.uniform(0.5, 1.5) * gap, random.random())


class Nemesis:
    """Carries out a plan.

    Args:
        members: The processes.
        store: Which may be harmed.
        notes: Where all is written down.
        lease: Seconds; a stopped process stays so for longer.
    """

    def __init__(self, members: Sequence[Member], store: Store, notes: Notes, *, lease: float) -> None:
        self._members = members
        self._store = store
        self._notes = notes
        self._lease = lease
        self._edition = 0
        self._began = time.time()
        self._stopped: set[int] = set()
        self._deeds: Mapping[str, Callable[[float], Awaitable[None]]] = {
            "worker killed": self._kill_worker,
            "host killed": self._kill_host,
            "worker stopped": self._stop_worker,
            "host told to stop": self._tell_to_stop,
            "clock stepped": self._step,
            "crons edited": self._edit,
            "crons broken": self._break,
        } | {kind: partial(self._harm_store, kind) for kind in self._store.deeds}

    async def carry_out(self, deeds: Iterator[Deed], until: float) -> None:
        """One deed after the other, until a moment by the true time."""
        for deed in deeds:
            at = self._moment(time.time() + deed.after)
            await asyncio.sleep(max(0, min(at, until) - time.time()))
            if at > until:
                return
            if deed.kind in self._deeds:
                await self._deeds[deed.kind](deed.chance)

    def _moment(self, at: float) -> float:
        """Then, or when the lull is over in which that lies."""
        place = (at - self._began) % CYCLE
        return at if place < CYCLE - LULL else at - place + CYCLE

    def _note(self, kind: str, *, asked: float, at: float | None = None, **told: Any) -> None:
        self._notes.add("fault", kind=kind, asked=asked, at=at or asked, **told)

    async def _victim(self, chance: float) -> int:
        """One that works; where none does, as soon as one does again."""
        while True:
            pids = [pid for member in self._members for pid in member.pids() if pid not in self._stopped]
            if pids:
                return pids[int(chance * len(pids))]
            await asyncio.sleep(0.05)

    async def _kill_worker(self, chance: float) -> None:
        pid, asked = await self._victim(chance), time.time()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._note("worker killed", asked=asked, pids=[pid])

    async def _kill_host(self, chance: float) -> None:
        member = self._members[int(chance * len(self._members))]
        asked, pids = time.time(), member.pids()
        member.signal_all(signal.SIGKILL)
        self._note("host killed", asked=asked, pids=pids)

    async def _tell_to_stop(self, chance: float) -> None:
        member = self._members[int(chance * len(self._members))]
        asked, pids = time.time(), member.pids()
        if member.alive:
            member.stop()
            self._note("host told to stop", asked=asked, pids=pids)

    async def _stop_worker(self, chance: float) -> None:
        """For longer than a lease, and shorter than uvicorn waits for a worker's answer."""
        pid, asked = await self._victim(chance), time.time()
        self._stopped.add(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._note("worker stopped", asked=asked, pids=[pid])
            await asyncio.sleep(self._lease * (1.3 + 0.7 * chance))
            os.kill(pid, signal.SIGCONT)
        self._stopped.discard(pid)

    async def _harm_store(self, kind: str, chance: float) -> None:
        asked = time.time()
        at = await self._store.deeds[kind](self._lease * (0.5 + chance))
        self._note(kind, asked=asked, at=at)

    async def _step(self, chance: float) -> None:
        """Step the clock; that of a folder's machine by seconds only, as crons wait where it is set back."""
        member, asked = self._members[int(chance * len(self._members))], time.time()
        file = member.folder / member.clock
        most = 100 if self._store.own_clocks else 4 * self._lease
        self._set_clock(file, 0 if clock_of(file) else most * (2 * chance - 1))
        self._note("clock stepped", asked=asked, clock=member.clock, ahead=clock_of(file))

    def _set_clock(self, file: Path, ahead: float) -> None:
        asked = time.time()
        set_clock(file, ahead)
        if not self._store.own_clocks:
            self._notes.add("clock", asked=asked)

    async def _edit(self, _: float) -> None:
        self._edition += 1
        asked = time.time()
        self._write(crons_file(self._edition))
        self._note("crons edited", asked=asked)

    async def _break(self, chance: float) -> None:
        asked = time.time()
        self._write(BROKEN[int(chance * len(BROKEN))])
        await asyncio.sleep(self._lease / 2)
        self._write(crons_file(self._edition))
        self._note("crons broken", asked=asked, at=time.time())

    def _write(self, text: str) -> None:
        (self._members[0].folder / "crons.py").write_text(text, encoding="utf-8")

    def heal(self) -> None:
        """From here on nothing goes wrong."""
        self._edition += self._edition % 2
        self._write(crons_file(self._edition))
        for member in self._members:
            self._set_clock(member.folder / member.clock, 0)
