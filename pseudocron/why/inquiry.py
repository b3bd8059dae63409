"""Asks a store all that it takes to say why a cron did not run."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.jobs import JobState
from pseudocron.host import utcnow
from pseudocron.why import Inquiry, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from pseudocron.backends.base import Backend
    from pseudocron.crons import Crons

ALL = 10_000
"""More lines than any history holds, and more runs than go on at once."""


async def inquire(
    crons: Crons,
    backend: Backend,
    name: str,
    *,
    now: Callable[[], datetime] = utcnow,
    tell: Callable[[datetime], str] = datetime.isoformat,
) -> Inquiry:
    """What is known of a cron, to be asked about its slots.

    Args:
        crons: The configuration.
        backend: Its store, open.
        name: The cron's name.
        now: The clock of this machine.
        tell: How an instant is told in a sentence.

    Raises:
        UnknownCronError: There is no such cron.
        BackendError: The store can't be read.
    """
    cron, moment = crons[name], now() + backend.ahead
    states = await backend.states({name: cron._first_mark(moment)})
    lines = await backend.history(name, limit=ALL)
    fresh = await backend.fresh_for(crons.settings.cron_max_time)
    scene = Scene(
        now=moment,
        fresh_until=moment + timedelta(seconds=fresh) if fresh else None,
        full=await _full(crons, backend),
        keep=crons.settings.history,
    )
    return Inquiry(cron, states[name], lines, scene, tell=tell)


async def _full(crons: Crons, backend: Backend) -> tuple[str, ...]:
    """The workers that have no free place for a cron, as the store shows them; see `Pool.room_for`."""
    runs = Counter(run.worker for run in await backend.history(limit=ALL) if run.outcome is None)
    jobs: Counter[str] = Counter()
    if crons.tasks:
        running = await backend.jobs(states=[JobState.RUNNING], limit=crons.settings.concurrency)
        jobs = Counter(job.worker for job in running if job.worker)
    size = crons.settings.concurrency
    most = size - 1 if crons.tasks and size > 1 else size
    return tuple(sorted(who for who, number in runs.items() if number >= most or number + jobs[who] >= size))
