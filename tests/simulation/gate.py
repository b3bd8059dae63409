"""The rule of the gate: of any number that find it stale, one enters."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from simulation.rules import Rule, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulation.history import Event


def check_gate(events: Sequence[Event]) -> Iterator[Violation]:
    """Those who entered a gate that was fresh, and those who did not though it was stale."""
    gate: datetime | None = None
    for number, event in enumerate(events):
        if event.what == "enter":
            stale = _left(gate, event.clock, event.given[0]) <= timedelta()
            if event.got is not stale:
                yield Violation(Rule.ONE_ENTERS, str(event), number)
            if event.got:
                gate = event.clock
        elif event.what in {"lower", "defer"} and not isinstance(event.got, Exception):
            due = event.given[0] if event.what == "lower" else min(new.due for new in event.given[0])
            if gate and _left(gate, event.clock, event.given[1]) > timedelta():
                gate = min(gate, due - timedelta(seconds=event.given[1]))


def _left(gate: datetime | None, now: datetime, max_age: float) -> timedelta:
    if gate is None or gate > now:
        return timedelta()
    return gate + timedelta(seconds=max_age) - now
