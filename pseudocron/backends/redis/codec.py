"""Between the answers of the scripts, which are texts, and the data of the contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pseudocron.backends.legible import EPOCH, ILLEGIBLE, MICROSECOND, legible, text
from pseudocron.backends.legible import instant as instant_of
from pseudocron.backends.model import LATEST, Attempt, Blocker, CronState, Kind, Reason, Run, Skip, State, Waited
from pseudocron.backends.questions import Claim, Refusal, Refused
from pseudocron.errors import BackendError, cause
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

SECOND = 1_000_000
"""Microseconds."""


def micros(moment: datetime) -> int:
    """Return the whole microseconds since the Unix epoch."""
    return (moment - EPOCH) // MICROSECOND


def exact(moment: datetime, what: str) -> int:
    """Return the whole microseconds since the Unix epoch, which Lua keeps exactly.

    Args:
        moment: The instant.
        what: What it is, for the message.

    Raises:
        BackendError: It is too late for that.
    """
    if moment >= LATEST:
        raise BackendError(
            f"{what} {moment:%Y-%m-%d} is after {LATEST.year - 1}, which is not kept exactly: must be earlier"
        )
    return micros(moment)


def micros_at_most(moment: datetime) -> int:
    """Return the same of an instant after which nothing happens if it is too late."""
    return micros(min(moment, LATEST))


def micros_of(seconds: float) -> int:
    """Return whole microseconds."""
    return round(seconds * SECOND)


def seconds_of(duration: str) -> float:
    """Return the seconds of so many microseconds."""
    return int(duration) / SECOND


def instant(since_epoch: str) -> datetime:
    """Return the aware UTC instant so many microseconds after the Unix epoch."""
    return instant_of(int(since_epoch))


def given(**fields: object) -> dict[str, object]:
    """Return the arguments that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def waited_text(waited: Waited) -> str:
    """Return where the lateness of a run comes from, as text."""
    return json.dumps(waited._asdict())


def _waited(stored: str) -> Waited:
    read = json.loads(stored)
    return Waited(**{field: float(read[field]) for field in Waited._fields if field in read})


def _attempts(stored: str) -> tuple[Attempt, ...]:
    return tuple(map(_attempt, json.loads(stored)))


def _attempt(stored: list[str]) -> Attempt:
    worker, started, ended, outcome, *error = stored
    return Attempt(text(worker), instant(started), instant(ended), State(outcome), text(error[0]) if error else None)


def _texts(stored: str) -> tuple[str, ...]:
    return tuple(map(text, json.loads(stored)))


def _flag(stored: str) -> bool:
    return stored == "1"


def _blockers(stored: Iterable[tuple[str, str]]) -> tuple[Blocker, ...]:
    return tuple(Blocker(text(run_id), text(worker)) for run_id, worker in stored)


def _read(stored: Mapping[str, Any], kinds: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    return {field: kind(stored[field]) for field, kind in kinds.items() if field in stored}


def _kinds(fields: Iterable[str], **others: Callable[[Any], Any]) -> dict[str, Callable[[Any], Any]]:
    """Return how each field of a record is read: as text, unless it is one of the others."""
    return {field: others.get(field, text) for field in fields}


RUN = _kinds(
    Run._fields,
    kind=Kind,
    state=State,
    due=instant,
    created=instant,
    slot=instant,
    priority=int,
    expires=instant,
    at_least_once=_flag,
    attempts=int,
    failures=int,
    lost=int,
    fence=int,
    started=instant,
    ended=instant,
    waited=_waited,
    unfit_since=instant,
    is_kept=_flag,
    earlier=_attempts,
)
CLAIM = _kinds(
    Claim._fields,
    kind=Kind,
    due=instant,
    fence=int,
    attempt=int,
    failures=int,
    started=instant,
    slot=instant,
    unfit_since=instant,
)
CRON = _kinds(
    CronState._fields,
    mark=instant,
    since=instant,
    back=instant,
    next=instant,
    paused=_flag,
    running=int,
    claims=int,
    failures=int,
    missed=int,
    replaced=_texts,
    seen=instant,
)
SKIP = _kinds(
    Skip._fields,
    slot=instant,
    reason=Reason,
    slots=int,
    first=instant,
    since=instant,
    blockers=_blockers,
    recorded=instant,
    updated=instant,
)


@legible("a run")
def run_of(stored: Mapping[str, str]) -> Run:
    """Return a stored run."""
    run = Run(**_read(stored, RUN))
    return run._replace(at_least_once=True) if run.kind is Kind.JOB else run


@legible("a run")
def claim_of(stored: Mapping[str, str]) -> Claim:
    """Return a claim that was granted."""
    return Claim(**_read(stored, CLAIM))


def state_of(name: str, stored: Mapping[str, Any]) -> CronState:
    """Return what is stored of a cron; what can't be read is taken as not stored, so that the cron goes on."""
    state = CronState(name)
    for field, kind in CRON.items():
        if field in stored and field != "name":
            try:
                state = state._replace(**{field: kind(stored[field])})
            except ILLEGIBLE as error:
                logger.warning("%s: %s can't be read in the store and is ignored (%s)", name, field, cause(error))
    return state


@legible("a skip")
def skip_of(name: str, stored: Mapping[str, Any]) -> Skip:
    """Return a stored skip."""
    return Skip(**{**_read(stored, SKIP), "name": name})


def refused_of(answer: Mapping[str, Any]) -> Refused:
    """Return a slot that was not claimed."""
    blockers = _blockers(answer.get("blockers", ()))
    return Refused(answer["name"], instant(answer["slot"]), Refusal(answer["why"]), blockers)
