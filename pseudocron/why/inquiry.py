"""Asks a store all that it takes to say why a cron did not run."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, State
from pseudocron.backends.questions import Where
from pseudocron.host import utcnow
from pseudocron.report import history_of
from pseudocron.why import Inquiry, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from pseudocron.backends.contract import Backend
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
    """Collect what is known of a cron, to be asked about its slots.

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
    states = (await backend.states([name])).crons
    lines = await history_of(backend, name, limit=ALL)
    stale_in = await backend.stale_in()
    scene = Scene(
        now=moment,
        fresh_until=moment + timedelta(seconds=stale_in) if stale_in else None,
        full=await _full(crons, backend),
        keep=crons.settings.history,
    )
    return Inquiry(cron, states[name], lines, scene, tell=tell)


async def _full(crons: Crons, backend: Backend) -> tuple[str, ...]:
    """Return the workers that have no free capacity for a cron, as the store shows them; see `Pool.reserve`."""
    running = [run for run in await backend.runs(Where(states={State.RUNNING}), ALL, brief=True) if run.worker]
    all_runs = Counter(run.worker for run in running)
    of_crons = Counter(run.worker for run in running if run.kind is not Kind.JOB)
    size = crons.settings.concurrency
    most = size - 1 if crons.tasks and size > 1 else size
    return tuple(sorted(who for who in all_runs if who and (all_runs[who] >= size or of_crons[who] >= most)))
