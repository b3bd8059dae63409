"""What backends written in Python share: who gets a slot, the lines of the history, how much text is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from pseudocron.backends.records import Blocker, Claim, Outcome, Reason, Refusal, Run, Skip, Waited

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from pseudocron.backends.records import Proposal

RECOVERABLE = frozenset({Outcome.INTERRUPTED, Outcome.LOST})


def refusal(
    proposal: Proposal, *, now: datetime, mark: datetime | None, paused: bool, living: int, orphan: Run | None
) -> Refusal | None:
    """Why the proposal is refused, None if it is not; `Backend.claim` is the source of the rules.

    Args:
        proposal: What is asked for.
        now: The backend's clock.
        mark: The cron's mark, None if it has none.
        paused: Whether the cron is paused.
        living: How many leases of the cron are living.
        orphan: The run that the proposal recovers, if it does and that run waits for it.
    """
    if not proposal.manual:
        if proposal.slot > now:
            return Refusal.EARLY
        if _taken(proposal, mark, orphan):
            return Refusal.TAKEN
        if paused:
            return Refusal.PAUSED
    return Refusal.OVERLAP if living >= proposal.max_instances else None


def _taken(proposal: Proposal, mark: datetime | None, orphan: Run | None) -> bool:
    if proposal.recovers is None:
        return mark is not None and proposal.slot <= mark
    return orphan is None or orphan.slot != proposal.slot


def skip_for(proposal: Proposal, why: Refusal, living: Iterable[Blocker] = ()) -> Skip | None:
    """The skip that a refused claim records, if it does, `living` in its way; the mark then grows to its slot."""
    if why not in {Refusal.OVERLAP, Refusal.PAUSED} or proposal.recovers is not None or proposal.manual:
        return None
    blockers = tuple(living) if why is Refusal.OVERLAP else ()
    return Skip(name=proposal.name, slot=proposal.slot, reason=Reason(why.value), blockers=blockers)


def grows(skip: Skip) -> Literal["mark", "back"]:
    """Which of a cron's two highest slots a skip raises, and has to be above."""
    return "back" if skip.reason is Reason.CLOCK_BACK else "mark"


def granted(proposal: Proposal, *, fence: int, orphan: Run | None, now: datetime) -> Run:
    """The line of history of a claim that is granted."""
    return Run(
        run_id=uuid4().hex,
        name=proposal.name,
        slot=now if proposal.manual else proposal.slot,
        fence=fence,
        attempt=orphan.attempt + 1 if orphan else 1,
        worker=proposal.worker,
        started=now,
        waited=proposal.waited,
    )


def claim_of(run: Run) -> Claim:
    """The claim whose run this is."""
    return Claim(
        name=run.name,
        slot=run.slot,
        run_id=run.run_id,
        fence=run.fence,
        attempt=run.attempt,
        started=run.started,
    )


def skipped(skip: Skip, *, worker: str, now: datetime) -> Run:
    """The line of history of slots that are skipped."""
    return Run(
        run_id=uuid4().hex,
        name=skip.name,
        slot=skip.slot,
        fence=0,
        attempt=0,
        worker=worker,
        started=now,
        ended=now,
        outcome=Outcome.SKIPPED,
        reason=skip.reason,
        slots=skip.slots,
        first=skip.first or skip.slot,
        since=skip.since,
        blockers=skip.blockers,
    )


def merged(line: Run, skip: Skip, *, now: datetime) -> Run:
    """The line of history to which slots are added that are skipped for the same reason."""
    first = min(line.first or line.slot, skip.first or skip.slot)
    return replace(line, slot=max(line.slot, skip.slot), first=first, ended=now, slots=line.slots + skip.slots)


def text_of(parts: Waited | tuple[Blocker, ...] | None) -> str | None:
    """How the structured parts of a line are kept where there are texts only; None of nothing."""
    if isinstance(parts, Waited):
        return json.dumps(asdict(parts))
    return json.dumps([asdict(blocker) for blocker in parts]) if parts else None


def waited_of(text: str) -> Waited:
    """What a run waited for, of its text; what only another version measures is passed over."""
    said = json.loads(text)
    return Waited(**{part.name: said[part.name] for part in fields(Waited) if part.name in said})


def blockers_of(text: str) -> tuple[Blocker, ...]:
    """The runs in the way, of their text."""
    return tuple(Blocker(**blocker) for blocker in json.loads(text))
