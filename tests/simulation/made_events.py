"""Events of histories that are made by hand: one cron, one task, and what the store answered about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pseudocron.backends.model import Kind, Reason, Run, Skip, State
from pseudocron.backends.questions import (
    Capacity,
    Claim,
    End,
    Finished,
    NewJob,
    Plan,
    Poll,
    Polled,
    Refusal,
    Refused,
    Take,
)
from verification.simulation.history import BEGINNING, Event
from verification.simulation.scenario import Application, Cron, Job

EVERY, LEASE, CRON_MAX_TIME = 10, 6.0, 20.0
"""Seconds."""

_CRON = {"coalesce": True, "max_instances": 1, "at_least_once": True, "retries": 0}

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
TAKE = Take({"send": 2}, {"mail": 1}, Capacity(3, 2, 2), "w", LEASE)


def clock(at: float) -> datetime:
    return BEGINNING + timedelta(seconds=at)


def slot(number: int) -> datetime:
    return BEGINNING + timedelta(seconds=EVERY * number)


def event(at: float, what: str, *given: Any, got: Any = None, who: int = 1) -> Event:
    return Event(at, clock(at), who, what, given, got)


def well(*more: Event, who: int = 1, ticker: bool = False) -> Sequence[Event]:
    """A process from its birth to its first visit, and what happens then."""
    return event(0.0, "born", who=who), visit(0.5, ticker=ticker, who=who), event(0.5, "stale_in", who=who), *more


def able(at: float, *, tasks: Sequence[str] = ("send",), crons: Sequence[str] = ("mail",), executes: bool) -> Event:
    return event(at, "able", tuple(tasks), tuple(crons), executes, CRON_MAX_TIME)


def visit(at: float, *, ticker: bool = False, who: int = 1) -> Event:
    return event(at, "visit", ticker, who=who)


def later(at: float) -> Event:
    """Nothing but that time has passed."""
    return event(at, "later", who=-1)


# Polls


def poll(
    at: float,
    *claims: Claim,
    who: int = 1,
    plan: Plan | None = None,
    force: bool = False,
    holding: Sequence[Claim] = (),
    what: str = "poll",
    **answered: Any,
) -> Event:
    """A poll with all crons and tasks."""
    polled = Polled(answered.pop("fresh_for", 0.0), claims, **answered)
    return event(at, what, Poll(TAKE, [plan] if plan else [], holding, force), got=polled, who=who)


def resting(at: float) -> Event:
    """A poll of a process that has no thread for the task."""
    take = TAKE._replace(resting=[(Kind.JOB, "send")])
    return event(at, "poll", Poll(take, force=True), got=Polled(0.0))


def gate(at: float, dated: float | None) -> Event:
    return event(at, "gate", None if dated is None else clock(dated))


def known(at: float = 0.0, *, who: int = 2) -> Event:
    """The first sight of the cron, whose first slot comes `EVERY` seconds after the beginning."""
    return poll(at, who=who, plan=planned(None))


def planned(mark: int | None, *slots: int, skips: Sequence[Skip] = ()) -> Plan:
    """A plan for the cron, from a mark, to claim slots."""
    marked, following = None if mark is None else slot(mark), max([mark or 0, *slots]) + 1
    wanted = [slot(number) for number in slots]
    return Plan("mail", marked, slot(0), wanted, skips, slot(following), at_least_once=True)


# Runs of the cron


def slot_claim(at: float, number: int = 1, *, fence: int = 1, attempt: int = 1, run: str | None = None) -> Claim:
    due = slot(number)
    return Claim(run or f"mail-{number}", Kind.SLOT, "mail", due, fence, attempt, 0, clock(at), due)


def claim(at: float, number: int = 1, *, fence: int = 1, who: int = 1, mark: int = 0, **more: Any) -> Event:
    """The slot with a number is claimed."""
    return poll(at, slot_claim(at, number, fence=fence, **more), who=who, plan=planned(mark, number), force=True)


def once(at: float, number: int = 1, *, fence: int = 1) -> Event:
    """The slot with a number is claimed, to run at most once."""
    plan = planned(number - 1, number)._replace(at_least_once=False)
    return poll(at, slot_claim(at, number, fence=fence), plan=plan, force=True)


def reclaim(at: float, number: int = 1, *, fence: int = 2, attempt: int = 2, who: int = 1) -> Event:
    """A slot that was lost or failed is claimed again."""
    return poll(at, slot_claim(at, number, fence=fence, attempt=attempt), who=who, force=True)


def refused(at: float, number: int, why: Refusal) -> Event:
    return poll(at, plan=planned(number - 1, number), refused=[Refused("mail", slot(number), why)], force=True)


def skip(at: float, first: int, last: int, reason: Reason = Reason.NO_TRAFFIC) -> Event:
    skipped = Skip("mail", slot(last), reason, last - first + 1, slot(first))
    return poll(at, plan=planned(first - 1, skips=[skipped]), force=True)


def finish(
    at: float,
    number: int = 1,
    *,
    fence: int = 1,
    who: int = 1,
    said: State = State.FAILED,
    got: State | None = None,
    due: float | None = None,
    counts: bool = True,
) -> Event:
    """An attempt of a slot ended as was said, in the state that was `got`, or else in the one that was said."""
    when = None if due is None else clock(due)
    end = End(slot_claim(0, number, fence=fence), said, when, counts=counts)
    return event(at, "finish", [end], None, got=Finished([got or said], 0.0), who=who)


def lose(at: float, number: int = 1, *, fence: int = 1, state: State = State.PENDING) -> Event:
    lost = Run(f"mail-{number}", Kind.SLOT, "mail", state, clock(at), clock(0), fence=fence)
    return poll(at, lost=[lost], force=True)


def renew(at: float, number: int = 1, *, fence: int = 1, got: Sequence[str] | None = None) -> Event:
    living = (f"mail-{number}",) if got is None else got
    return event(at, "renew", (slot_claim(0, number, fence=fence),), LEASE, got=living)


def run(at: float, number: int = 1, *, fence: int = 1, mark: int = 0) -> Sequence[Event]:
    """A slot from its claim to its record."""
    did = event(at + 0.2, "did", "mail", f"mail-{number}", fence)
    return claim(at, number, fence=fence, mark=mark), did, finish(at + 0.3, number, fence=fence, said=State.SUCCEEDED)


def start(at: float, run_id: str = "by-hand", *, fence: int = 1, who: int = 1) -> Event:
    claimed = Claim(run_id, Kind.MANUAL, "mail", clock(at), fence, 1, 0, clock(at), clock(at))
    return event(at, "start", TAKE, got=claimed, who=who)


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
    expires = None if expires_at is None else clock(expires_at)
    new = NewJob(job, "send", "{}", clock(at if due is None else due), key, expires=expires)
    return event(at, "defer", [new], got=[job], who=who)


def job_claim(at: float, job: str, *, fence: int = 1, due: float = 0.0, attempt: int = 1, failures: int = 0) -> Claim:
    return Claim(job, Kind.JOB, "send", clock(due), fence, attempt, failures, clock(at))


def claim_job(at: float, job: str, *, who: int = 1, **more: Any) -> Event:
    return poll(at, job_claim(at, job, **more), who=who, force=True)


def finish_job(
    at: float,
    job: str,
    said: State = State.FAILED,
    *,
    fence: int = 1,
    due: float | None = None,
    got: State | None = None,
    who: int = 1,
    **more: Any,
) -> Event:
    """The attempt ended as was said, in the state that was `got`, or else in the one that was said."""
    when = None if due is None else clock(due)
    state = got or (said if due is None else State.PENDING)
    end = End(job_claim(0, job, fence=fence), said, when, **more)
    return event(at, "finish", [end], None, got=Finished([state], 0.0), who=who)


def lose_job(at: float, job: str, state: State = State.PENDING, *, fence: int = 1) -> Event:
    return poll(at, lost=[Run(job, Kind.JOB, "send", state, clock(at), clock(0), fence=fence)], force=True)


def drop_job(at: float, job: str, state: State) -> Event:
    return poll(at, dropped=[Run(job, Kind.JOB, "send", state, clock(0), clock(0))], force=True)


def renew_job(at: float, job: str) -> Event:
    return event(at, "renew", (job_claim(0, job),), LEASE, got=(job,))


def cancel(at: float, job: str | None = None, key: str | None = None, *, got: bool) -> Event:
    return event(at, "cancel", job, None if job else "send", key, got=got)


def job_run(at: float, job: str, *, key: str | None = None) -> Sequence[Event]:
    """A job from its acknowledgement to its record."""
    did = event(at + 0.2, "did", "send", job, 1)
    ended = finish_job(at + 0.3, job, State.SUCCEEDED)
    return defer(at, job, key=key), event(at, "deferred", job), claim_job(at + 0.1, job), did, ended


# The end


def left(at: float, **runs: State) -> Event:
    return event(at, "left", got=runs)


def settled(at: float, *, all_over: bool = True) -> Event:
    return event(at, "settled", got=all_over, who=-1)
