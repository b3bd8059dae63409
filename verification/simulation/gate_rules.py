"""The rules of the gate: of any number that find it stale one enters, and it is stale when something is due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from verification.simulation.rules import Rule, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from verification.simulation.history import Event


def check_gate(events: Sequence[Event]) -> Iterator[Violation]:
    """What was entered that was fresh, or not entered that was stale; and what the gate kept waiting."""
    stale_at: datetime | None = None
    max_age = timedelta()
    for number, event in enumerate(events):
        if event.what == "enter" and not isinstance(event.got, Exception):
            max_age = timedelta(seconds=event.given[0])
            if event.got is not _is_stale(stale_at, event.clock, max_age):
                yield Violation(Rule.ONE_ENTERS, str(event), number)
            stale_at = event.clock + max_age if event.got else stale_at
        elif event.what == "gate":
            before, (stale_at, needed) = stale_at, event.given
            if before and stale_at and stale_at > before:
                yield Violation(Rule.ENTERED, str(event), number)
            if needed and not any(_is_stale(stale_at, at, max_age) for at in (event.clock, needed)):
                yield Violation(Rule.GATE, str(event), number)


def _is_stale(stale_at: datetime | None, now: datetime, max_age: timedelta) -> bool:
    return stale_at is None or stale_at <= now or stale_at - max_age > now
