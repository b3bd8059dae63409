"""For every rule the least histories that break it, and no other: one for each place that reports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pseudocron.backends.jobs import JobState
from pseudocron.backends.records import Outcome, Refusal
from simulation.late_histories import LATE
from simulation.made_events import (
    cancel,
    claim,
    claim_job,
    clock,
    defer,
    event,
    finish,
    finish_job,
    job_run,
    known,
    left,
    reap,
    reap_job,
    refused,
    renew,
    renew_job,
    run,
    settled,
    skip,
    well,
)
from verification.simulation.history import Event
from verification.simulation.rules import Rule

Histories: TypeAlias = Sequence[Sequence[Event]]

WHOLE: Sequence[Event] = [
    *well(known(1.0)),
    event(9.9, "enter", 20.0, got=True),
    event(9.9, "enter", 20.0, got=False, who=2),
    *run(10.0),
    event(10.4, "gate", clock(16.0), clock(16.0)),
    skip(29.0, 2, 2),
    claim(30.0, 3, fence=2),
    renew(34.0, fence=2),
    refused(40.0, 4, Refusal.OVERLAP),
    event(41.0, "pause", 20.0),
    reap(46.0, 2),
    claim(46.1, 3, fence=3, recovers="mail-2"),
    finish(46.2, 3),
    *job_run(50.0, "a", key="k"),
    defer(51.0, "b", key="k"),
    defer(51.1, "c", key="k"),
    claim_job(51.2, "c"),
    renew_job(51.3, "c"),
    cancel(51.4, key="k", got=False),
    finish_job(51.5, "c", got=JobState.CANCELLED),
    defer(52.0, "d"),
    claim_job(52.0, "d"),
    event(52.1, "crash", 0.0),
    reap_job(58.1, "d"),
    cancel(58.2, "d", got=True),
    left(60.0, a=JobState.SUCCEEDED, b=JobState.REPLACED, c=JobState.CANCELLED, d=JobState.CANCELLED),
    settled(60.0),
]
"""A history that breaks no rule."""

BROKEN: Mapping[Rule, Histories] = {
    Rule.ONE_ENTERS: [[event(1.0, "enter", 20.0, got=True), event(2.0, "enter", 20.0, got=True)]],
    Rule.ENTERED: [[event(1.0, "enter", 20.0, got=True), event(2.0, "gate", clock(21.1), None)]],
    Rule.GATE: [[event(1.0, "enter", 20.0, got=True), event(2.0, "gate", clock(5.1), clock(5.0))]],
    Rule.ON_TIME: list(LATE.values()),
    Rule.SLOT_NOT_EARLY: [[claim(9.9)]],
    Rule.SLOT_ONCE: [[claim(10.0), finish(10.1), claim(10.2, fence=2)]],
    Rule.SLOT_RECORDED: [[known(), *run(10.0), *run(30.0, 3, fence=2)]],
    Rule.SLOT_PLANNED: [[known(), *run(10.0), settled(40.0)]],
    Rule.FENCES_GROW: [
        [*run(10.0, fence=2), *run(20.0, 2, fence=1)],
        [defer(0.0, "a"), claim_job(0.1, "a", fence=0)],
    ],
    Rule.MAX_INSTANCES: [
        [claim(10.0), claim(20.0, 2, fence=2)],
        [*(defer(0.0, job) for job in "abc"), *(claim_job(0.1, job) for job in "abc")],
    ],
    Rule.NO_LATE_HOLDER: [
        [claim(10.0), finish(10.1), finish(10.2)],
        [defer(0.0, "a"), claim_job(0.1, "a"), *(finish_job(at, "a", JobState.PENDING) for at in (0.2, 0.3))],
    ],
    Rule.LEASE_IN_FULL: [[claim(10.0), event(10.1, "crash", 0.0), reap(15.9, 1)]],
    Rule.LEASE_KEPT: [[claim(10.0), reap(16.0, 1)]],
    Rule.LEASE_OVER: [[claim(10.0), finish(10.1), renew(10.2)]],
    Rule.RENEWED: [
        [claim(10.0), event(10.1, "did", "mail", "mail-1", 1), renew(12.0)],
        [claim(10.0), finish(10.1), event(10.5, "renew", (claim(0.0).got,), 6.0, got=())],
        [defer(0.0, "a"), claim_job(0.1, "a"), event(0.2, "did", "send", "a", 1), renew_job(2.0, "a")],
    ],
    Rule.LEASE_ENDED: [[claim(10.0), settled(42.0)]],
    Rule.ABLE: [
        [event(0.0, "able", ("send",), False), claim(10.0)],
        [event(0.0, "able", ("resize",), True), defer(0.0, "a"), claim_job(0.1, "a")],
    ],
    Rule.CLAIMED: [[event(10.0, "began", "mail", "mail-1", 1)]],
    Rule.DONE: [
        [claim(10.0), finish(10.1, outcome=Outcome.SUCCEEDED)],
        [defer(0.0, "a"), claim_job(0.1, "a"), finish_job(0.2, "a", JobState.SUCCEEDED)],
    ],
    Rule.JOB_NOT_EARLY: [[defer(0.0, "a", due=5.0), claim_job(4.9, "a", due=5.0)]],
    Rule.JOB_STORED: [[event(0.0, "deferred", "a")]],
    Rule.JOB_KEPT: [[defer(0.0, "a"), cancel(0.1, "a", got=True), left(1.0)]],
    Rule.JOB_ONCE: [[defer(0.0, "a"), claim_job(0.1, "a"), claim_job(0.2, "a", fence=2)]],
    Rule.ONE_OF_A_KEY: [[defer(0.0, "a", key="k"), claim_job(0.1, "a"), defer(0.2, "b", key="k"), claim_job(0.3, "b")]],
    Rule.NOT_WANTED: [[defer(0.0, "a"), cancel(0.1, "a", got=True), claim_job(0.2, "a")]],
    Rule.CANCEL_ANSWERS: [[defer(0.0, "a"), cancel(0.1, "a", got=False)]],
    Rule.ENDS_AS_SAID: [[defer(0.0, "a"), claim_job(0.1, "a"), finish_job(0.2, "a", got=JobState.PENDING)]],
    Rule.RETRIED: [[defer(0.0, "a"), claim_job(0.1, "a"), finish_job(0.2, "a")]],
    Rule.COMES_BACK: [
        [defer(0.0, "a"), claim_job(0.1, "a"), event(0.2, "crash", 0.0), reap_job(6.1, "a", JobState.FAILED)]
    ],
    Rule.STATE: [[defer(0.0, "a"), left(1.0, a=JobState.FAILED)]],
    Rule.ALL_ENDS: [[settled(1.0, all_over=False)]],
    Rule.CAUGHT: [[event(0.0, "uncaught", got="an error")]],
}
