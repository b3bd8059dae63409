"""The rule of the slots: each is claimed once, or recorded as skipped, up to the last poll."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.records import Claim, Reason, Refusal
from verification.simulation.rules import Rule, Violation

if TYPE_CHECKING:
    from verification.simulation.history import Event
    from verification.simulation.scenario import Application, Cron

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATE = 5.0
"""Seconds that may pass from a slot until it is dealt with when all is well."""

Found = Iterator[Violation]


def check_slots(events: Sequence[Event], application: Application) -> Found:
    """Slots claimed twice, and slots of which nobody knows anything."""
    for cron in application.crons:
        yield from _check(events, cron)


def _check(events: Sequence[Event], cron: Cron) -> Found:
    name, every = cron.name, cron.every
    claimed: dict[int, Claim] = {}
    skipped: set[int] = set()
    first: int | None = None
    for number, event in enumerate(events):
        if isinstance(event.got, Exception):
            continue
        if event.what == "states" and first is None and name in event.got:
            first = _place(event.got[name].mark, every)
        elif event.what == "skip":
            for skip in event.given[0]:
                if skip.name == name and skip.reason is not Reason.CLOCK_BACK:
                    skipped |= set(range(_place(skip.first or skip.slot, every), _place(skip.slot, every) + 1))
        elif event.what == "claim" and event.given[0].name == name:
            yield from _claimed(event, claimed, skipped, every, number)
    if first is not None:
        yield from _left_out(events, cron, first, {*claimed, *skipped})


def _claimed(event: Event, claimed: dict[int, Claim], skipped: set[int], every: int, number: int) -> Found:
    proposal, got = event.given[0], event.got
    place = _place(proposal.slot, every)
    if got in {Refusal.OVERLAP, Refusal.PAUSED} and proposal.recovers is None:
        skipped.add(place)
    if not isinstance(got, Claim):
        return
    before = claimed.get(place)
    again = before is not None and proposal.recovers == before.run_id and got.attempt == before.attempt + 1
    if before is not None and not again:
        yield Violation(Rule.SLOT_ONCE, f"{before} and {got}", number)
    claimed[place] = got


def _left_out(events: Sequence[Event], cron: Cron, first: int, known: set[int]) -> Found:
    name, every = cron.name, cron.every
    unknown = set(range(first + 1, max(known, default=first) + 1)) - known
    if unknown:
        yield Violation(Rule.SLOT_RECORDED, f"{name}: {sorted(unknown)[:5]} of {len(unknown)}", len(events))
    end = next((event for event in reversed(events) if event.what == "settled"), None)
    latest = _place(end.clock - timedelta(seconds=LATE), every) if end else 0
    # Where each slot has to run, one after the other, they may well be behind.
    if cron.options["coalesce"] and max(known, default=first) < latest - 1:
        yield Violation(Rule.SLOT_PLANNED, f"{name}: {latest - max(known, default=first)}", len(events))


def _place(slot: datetime, every: int) -> int:
    """How many slots came before it."""
    return (slot - EPOCH) // timedelta(seconds=every)
