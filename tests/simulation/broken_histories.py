"""For every rule the least histories that break it, and no other: one for each place that reports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pseudocron.backends.model import Reason, State
from pseudocron.backends.questions import Refusal
from simulation.late_histories import LATE
from simulation.made_events import (
    able,
    cancel,
    claim,
    claim_job,
    defer,
    drop_job,
    event,
    finish,
    finish_job,
    gate,
    job_run,
    known,
    left,
    lose,
    lose_job,
    once,
    poll,
    reclaim,
    refused,
    renew,
    renew_job,
    run,
    settled,
    skip,
    slot_claim,
    start,
    well,
)
from verification.simulation.history import Event
from verification.simulation.rules import Rule

Histories: TypeAlias = Sequence[Sequence[Event]]

_CRASH = event(10.1, "crash", 0.0)
_RETRIED = [defer(0.0, "a"), claim_job(0.1, "a"), finish_job(0.2, "a", due=0.2)]

WHOLE: Sequence[Event] = [
    *well(known(1.0)),
    gate(1.0, 1.0),
    poll(9.9, fresh_for=0.1),
    gate(9.9, 10.0),
    *run(10.0),
    skip(29.0, 2, 2),
    claim(30.0, 3, fence=2, mark=2),
    renew(34.5, 3, fence=2),
    refused(40.0, 4, Refusal.OVERLAP),
    event(41.0, "suspend", 20.0),
    lose(46.0, 3, fence=2),
    reclaim(46.1, 3, fence=3),
    finish(46.2, 3, fence=3),
    *job_run(50.0, "a", key="k"),
    defer(51.0, "b", key="k"),
    defer(51.1, "c", key="k"),
    claim_job(51.2, "c"),
    renew_job(51.3, "c"),
    cancel(51.4, key="k", got=False),
    finish_job(51.5, "c", got=State.CANCELLED, due=51.5),
    defer(52.0, "d"),
    claim_job(52.0, "d"),
    event(52.1, "crash", 0.0),
    lose_job(58.1, "d"),
    cancel(58.2, "d", got=True),
    start(58.5, "hand", fence=4),
    left(60.0, a=State.SUCCEEDED, b=State.REPLACED, c=State.CANCELLED, d=State.CANCELLED, hand=State.RUNNING),
    settled(60.0),
]
"""A history that breaks no rule."""

BROKEN: Mapping[Rule, Histories] = {
    Rule.ONE_ENTERS: [[poll(1.0, fresh_for=20.0), gate(1.0, 21.0), poll(2.0)]],
    Rule.ENTERED: [[poll(1.0), gate(1.0, 1.0), event(2.0, "release", []), gate(2.0, 2.1)]],
    Rule.GATE: [[poll(1.0, fresh_for=10.0), gate(1.0, 11.0), defer(2.0, "a", due=5.0), gate(2.0, 5.1)]],
    Rule.ANSWERED: [[poll(1.0, fresh_for=9.0), gate(1.0, 11.0)]],
    Rule.ON_TIME: list(LATE.values()),
    Rule.SLOT_NOT_EARLY: [[claim(9.9)]],
    Rule.SLOT_ONCE: [[claim(10.0), finish(10.1), claim(10.2, fence=2, run="another")]],
    Rule.SLOT_RECORDED: [[known(), *run(10.0), *run(30.0, 3, fence=2)]],
    Rule.SLOT_PLANNED: [[known(), *run(10.0), settled(40.0)]],
    Rule.PAUSED: [
        [event(1.0, "pause", "mail", True), claim(10.0)],
        [known(), skip(10.0, 1, 1, Reason.PAUSED)],
    ],
    Rule.FENCES_GROW: [[*run(10.0, fence=2), *run(20.0, 2, fence=1, mark=1)]],
    Rule.MAX_INSTANCES: [
        [*(defer(0.0, job) for job in "abc"), *(claim_job(0.1, job) for job in "abc")],
        [claim(10.0), _CRASH, lose(16.1), claim(20.0, 2, fence=2)],
    ],
    Rule.NO_LATE_HOLDER: [[claim(10.0), finish(10.1), finish(10.2)]],
    Rule.LEASE_IN_FULL: [[claim(10.0), _CRASH, lose(15.9)]],
    Rule.LEASE_KEPT: [[claim(10.0), lose(16.0)]],
    Rule.LEASE_OVER: [[claim(10.0), finish(10.1), renew(10.2)]],
    Rule.RENEWED: [
        [claim(10.0), event(10.1, "did", "mail", "mail-1", 1), renew(12.0)],
        [claim(10.0), finish(10.1), poll(10.5, holding=[slot_claim(10.0)], force=True)],
    ],
    Rule.LEASE_ENDED: [
        [claim(10.0), poll(16.1, force=True)],
        [start(10.0), settled(42.0)],
    ],
    Rule.ABLE: [[able(0.0, executes=False), claim(10.0)]],
    Rule.CLAIMED: [
        [event(10.0, "began", "mail", "mail-1", 1)],
        [claim_job(1.0, "a")],
    ],
    Rule.DONE: [[claim(10.0), finish(10.1, said=State.SUCCEEDED)]],
    Rule.NOT_EARLY: [[defer(0.0, "a", due=5.0), claim_job(4.9, "a", due=5.0)]],
    Rule.STORED: [[event(0.0, "deferred", "a")]],
    Rule.RUN_KEPT: [[defer(0.0, "a"), cancel(0.1, "a", got=True), left(1.0)]],
    Rule.RUN_ONCE: [[defer(0.0, "a"), claim_job(0.1, "a"), claim_job(0.2, "a", fence=2, attempt=2)]],
    Rule.ONE_OF_A_KEY: [[defer(0.0, "a", key="k"), claim_job(0.1, "a"), defer(0.2, "b", key="k"), claim_job(0.3, "b")]],
    Rule.NOT_WANTED: [[defer(0.0, "a"), cancel(0.1, "a", got=True), claim_job(0.2, "a")]],
    Rule.DROPPED: [
        [defer(0.0, "a"), drop_job(0.1, "a", State.EXPIRED)],
        [once(10.0), finish(10.1, due=10.1, got=State.PENDING), once(20.0, 2, fence=2)],
    ],
    Rule.CANCEL_ANSWERS: [[defer(0.0, "a"), cancel(0.1, "a", got=False)]],
    Rule.ENDS_AS_SAID: [[defer(0.0, "a"), claim_job(0.1, "a"), finish_job(0.2, "a", got=State.CANCELLED)]],
    Rule.RETRIED: [[defer(0.0, "a"), claim_job(0.1, "a"), finish_job(0.2, "a")]],
    Rule.COUNTED: [[*_RETRIED, claim_job(0.3, "a", fence=2, attempt=2)]],
    Rule.HANDED_BACK: [[claim(10.0), finish(10.1, said=State.INTERRUPTED)]],
    Rule.COMES_BACK: [[defer(0.0, "a"), claim_job(0.1, "a"), event(0.2, "crash", 0.0), lose_job(6.1, "a", State.LOST)]],
    Rule.STATE: [[defer(0.0, "a"), left(1.0, a=State.FAILED)]],
    Rule.ALL_ENDS: [[settled(1.0, all_over=False)]],
    Rule.CAUGHT: [[event(0.0, "uncaught", got="an error")]],
}
