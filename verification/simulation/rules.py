"""The rules that a history may break, by name, and one that was broken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """Every rule that a checker of histories can report."""

    # Gate
    ONE_ENTERS = "one enters a stale gate, nobody a fresh one"
    ENTERED = "only a poll dates the gate later"
    GATE = "the gate is stale when something is due"
    ANSWERED = "a verb answers for how long the gate is fresh"
    # Time
    ON_TIME = "what is due starts on time"
    # Slots
    SLOT_NOT_EARLY = "no slot before its time"
    SLOT_ONCE = "no slot is claimed twice"
    SLOT_RECORDED = "each slot ran or is recorded"
    SLOT_PLANNED = "each slot is planned when all is well"
    PAUSED = "a slot is skipped as paused only while its cron is"
    # Claims
    FENCES_GROW = "fences grow"
    MAX_INSTANCES = "at most max_instances living leases"
    NO_LATE_HOLDER = "no late holder writes"
    LEASE_IN_FULL = "no lease ends before its time"
    LEASE_KEPT = "no healthy process loses a lease"
    LEASE_OVER = "no lease that is over is renewed"
    RENEWED = "no lease is renewed when its run has ended"
    LEASE_ENDED = "a lease that is over is ended"
    ABLE = "a process claims only what it may run and has"
    CLAIMED = "what runs was claimed"
    DONE = "what succeeded was done"
    # Pending runs
    NOT_EARLY = "no pending run before its time"
    STORED = "what is acknowledged is stored"
    RUN_KEPT = "no stored run is lost"
    RUN_ONCE = "one living claim of a run"
    ONE_OF_A_KEY = "one running job of a key"
    NOT_WANTED = "what is cancelled or replaced is not started"
    DROPPED = "only what is not wanted is dropped"
    CANCEL_ANSWERS = "cancel tells whether it was pending"
    ENDS_AS_SAID = "a run ends as it was said"
    RETRIED = "failed after its retries"
    COUNTED = "attempts and failures are counted, losses and hand-backs apart"
    HANDED_BACK = "what a shutdown interrupts is handed back"
    COMES_BACK = "a lost run comes back"
    STATE = "a run is in the state it came to"
    ALL_ENDS = "all comes to its end when nothing goes wrong any more"
    # Code
    CAUGHT = "nothing is left uncaught"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken, how, and by which event of the history."""

    rule: Rule
    what: str
    number: int = -1

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"
