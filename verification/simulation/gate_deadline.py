"""By when the gate has to turn stale, from the store itself: no later than what a verb has made due.

While a poll is under way the gate is fresh, and what was due before is the poll's affair. So each verb answers for what
it has made due itself, or due sooner than before. The verb by which a poll dates the gate at its end, having asked for
what is due next, answers for everything; a poll that fails dates it a second from then.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pseudocron.backends.job_rules import UNFINISHED
from pseudocron.backends.jobs import JobState
from verification.simulation.due import IN_USE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pseudocron.backends.memory.store import Store
    from verification.simulation.scenario import Application

ANSWERS = frozenset(
    {
        *("claim", "finish", "release", "reap", "pause", "resume", "reset"),
        *("defer", "cancel", "claim_jobs", "finish_jobs", "release_jobs", "reap_jobs", "retry"),
    }
)
"""The verbs that may make something due sooner; a renewed lease ends later, unless the clock was set back."""

_NEVER = datetime.max.replace(tzinfo=UTC)

Dues = dict[tuple[str, object], datetime]


class GateDeadline:
    """What a store has to start or to end, and when; and when its gate turns stale.

    Args:
        store: The store.
        application: What there is to run.
    """

    def __init__(self, store: Store, application: Application) -> None:
        self._store = store
        self._max_age = timedelta(seconds=application.cron_max_time)
        self._limits = {job.name: job.options.get("max_instances") for job in application.jobs}
        self._dues: Dues = {}
        self._stale_at: datetime | None = None
        self._entered: int | None = None
        self._dates: int | None = None
        self._read = 0
        self._open: list[int] = []

    def after(self, verb: str, who: int, now: datetime) -> tuple[datetime | None, datetime | None] | None:
        """When the gate turns stale now, and by when it has to; None if a verb has changed neither."""
        before, self._stale_at = self._stale_at, self._store.gate and self._store.gate + self._max_age
        if verb == "enter":
            self._entered = who if before != self._stale_at else self._entered
            return None
        if verb == "next_due" and who == self._entered:
            self._dates = who
        sooner = self._sooner(verb, who, now)
        needed = max(now, min(sooner)) if sooner else None
        return None if before == self._stale_at and needed is None else (self._stale_at, needed)

    def _sooner(self, verb: str, who: int, now: datetime) -> Sequence[datetime]:
        """What a verb answers for."""
        if verb == "lower" and who == self._entered == self._dates:
            self._entered, self._dates, self._dues = None, None, dict(self._find(now))
            return list(self._dues.values())
        if verb in {"renew", "renew_jobs"}:
            self._dues = dict(self._find(now))
        if verb not in ANSWERS:
            return []
        before, self._dues = self._dues, dict(self._find(now))
        kinds = {"lease"} if verb == "claim_jobs" else {"lease", "job"}
        return [due for what, due in self._dues.items() if what[0] in kinds and due < before.get(what, _NEVER)]

    def _find(self, now: datetime) -> Iterator[tuple[tuple[str, object], datetime]]:
        for line in self._store.lines:
            if line.lease:
                yield ("lease", line.run.run_id), line.lease
        living = self._store.shelf.running
        for place, kept in living.items():
            if kept.lease:
                yield ("lease", place), kept.lease
        held = _Held(living)
        for kept in self._unfinished():
            if kept.job.state is JobState.PENDING and self._may_start(kept, held, now):
                yield ("job", kept.place), kept.job.due

    def _unfinished(self) -> Sequence[Any]:
        """The jobs that have not come to their end, which nothing undoes in the simulation."""
        new = range(self._read, self._store.shelf.next_place)
        self._read = new.stop
        found = [self._store.shelf.places[place] for place in (*self._open, *new)]
        self._open = [kept.place for kept in found if kept.job.state in UNFINISHED]
        return found

    def _may_start(self, kept: Any, held: _Held, now: datetime) -> bool:
        task, most = kept.job.task, self._limits[kept.job.task]
        seen = self._store.shelf.seen.get(task)
        in_use = seen is not None and now - seen <= IN_USE * self._max_age
        below = most is None or held.tasks[task] < most
        return in_use and below and kept.place not in held.places and kept.name not in held.names


class _Held:
    """What the living leases of jobs hold back."""

    def __init__(self, living: Mapping[int, Any]) -> None:
        self.places = living.keys()
        self.names = {kept.name for kept in living.values() if kept.job.key is not None}
        self.tasks = Counter(kept.job.task for kept in living.values())
