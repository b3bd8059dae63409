"""What a process logs at its start: its store, what there is to run, what is due next, and what depends on requests."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.errors import PseudoCronError
from pseudocron.log import logger
from pseudocron.worker.due import plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.questions import States
    from pseudocron.crons import Crons
    from pseudocron.host import Host

FEW = 5
"""How many crons are named in one line."""


async def announce(where: str, crons: Crons, backend: Backend, host: Host, *, ticker: bool) -> None:
    """Log one line about a configuration, and one if its crons depend on requests.

    Args:
        where: Name of the configuration.
        crons: The crons and tasks.
        backend: The store, open.
        host: Where threads come from.
        ticker: Whether this process polls by itself.
    """
    try:
        states = await backend.states([cron.name for cron in crons])
    except PseudoCronError as error:  # the polls tell
        logger.debug("%s: no state of the store: %s", where, error)
        return
    following = await host.hop(_next, crons, states)
    counts = (len(crons), len(crons.tasks))
    logger.info("%s: store %s, crons: %d, tasks: %d, next due: %s", where, crons.settings.store, *counts, following)
    if not ticker and (line := on_requests(crons, states)):
        logger.warning("%s: %s", where, line)


def on_requests(crons: Crons, states: States) -> str | None:
    """Return which crons run only when a request comes, with the fix; None if a process has polled lately.

    Args:
        crons: The crons.
        states: What the store has recorded of them, and of polls.
    """
    lately = timedelta(seconds=2 * crons.settings.cron_max_time)
    if states.polled is not None and states.now - states.polled <= lately:
        return None
    waiting = [cron.name for cron in crons if cron.enabled]
    if not waiting:
        return None
    return (
        f"no poll within the last {lately.total_seconds():.12g} s: these crons run only when requests come: "
        f"{_some(waiting)}; "
        "to run them on time set ticker=True, or let 'pseudocron work' or 'pseudocron tick' of a crontab poll"
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {more} more" if more > 0 else "")


def _next(crons: Crons, states: States) -> str:
    """Return the cron that is due first, and when."""
    first: tuple[datetime, str] | None = None
    for cron in crons:
        planned = plan(cron, states.crons[cron.name], states.now, since=cron._first_mark(states.now))
        if planned.slots:
            return f"{cron.name} now"
        if planned.next is not None and not states.crons[cron.name].paused:
            first = min(first or (planned.next, cron.name), (planned.next, cron.name))
    return "nothing" if first is None else f"{first[1]} at {first[0].isoformat(timespec='seconds')}"
