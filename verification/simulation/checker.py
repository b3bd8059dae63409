"""States whether a history kept the promises; knows what happened, and nothing of how that came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, State
from verification.simulation.execution import Execution
from verification.simulation.gate_rules import check_gate
from verification.simulation.lateness import ENFORCED, Lateness
from verification.simulation.rules import Rule, Violation
from verification.simulation.slot_rules import check_slots
from verification.simulation.transitions import Transitions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from verification.simulation.history import Event
    from verification.simulation.scenario import Application


@dataclass(slots=True)
class Checker:
    """Reads a history once, from its beginning.

    Args:
        application: What there was to run.
        timely: Whether what is late is reported.
    """

    application: Application
    timely: bool = ENFORCED
    violations: list[Violation] = field(default_factory=list)
    _number: int = 0

    def read(self, history: Iterable[Event]) -> list[Violation]:
        """Return the promises that were not kept, the earliest first."""
        events = list(history)
        execution = Execution()
        stored = Transitions(self.application, execution=execution, report=self._report)
        for self._number, event in enumerate(events):
            stored.latest = max(stored.latest, event.clock)
            stored.apply(event)
            execution.follow(event)
            self._check(event, stored)
        found = [
            *self.violations,
            *check_gate(events, self.application),
            *check_slots(events, self.application),
        ]
        if self.timely:
            found += Lateness(self.application).check(events)
        return sorted(found, key=lambda one: one.number)

    def _report(self, rule: Rule, what: object) -> None:
        self.violations.append(Violation(rule, str(what)[:600], self._number))

    def _check(self, event: Event, stored: Transitions) -> None:
        """Check the rules of code, and of the end."""
        match event.what:
            case "began":
                name, run_id, fence = event.given
                run = stored.runs.get(run_id)
                stored.must(run and run.name == name and run.fence >= fence, Rule.CLAIMED, event)
            case "deferred":
                stored.must(event.given[0] in stored.runs, Rule.STORED, event)
            case "uncaught":
                stored.must(not event.got, Rule.CAUGHT, event.got)
            case "left":
                _check_left(stored, event.got)
            case "settled":
                stored.must(event.got, Rule.ALL_ENDS, "runs are left")
                patience = timedelta(seconds=self.application.longest_max_time + 5)
                for run_id, lease in stored.leases.items():
                    stored.must(lease.until + patience > event.clock, Rule.LEASE_ENDED, run_id)


def _check_left(stored: Transitions, left: Mapping[str, State]) -> None:
    """Check what the store has in the end: of the runs of crons only some that have ended."""
    for run_id, run in stored.runs.items():
        state = left.get(run_id)
        if state is None:
            stored.must(run.kind is not Kind.JOB and run_id not in stored.unfinished, Rule.RUN_KEPT, (run_id, run))
        else:
            stored.must(state is run.state, Rule.STATE, (run_id, state, run))
