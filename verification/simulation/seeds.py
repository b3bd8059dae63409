"""One seed tried: simulated, checked, and shrunk where it fails to the least that still does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from verification.simulation.checker import Checker
from verification.simulation.scenario import MOST, application, scenario
from verification.simulation.world import simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.simulation.history import History
    from verification.simulation.rules import Violation
    from verification.simulation.scenario import Scenario

STORY = 40
"""Lines of a history that are told before what went wrong."""

EVERY = 1000
"""One seed of so many is simulated with the most processes."""

TRIES = 60
"""Simulations that shrinking may take."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a scenario."""

    scenario: Scenario
    violations: tuple[Violation, ...]
    history: History
    seconds: float

    def __str__(self) -> str:
        """Return the seed, what is left of its scenario, the broken promises, and the events before."""
        one = self.scenario
        end = self.violations[0].number if self.violations else -1
        events = self.history.events
        story = events[max(0, end - STORY) : end + 1] if end >= 0 else events[-STORY:]
        return "\n".join(
            [
                f"seed {one.seed}: {one.processes} processes, {one.seconds} s, faults: {len(one.faults)}",
                *(f"  {fault}" for fault in one.faults),
                *(f"  NOT KEPT {violation}" for violation in self.violations[:5]),
                *(f"  {str(event)[:300]}" for event in story),
            ]
        )


def attempt(one: Scenario) -> Tried:
    """Simulate a scenario, and check what happened."""
    outcome = simulate(one)
    found = Checker(application(one)).read(outcome.history)
    return Tried(one, tuple(found), outcome.history, outcome.seconds)


def shrunk(failed: Tried) -> Tried:
    """Shrink to the same broken promise with fewer processes, in less time, by fewer faults."""
    rule, tries = failed.violations[0].rule, 0
    smaller = _smaller(failed.scenario)
    while tries < TRIES and (candidate := next(smaller, None)):
        tries += 1
        again = attempt(candidate)
        if any(violation.rule == rule for violation in again.violations):
            failed, smaller = again, _smaller(candidate)
    return failed


def _smaller(one: Scenario) -> Iterator[Scenario]:
    """Return the scenarios worth trying, the smallest first."""
    faults = one.faults
    if one.processes > 1:
        yield replace(one, processes=max(1, one.processes // 2))
    if one.seconds > 5:
        half = one.seconds / 2
        yield replace(one, seconds=half, faults=tuple(fault for fault in faults if fault.at < half))
    size = len(faults)
    while size:
        for start in range(0, len(faults), size):
            yield replace(one, faults=faults[:start] + faults[start + size :])
        size //= 2
    if one.processes > 2:
        yield replace(one, processes=one.processes - 1)


def told_of(seed: int) -> tuple[float, int, str]:
    """How many seconds a seed simulated, how many events there were, and what is to be told of one that failed."""
    large = seed % EVERY == EVERY - 1
    tried = attempt(scenario(seed, processes=MOST, seconds=10.0) if large else scenario(seed))
    return tried.seconds, len(tried.history.events), str(shrunk(tried)) if tried.violations else ""
