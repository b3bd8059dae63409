"""Events of histories that are made by hand: one cron, one task, and what the store answered about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from pseudocron.backends.jobs import JobClaim, JobEnd, JobState, NewJob
from pseudocron.backends.records import Claim, Outcome, Proposal, Reaped, Reason, Refusal, Result, Skip
from verification.simulation.history import BEGINNING, Event
from verification.simulation.scenario import Application, Cron, Job

EVERY, LEASE, CRON_MAX_TIME = 10, 6.0, 20.0
"""Seconds."""

_CRON = {"coalesce": True, "max_instances": 1, "at_least_once": True}

APPLICATION = Application(
    crons=(Cron("mail", EVERY, _CRON, takes=1, fails=0),),
    jobs=(Job("send", {"max_instances": 2, "retries": 1}, takes=1, fails=0, keys=1, delay=0),),
    lease=LEASE,
    cron_max_time=CRON_MAX_TIME,
    concurrency=3,
    visits=1.0,
    defers=1.0,
    skew=0.0,
)


def clock(at: float) -> datetime:
    return BEGINNING + timedelta(seconds=at)


def slot(number: int) -> datetime:
    return BEGINNING + timedelta(seconds=EVERY * number)


def event(at: float, what: str, *given: Any, got: Any = None, who: int = 1) -> Event:
    return Event(at, clock(at), who, what, given, got)


def well(*more: Event, who: int = 1, ticker: bool = False) -> Sequence[Event]:
    """A process from its birth to its first visit, and what happens then."""
    read = event(0.5, "fresh_for", CRON_MAX_TIME, got=0.0, who=who)
    return event(0.0, "born", who=who), visit(0.5, ticker=ticker, who=who), read, *more


def visit(at: float, *, ticker: bool = False, who: int = 1) -> Event:
    return event(at, "visit", ticker, who=who)


def later(at: float) -> Event:
    """Nothing but that time has passed."""
    return event(at, "later", who=-1)


# Crons


def known(at: float = 0.0) -> Event:
    """The first sight of the cron, whose first slot comes `EVERY` seconds after the beginning."""
    return event(at, "states", {}, got={"mail": SimpleNamespace(mark=slot(0))})


def claim(at: float, number: int = 1, *, fence: int = 1, who: int = 1, **more: Any) -> Event:
    """The slot with a number is claimed; its run has the fence in its name."""
    proposal = Proposal(name="mail", slot=slot(number), worker="w", lease=LEASE, recovers=more.pop("recovers", None))
    attempt = 2 if proposal.recovers else 1
    granted = Claim(
        name="mail", slot=slot(number), run_id=f"mail-{fence}", fence=fence, attempt=attempt, started=clock(at)
    )
    return event(at, "claim", proposal, got=granted, who=who)


def refused(at: float, number: int, why: Refusal) -> Event:
    return event(at, "claim", Proposal(name="mail", slot=slot(number), worker="w", lease=LEASE), got=why)


def skip(at: float, first: int, last: int) -> Event:
    skipped = Skip(name="mail", slot=slot(last), first=slot(first), reason=Reason.NO_TRAFFIC, slots=last - first + 1)
    return event(at, "skip", [skipped])


def finish(at: float, fence: int = 1, *, number: int = 1, who: int = 1, outcome: Outcome = Outcome.FAILED) -> Event:
    return event(at, "finish", claim(0, number, fence=fence).got, Result(outcome=outcome), got=True, who=who)


def reap(at: float, fence: int, *, number: int = 1) -> Event:
    return event(at, "reap", got=Reaped(lost=[claim(0, number, fence=fence).got]))


def renew(at: float, fence: int = 1) -> Event:
    return event(at, "renew", (claim(0, fence=fence).got,), LEASE, got=(f"mail-{fence}",))


def run(at: float, number: int = 1, *, fence: int = 1) -> Sequence[Event]:
    """A slot from its claim to its record."""
    did = event(at + 0.2, "did", "mail", f"mail-{fence}", fence)
    return claim(at, number, fence=fence), did, finish(at + 0.3, fence, outcome=Outcome.SUCCEEDED)


# Jobs


def defer(
    at: float,
    job: str,
    *,
    due: float | None = None,
    key: str | None = None,
    expires_at: float | None = None,
    who: int = 2,
) -> Event:
    new = NewJob(
        job_id=job,
        task="send",
        arguments="{}",
        due=clock(at if due is None else due),
        key=key,
        expires=None if expires_at is None else clock(expires_at),
    )
    return event(at, "defer", [new], CRON_MAX_TIME, got=[job], who=who)


def claim_job(at: float, job: str, *, fence: int = 1, due: float = 0.0, who: int = 1) -> Event:
    tasks, claimed = {"send": 2}, _claim_of(job, fence, due)
    return event(at, "claim_jobs", tasks, 1, "w", LEASE, got=[replace(claimed, started=clock(at))], who=who)


def _claim_of(job: str, fence: int, due: float = 0.0) -> JobClaim:
    return JobClaim(
        job_id=job,
        task="send",
        arguments="{}",
        key=None,
        due=clock(due),
        fence=fence,
        attempt=fence,
        started=BEGINNING,
    )


def finish_job(
    at: float, job: str, said: JobState = JobState.FAILED, *, fence: int = 1, due: float = 0.0, got: Any = None
) -> Event:
    """The attempt ended as was said, in the state that was `got`, or else in the one that was said."""
    end = JobEnd(state=said, due=clock(due) if said is JobState.PENDING else None)
    return event(at, "finish_jobs", [(_claim_of(job, fence), end)], got=[got or said])


def reap_job(at: float, job: str, state: JobState = JobState.PENDING, *, fence: int = 1) -> Event:
    return event(at, "reap_jobs", got=[SimpleNamespace(job_id=job, fence=fence, state=state)])


def renew_job(at: float, job: str) -> Event:
    return event(at, "renew_jobs", (_claim_of(job, 1),), LEASE, got=(job,))


def cancel(at: float, job: str | None = None, key: str | None = None, *, got: bool) -> Event:
    return event(at, "cancel", job, None if job else "send", key, got=got)


def job_run(at: float, job: str, *, key: str | None = None) -> Sequence[Event]:
    """A job from its acknowledgement to its record."""
    did = event(at + 0.2, "did", "send", job, 1)
    ended = finish_job(at + 0.3, job, JobState.SUCCEEDED)
    return defer(at, job, key=key), event(at, "deferred", job), claim_job(at + 0.1, job), did, ended


# The end


def left(at: float, **jobs: JobState) -> Event:
    return event(at, "left", got=jobs)


def settled(at: float, *, all_over: bool = True) -> Event:
    return event(at, "settled", got=all_over, who=-1)
