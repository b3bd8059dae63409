"""What people want to see of the crons of a configuration, for a page of one's own and for `pseudocron list`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pseudocron.host import utcnow
from pseudocron.runner.due import due
from pseudocron.watch import watch

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.records import Run, State
    from pseudocron.crons import Cron


@dataclass(frozen=True, slots=True, kw_only=True)
class CronStatus:
    """How one cron is doing.

    Args:
        name: The entry's name.
        schedule: Its schedule in words.
        target: What it runs.
        enabled: Whether the configuration lets it run.
        paused: Whether somebody has paused it.
        running: How many of its runs go on now, in any process.
        last: Its latest run that was not a skip.
        due: Whether the next look will run it.
        next: Its next slot, aware UTC; None if there is none, or it is disabled or paused.
        runs: How often it ran.
        failures: How many of these did not succeed.
        missed: How many slots were skipped, for whatever reason.
    """

    name: str
    schedule: str
    target: str
    enabled: bool
    paused: bool
    running: int
    last: Run | None
    due: bool
    next: datetime | None
    runs: int
    failures: int
    missed: int


async def cron_status(crons: object) -> list[CronStatus]:
    """The status of each cron, in the order of the configuration.

    Args:
        crons: The configuration, as the middleware takes it.

    Raises:
        PseudoCronError: In one line, if the configuration or the store can't be read.
    """
    entries, states = await watch(crons).states()
    return [status_of(cron, states[cron.name], utcnow()) for cron in entries]


def status_of(cron: Cron, state: State, now: datetime) -> CronStatus:
    """The status of a cron of which the store knows this, at an instant."""
    plan = due(cron, state, now)
    return CronStatus(
        name=cron.name,
        schedule=cron.schedule.words,
        target=str(cron.target),
        enabled=cron.enabled,
        paused=state.paused,
        running=state.running,
        last=state.last,
        due=bool(plan.slots),
        next=plan.slots[0] if plan.slots else plan.next,
        runs=state.runs,
        failures=state.failures,
        missed=state.missed,
    )


def lateness(run: Run) -> float | None:
    """Seconds from the slot to the start of its run; None of a skip."""
    return None if run.reason else (run.started - run.slot).total_seconds()


def duration(run: Run) -> float | None:
    """Seconds that a run took; None of a skip, and of a run that goes on."""
    return None if run.reason or run.ended is None else (run.ended - run.started).total_seconds()


def span(seconds: float) -> str:
    """A duration: `0.012s`, `3m20s`, `2h05m`, `3d04h`."""
    if seconds < 59.95:
        return f"{seconds:.3f}s" if seconds < 1 else f"{seconds:.1f}s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02}h"
    return f"{hours}h{minute:02}m" if hours else f"{minutes}m{second:02}s"
