"""The rule of the slots: each is claimed once, or recorded as skipped, up to the last poll."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, Reason
from pseudocron.backends.questions import Polled, Refusal
from verification.simulation.rules import Rule, Violation
from verification.simulation.stored_records import EPOCH

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.backends.questions import Plan
    from verification.simulation.history import Event
    from verification.simulation.scenario import Application, Cron

LATE = 5.0
"""Seconds that may pass from a slot until it is dealt with when all is well."""

Found = Iterator[Violation]


def check_slots(events: Sequence[Event], application: Application) -> Found:
    """Slots claimed twice, and slots of which nobody knows anything."""
    for spec in application.crons:
        cron = _Cron(spec)
        for number, event in enumerate(events):
            if event.what in {"poll", "torn"} and isinstance(event.got, Polled):
                yield from cron.poll(event, number)
            elif event.what == "reset" and event.given[0] == spec.name and not isinstance(event.got, Exception):
                cron.reset(event.given[1])
        yield from cron.left_out(events)


@dataclass(slots=True)
class _Cron:
    """What has become of the slots of a cron, by how many came before them."""

    spec: Cron
    claimed: dict[int, str] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    first: int | None = None

    def poll(self, event: Event, number: int) -> Found:
        polled, name = event.got, self.spec.name
        plan = next((plan for plan in event.given[0].plans if plan.name == name), None)
        if plan is not None and name not in polled.outdated:
            self._skip(plan, polled)
        for claim in polled.claims:
            if claim.name == name and claim.kind is Kind.SLOT and claim.run_id not in self.runs:
                self.runs.add(claim.run_id)
                place = self._place(claim.slot)
                if self.claimed.setdefault(place, claim.run_id) != claim.run_id:
                    yield Violation(Rule.SLOT_ONCE, f"{self.claimed[place]} and {claim}", number)

    def _skip(self, plan: Plan, polled: Polled) -> None:
        self.first = self._place(plan.since) if self.first is None else self.first
        for skip in plan.skips:
            if skip.reason is not Reason.CLOCK_BACK:
                self.skipped |= set(range(self._place(skip.first or skip.slot), self._place(skip.slot) + 1))
        passed = {Refusal.PAUSED, Refusal.OVERLAP} if plan.coalesce else {Refusal.PAUSED}
        mine = (one for one in polled.refused if one.name == plan.name and one.why in passed)
        self.skipped |= {self._place(one.slot) for one in mine}

    def reset(self, mark: datetime) -> None:
        """Slots above the mark may come again; those up to it need not have come."""
        place = self._place(mark)
        self.claimed = {slot: run for slot, run in self.claimed.items() if slot <= place}
        self.skipped = {slot for slot in self.skipped if slot <= place}
        self.first = place

    def left_out(self, events: Sequence[Event]) -> Found:
        if self.first is None:
            return
        first, known = self.first, {*self.claimed, *self.skipped}
        last = max(known, default=first)
        unknown = set(range(first + 1, last + 1)) - known
        if unknown:
            what = f"{self.spec.name}: {sorted(unknown)[:5]} of {len(unknown)}"
            yield Violation(Rule.SLOT_RECORDED, what, len(events))
        end = next((event for event in reversed(events) if event.what == "settled"), None)
        latest = self._place(end.clock - timedelta(seconds=LATE)) if end else 0
        # Where each slot has to run, one after the other, they may well be behind.
        if self.spec.options["coalesce"] and max(last, first) < latest - 1:
            yield Violation(Rule.SLOT_PLANNED, f"{self.spec.name}: {latest - last}", len(events))

    def _place(self, slot: datetime) -> int:
        """How many slots came before it."""
        return (slot - EPOCH) // timedelta(seconds=self.spec.every)
