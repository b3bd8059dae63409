"""Whether the scheduling of a configuration is alive: its file, its store, and crons that nobody has run in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pseudocron.backends.model import Where
from pseudocron.errors import PseudoCronError, cause
from pseudocron.host import hop, spawn
from pseudocron.worker.diagnostics import outlasting
from pseudocron.worker.due import overdue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.model import CronState
    from pseudocron.crons import Crons
    from pseudocron.process import Process
    from pseudocron.runtime import Runtime
    from pseudocron.worker.due import Overdue

ANSWER_WITHIN = 2.0
"""Seconds that whoever asks waits at most: probes are not patient."""

ASK_AGAIN = 1.0
"""Seconds for which an answer is good, however many ask."""

KEPT = 1000
"""How many runs are counted at most whose code goes on after their end."""


class Config(StrEnum):
    """How the configuration is."""

    OK = "ok"
    STALE = "stale"  # the latest edit is wrong, the last good configuration stays
    BROKEN = "broken"  # it has never been right in this process
    UNKNOWN = "unknown"  # it takes too long to be read


class Store(StrEnum):
    """How the store is."""

    OK = "ok"
    DOWN = "down"  # it can't be used
    SLOW = "slow"  # it did not answer in time
    NOT_ASKED = "not_asked"  # the configuration is broken, or everything is switched off


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What was found.

    Args:
        config: How the configuration is.
        backend: How the store is.
        enabled: Whether anything is to run at all.
        crons: How many crons there are.
        overdue: Those that are late by more than they tolerate, the latest first.
        lingering: How many runs have ended while their code goes on, in all processes.
        stuck: Whether this process has so many of them that it starts no further threads.
        errors: What is wrong, each in one line that may name files and servers.
    """

    config: Config = Config.OK
    backend: Store = Store.OK
    enabled: bool = True
    crons: int = 0
    overdue: Sequence[Overdue] = ()
    lingering: int = 0
    stuck: bool = False
    errors: Sequence[str] = ()

    @property
    def healthy(self) -> bool:
        """Whether what is due runs, as far as that can be seen. A stale configuration runs."""
        well = self.config in {Config.OK, Config.STALE} and self.backend in {Store.OK, Store.NOT_ASKED}
        return well and not self.overdue and not self.stuck


class _Examination:
    """One after the other, on one event loop, each good for a while."""

    def __init__(self) -> None:
        self._so_far = Vitals()
        self._task: asyncio.Task[Vitals] | None = None
        self._until = 0.0

    async def ask(self, process: Process) -> Vitals:
        """What is known within `ANSWER_WITHIN`, at most `ASK_AGAIN` old."""
        now = asyncio.get_running_loop().time()
        if self._task is None or (self._task.done() and now >= self._until):
            self._until = now + ASK_AGAIN
            self._task = spawn(self._examine(process))
        task = self._task
        # One that does not come to its end is neither cut off nor begun again: it may hold a thread.
        await asyncio.wait([task], timeout=ANSWER_WITHIN)
        return task.result() if task.done() else self._so_far

    async def _examine(self, process: Process) -> Vitals:
        """Find out, and note at each step what is known so far."""
        self._so_far = Vitals(config=Config.UNKNOWN, backend=Store.NOT_ASKED)
        try:
            crons, stale = await hop(process.reload), process.source.error
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can run with it
            return Vitals(config=Config.BROKEN, backend=Store.NOT_ASKED, errors=[_words(error)])
        known = Vitals(
            config=Config.STALE if stale else Config.OK,
            backend=Store.NOT_ASKED,
            enabled=crons.settings.enabled,
            crons=len(crons),
            errors=[stale] if stale else [],
        )
        if not known.enabled:
            return known
        self._so_far = replace(known, backend=Store.SLOW)
        return await _ask_the_store(process, crons, known)


async def _ask_the_store(process: Process, crons: Crons, known: Vitals) -> Vitals:
    try:
        async with process.opened(crons) as backend:
            states, lingering = await asyncio.gather(
                backend.states([cron.name for cron in crons]), backend.runs(Where(is_kept=True), KEPT)
            )
        late = await hop(_overdue, crons, states.crons, states.now)
        errors = [*known.errors, *outlasting(lingering, concurrency=crons.settings.concurrency)]
        return replace(
            known, backend=Store.OK, overdue=late, lingering=len(lingering), stuck=process.stuck, errors=errors
        )
    except Exception as error:  # noqa: BLE001 - as above
        return replace(known, backend=Store.DOWN, errors=[*known.errors, _words(error)])


def _overdue(crons: Crons, states: Mapping[str, CronState], now: datetime) -> list[Overdue]:
    cron_max_time = crons.settings.cron_max_time
    found = (
        overdue(crons[name], state, now, cron_max_time=cron_max_time) for name, state in states.items() if name in crons
    )
    return sorted(filter(None, found), key=attrgetter("late"), reverse=True)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, PseudoCronError) else cause(error)


_examinations: WeakKeyDictionary[Runtime, _Examination] = WeakKeyDictionary()


async def vitals(process: Process) -> Vitals:
    """How the scheduling does, as far as it is known within `ANSWER_WITHIN`; at most `ASK_AGAIN` old."""
    return await _examinations.setdefault(process.runtime(), _Examination()).ask(process)
