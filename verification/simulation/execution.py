"""What processes and their code do: who may run what, what was done, and since when a process is well."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from verification.simulation.availability import POLL

if TYPE_CHECKING:
    from pseudocron.backends.questions import Claim
    from verification.simulation.history import Event

RECORD_WITHIN, RECOVERS_WITHIN = 1.0, 5.0
"""Seconds from the end of some code to its record, and from the end of a fault to the last that comes of it."""

FAULTS = frozenset({"crash", "stop", "suspend", "block", "cut", "lose", "slow", "died", "torn"})
FOR_EVER = 1e9


@dataclass(slots=True)
class Execution:
    """Follows the processes of a history.

    Attributes:
        trouble: Until when something was wrong with each process, in seconds from the beginning; with the store: -1.
    """

    trouble: dict[int, float] = field(default_factory=lambda: defaultdict(lambda: -FOR_EVER))
    _able: dict[int, frozenset[str]] = field(default_factory=dict)
    _done: dict[tuple[str, int], float] = field(default_factory=dict)
    _over: dict[tuple[str, int], float] = field(default_factory=dict)
    _recorded: dict[tuple[str, int], float] = field(default_factory=dict)

    def follow(self, event: Event) -> None:
        """Note what an event says of a process."""
        if event.what in FAULTS:
            size = FOR_EVER if event.what in {"died", "torn", "crash"} else event.given[0]
            self.trouble[event.who] = max(self.trouble[event.who], event.at + size)
        elif event.what == "store_clock":
            self.trouble[-1] = event.at
        elif event.what == "able":
            tasks, crons, executes, _ = event.given
            self._able[event.who] = frozenset((*tasks, *crons)) if executes else frozenset()
        elif event.what in {"did", "did_fail"}:
            self._over[event.given[1:]] = event.at
            if event.what == "did":
                self._done[event.given[1:]] = event.at
        elif event.what == "finish" and not isinstance(event.got, Exception):
            for end in event.given[0]:
                if not end.goes_on:
                    self._recorded.setdefault((end.claim.run_id, end.claim.fence), event.at)

    def can(self, event: Event, name: str) -> bool:
        """Return whether the process of an event has a cron or task, and may run it."""
        return name in self._able.get(event.who, {name})

    def has_done(self, claim: Claim) -> bool:
        """Return whether the code of an attempt has come to its end."""
        return (claim.run_id, claim.fence) in self._done

    def needs_no_lease(self, event: Event, claim: Claim) -> bool:
        """Return whether a process that is well must know by now that a run needs no lease any more."""
        attempt = claim.run_id, claim.fence
        ended = self._over.get(attempt, inf)
        over = min(self._recorded.get(attempt, inf) + POLL, ended + RECORD_WITHIN)
        return over < event.at and self.trouble[event.who] + RECOVERS_WITHIN < min(over, ended)

    def was_well(self, who: int, since: float) -> bool:
        """Return whether nothing was wrong with a process since then, or with the store."""
        return max(self.trouble[who], self.trouble[-1]) < since
