"""The rule of the gate: of any number that find it stale, one enters."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.records import Claim
from simulation.rules import Rule, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulation.history import Event


FORWARD = frozenset(
    {"finish", "release", "pause", "resume", "reset", "finish_jobs", "reap_jobs", "release_jobs", "retry"}
)
"""The verbs that may have brought the gate forward themselves, to when is not known here."""


def check_gate(events: Sequence[Event]) -> Iterator[Violation]:
    """Those who entered a gate that was fresh, and those who did not though it was stale."""
    gate: datetime | None = None
    known, max_age = True, 0.0
    for number, event in enumerate(events):
        if event.what == "enter":
            (max_age,) = event.given
            stale = _left(gate, event.clock, max_age) <= timedelta()
            if event.got is not stale and (known or not event.got):
                yield Violation(Rule.ONE_ENTERS, str(event), number)
            if event.got:
                gate, known = event.clock, True
        elif isinstance(event.got, Exception):
            continue
        elif event.what in FORWARD or (event.what == "reap" and event.got.lost):
            known = False
        elif (due := _due(event)) and _left(gate, event.clock, max_age) > timedelta():
            gate = min(gate or due, due - timedelta(seconds=max_age))


def _due(event: Event) -> datetime | None:
    """To when the verb has brought the gate forward."""
    due: datetime | None = None
    if event.what == "lower":
        due = event.given[0]
    elif event.what == "defer":
        due = min(new.due for new in event.given[0])
    elif (event.what == "claim" and isinstance(event.got, Claim)) or (event.what == "claim_jobs" and event.got):
        lease = event.given[0].lease if event.what == "claim" else event.given[-1]
        due = event.clock + timedelta(seconds=lease)
    return due


def _left(gate: datetime | None, now: datetime, max_age: float) -> timedelta:
    if gate is None or gate > now:
        return timedelta()
    return gate + timedelta(seconds=max_age) - now
