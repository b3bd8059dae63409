"""What the benchmarks of backends ask a store: to claim due jobs, or the first slot of a cron that nobody has seen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pseudocron.backends.questions import Capacity, Plan, Poll, Take

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOT = datetime(2024, 1, 1, tzinfo=UTC)


def take(*, tasks: Sequence[str] = (), crons: Sequence[str] = (), number: int = 1) -> Take:
    """So many runs of these tasks and crons."""
    capacity = Capacity(number, number, number)
    return Take(dict.fromkeys(tasks), dict.fromkeys(crons, 1), capacity, worker="bench", lease=30)


def claiming_a_slot(name: str) -> Poll:
    """Return a poll that claims one slot of a cron."""
    return Poll(take(crons=[name]), [Plan(name, mark=None, since=SLOT, slots=[SLOT])], force=True)


def claiming_jobs(task: str, number: int) -> Poll:
    """Return a poll that claims so many jobs of a task."""
    return Poll(take(tasks=[task], number=number), force=True)
