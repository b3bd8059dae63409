"""What the queue of jobs tells: one job, pages of them, how many there are; it changes nothing."""

from __future__ import annotations

from heapq import merge
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING

from pseudocron.backends.file.rows import SELECT, Kept, kept, stands
from pseudocron.backends.file.upcoming import waiting_tasks
from pseudocron.backends.file.verbs import Verbs
from pseudocron.backends.jobs import JobState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pseudocron.backends.jobs import Job

ROWS = {state: f"jobs WHERE state = '{state}'" for state in JobState}
ROWS |= {JobState.PENDING: "waiting", JobState.RUNNING: "running WHERE NOT over"}
COUNT = {state: f"SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT ?)" for state, rows in ROWS.items()}  # noqa: S608


class Listing(Verbs):
    """The verbs that read, and the jobs by which the others find what they change."""

    def waiting_tasks(self) -> Collection[str]:
        """See `Queue.waiting_tasks`."""
        return waiting_tasks(self._db)

    def count_jobs(self, at_most: int) -> Mapping[JobState, int]:
        """See `Queue.count_jobs`."""
        return {state: self._db.execute(count, (at_most,)).fetchone()[0] for state, count in COUNT.items()}

    def job(self, job_id: str) -> Job | None:
        """See `Queue.job`."""
        found = self._one("job_id = ?", job_id)
        return found.job if found else None

    def jobs(
        self, *, states: Collection[JobState], task: str | None, key: str | None, limit: int, before: str | None
    ) -> Sequence[Job]:
        """See `Queue.jobs`."""
        asked = {
            "task = ?": (task,) * (task is not None),
            "key = ?": (key,) * (key is not None),
            "id < (SELECT id FROM jobs WHERE job_id = ?)": (before,) * (before is not None),
        }
        filters = {where: values for where, values in asked.items() if values}
        values = (*chain.from_iterable(filters.values()), limit)
        wheres = (" AND ".join((stands, *filters)) for stands in map(stands, set(states) or (None,)))
        pages = (self._all(f"{where} ORDER BY id DESC LIMIT ?", *values) for where in wheres)
        return [found.job for found in islice(merge(*pages, key=attrgetter("place"), reverse=True), limit)]

    def _all(self, where: str, *values: object) -> Iterator[Kept]:
        return map(kept, self._db.execute(SELECT + where, values))

    def _one(self, where: str, *values: object) -> Kept | None:
        row = self._db.execute(SELECT + where, values).fetchone()
        return kept(row) if row else None
