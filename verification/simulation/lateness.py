"""The rule of lateness: what is due starts within a second, the gap to the next visit, and the polls.

Something is due from the moment at which the store lets it start. A process may start it from the moment at which it
has capacity for it and nothing is wrong with it. From the later of the two on a process may go by what it read of the
gate for a second. So a process that is visited
`REMEMBERED` + `POLL` later, or polls by itself, has started it after a `POLL` of its own.

What a fault takes is added to its own length: `availability.AFTER`. A process that dies in the middle of a poll leaves
the gate as it has entered it, for two seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from verification.simulation.availability import CLOCKS, POLL, Process, Processes
from verification.simulation.due import Item, Kind, items
from verification.simulation.history import BEGINNING
from verification.simulation.rules import Rule, Violation
from verification.simulation.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from verification.simulation.history import Event
    from verification.simulation.scenario import Application

ENFORCED = True
"""Whether the simulation fails where the rule is broken."""

REMEMBERED = 1.0
"""Seconds for which a process may go by what it has read of the gate."""

NEVER = datetime.max.replace(tzinfo=UTC)


class _Promise(NamedTuple):
    """By when something is started, as a process was visited then."""

    by: float
    who: int
    visited: float


class Lateness:
    """Reads a history once, from its beginning.

    Args:
        application: What there is to run.
    """

    def __init__(self, application: Application) -> None:
        self._stored = Stored(application)
        self._processes = Processes(application)
        self._since: dict[Item, float] = {}
        self._promises: dict[Item, _Promise] = {}
        self._reported: set[Item] = set()
        self._next: datetime = BEGINNING
        self._latest: datetime = BEGINNING
        self._oldest = inf
        self._at = 0.0

    def check(self, events: Sequence[Event]) -> Iterator[Violation]:
        """Return what has started late, or not at all."""
        for number, event in enumerate(events):
            self._latest = max(self._latest, event.clock)
            self._come_due(event)
            for item, why in (*self._late(event.at), *self._late_unvisited(event.at)):
                self._reported.add(item)
                yield Violation(Rule.ON_TIME, f"{item}: {why}", number)
            self._processes.follow(event)
            if self._stored.apply(event):
                self._find(event, since=event.at)
            if event.what == "visit":
                self._visit(self._processes[event.who], event)
            self._at = event.at

    # What is late

    def _late(self, now: float) -> Iterator[tuple[Item, str]]:
        """Return what was to be started after a request."""
        for item, promise in [one for one in self._promises.items() if now > one[1].by]:
            del self._promises[item]
            begin = self._begin(item, self._processes[promise.who])
            if begin + REMEMBERED + POLL <= promise.visited and item not in self._reported:
                yield item, f"#{promise.who} could start it since {begin:.3f}, was visited at {promise.visited:.3f}"

    def _late_unvisited(self, now: float) -> Iterator[tuple[Item, str]]:
        """Return what was to be started without a request: by a ticker, after another run, or where it was deferred."""
        if self._oldest + REMEMBERED + 2 * POLL >= now:
            return
        for item in self._since.keys() - self._reported:
            if why := next(self._unstarted(item, now), None):
                yield item, why

    def _unstarted(self, item: Item, now: float) -> Iterator[str]:
        """Who should have started something by now, and why."""
        for process in self._processes if self._since[item] + REMEMBERED + 2 * POLL < now else ():
            begin = self._begin(item, process)
            if now > begin + REMEMBERED + 2 * POLL and (why := self._polls_unvisited(item, process, begin)):
                yield f"#{process.number} could start it since {begin:.3f}, {why}"

    def _polls_unvisited(self, item: Item, process: Process, begin: float) -> str | None:
        """Why a process polls by itself from a moment on; None if it does not."""
        if process.polls_since + POLL > begin:
            return None
        if process.ticks:
            return "has a ticker"
        if not self._processes.polls.alone(process.number, begin):
            return None
        if begin == process.free[item.kind]:
            return "had no capacity before"
        deferred = self._processes.deferred.get((process.number, *item.identity))
        return "has deferred it" if begin == deferred else None

    def _begin(self, item: Item, process: Process) -> float:
        """Since when a process could start something."""
        if item.kind is not Kind.LEASE and item.name not in process.names - process.resting:
            return inf
        return max(self._since[item], process.since(item.kind), self._processes.polls.abandoned)

    def _visit(self, process: Process, event: Event) -> None:
        kinds = [kind for kind in Kind if process.since(kind) + REMEMBERED + POLL <= event.at]
        for item in self._since if kinds else ():
            if item.kind in kinds and self._begin(item, process) + REMEMBERED + POLL <= event.at:
                self._promises.setdefault(item, _Promise(event.at + POLL, process.number, event.at))

    # What is due

    def _come_due(self, event: Event) -> None:
        """Note what has come due by itself since the last event."""
        if event.clock >= self._next or event.what in CLOCKS:
            self._find(event, since=None)

    def _find(self, event: Event, *, since: float | None) -> None:
        """Note what may start now, and since when: the moment of the event, or else that of its time."""
        before, self._since, self._next = self._since, {}, NEVER
        for item, due in items(self._stored, event.clock, self._latest):
            if due > event.clock:
                self._next = min(self._next, due)
            else:
                came = max(self._at, event.at - (event.clock - due).total_seconds())
                self._since[item] = before.get(item, came if since is None else since)
        self._oldest = min(self._since.values(), default=inf)
        for item in self._promises.keys() - self._since.keys():
            del self._promises[item]
