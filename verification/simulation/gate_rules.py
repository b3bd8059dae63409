"""The rules of the gate: of any number that find it stale one enters, and it is stale when the law says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from verification.simulation.rules import Rule, Violation
from verification.simulation.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from verification.simulation.history import Event
    from verification.simulation.scenario import Application

TORN_FOR = timedelta(seconds=2)
"""For how long at most a poll that has not come to its end keeps the gate fresh."""

EXACT = 0.001
"""Seconds by which answers may differ from what they are about."""


def check_gate(events: Sequence[Event], application: Application) -> Iterator[Violation]:
    """Check what was entered that was fresh, or not entered that was stale, and what the gate kept waiting."""
    gate = _Gate(Stored(application), application.longest_max_time)
    for number, event in enumerate(events):
        if not isinstance(event.got, Exception):
            for rule, what in gate.read(event):
                yield Violation(rule, f"{event}: {what}"[:600], number)


@dataclass(slots=True)
class _Gate:
    """The gate as it was last seen.

    Args:
        stored: What the store holds.
        longest: The longest `CRON_MAX_TIME`.
    """

    stored: Stored
    longest: float
    dated: datetime | None = None
    torn_until: datetime | None = None
    is_stepped: bool = False
    """Whether the clock was stepped after the latest poll: what that makes due no verb has made."""

    verb: str = ""
    answered: float | None = None

    def read(self, event: Event) -> Iterator[tuple[Rule, object]]:
        """Return what an event shows to be broken, the rule and how."""
        if event.what == "poll":
            is_stale = self._is_stale(event.clock, self.stored.max_times.get(event.who, self.longest))
            if (event.got is not None) != (is_stale or event.given[0].force):
                yield Rule.ONE_ENTERS, self.dated
        self.stored.apply(event)
        if event.what == "gate":
            yield from self._on_gate(event)
            return
        self.verb = event.what
        if event.what in {"poll", "finish"} and event.got is not None:
            self.answered = event.got.fresh_for
        if event.what == "torn":
            self.torn_until = event.clock + TORN_FOR
        elif event.what == "poll" and event.got is not None:
            self.is_stepped, self.torn_until = False, None
        elif event.what == "stepped":
            self.is_stepped, self.torn_until = True, None

    def _on_gate(self, event: Event) -> Iterator[tuple[Rule, object]]:
        before, (self.dated,) = self.dated, event.given
        answered, self.answered = self.answered, None
        if self.verb not in {"poll", "torn", "stepped"} and self.dated and (before is None or self.dated > before):
            yield Rule.ENTERED, before
        if answered is not None and abs(answered - self._fresh_for(event)) > EXACT:
            yield Rule.ANSWERED, answered
        dues = [] if self.is_stepped else list(self.stored.dues(event.clock))
        if not dues:
            return
        due, what = min(dues)
        needed = max(event.clock, due, self.torn_until or due)
        if not any(self._is_stale(at, self.longest) for at in (event.clock, needed + timedelta(seconds=EXACT))):
            yield Rule.GATE, f"{what}, due at {due}"

    def _fresh_for(self, event: Event) -> float:
        limit = self.stored.max_times.get(event.who, self.longest)
        if self.dated is None or self._is_stale(event.clock, limit):
            return 0.0
        return (self.dated - event.clock).total_seconds()

    def _is_stale(self, now: datetime, cron_max_time: float) -> bool:
        return self.dated is None or self.dated <= now or (self.dated - now).total_seconds() > cron_max_time
