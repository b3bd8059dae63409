"""Between what scripts answer, hashes of text, and the dataclasses of the contract."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pseudocron.backends.jobs import Job, JobState
from pseudocron.backends.legible import EPOCH, MICROSECOND, legible, text
from pseudocron.backends.legible import instant as instant_of
from pseudocron.backends.records import Lingering, Outcome, Reason, Run, State
from pseudocron.backends.slot_rules import blockers_of, waited_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime


def micros(moment: datetime) -> int:
    """Whole microseconds since the Unix epoch."""
    return (moment - EPOCH) // MICROSECOND


def instant(since_epoch: str) -> datetime:
    """The aware UTC instant so many microseconds after the Unix epoch."""
    return instant_of(int(since_epoch))


def micros_of(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * 1_000_000)


@legible("a run")
def run_of(line: Mapping[str, str]) -> Run:
    """A line of the history."""
    return Run(**_read(line, RUN))


@legible("a cron")
def state_of(name: str, kept: Mapping[str, Any]) -> State:
    """What is known of a cron; what was never counted is left out of it."""
    return State(
        name=name,
        mark=instant(kept["mark"]),
        back=instant(kept["back"]) if "back" in kept else None,
        paused="paused" in kept,
        runs=int(kept.get("claims", 0)),
        failures=int(kept.get("failures", 0)),
        missed=int(kept.get("missed", 0)),
        running=int(kept["running"]),
        last=run_of(kept["last"]) if "last" in kept else None,
    )


@legible("a job")
def job_of(kept: Mapping[str, str]) -> Job:
    """A stored job."""
    return Job(**_read(kept, JOB))


@legible("a lease")
def lingering_of(kept: Mapping[str, str], *, is_job: bool) -> Lingering:
    """Return a kept lease."""
    ended = instant(kept["ended"]) if "ended" in kept else None
    return Lingering(
        name=text(kept["name"]),
        is_job=is_job,
        run_id=text(kept["run_id"]),
        worker=text(kept["worker"]),
        ended=ended,
    )


def _read(kept: Mapping[str, str], kinds: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    return {name: kind(kept[name]) for name, kind in kinds.items() if name in kept}


def _kinds(record: type, **others: Callable[[str], Any]) -> dict[str, Callable[[str], Any]]:
    """How each field of a dataclass is read; as text, unless it is one of the others."""
    return {field.name: others.get(field.name, text) for field in fields(record)}


RUN = _kinds(
    Run,
    slot=instant,
    fence=int,
    attempt=int,
    started=instant,
    ended=instant,
    outcome=Outcome,
    reason=Reason,
    slots=int,
    first=instant,
    since=instant,
    blockers=blockers_of,
    waited=waited_of,
)
BRIEF = [field for field in RUN if field not in {"error", "output"}]
"""A line of the history without its long texts."""

JOB = _kinds(
    Job,
    state=JobState,
    due=instant,
    created=instant,
    priority=int,
    expires=instant,
    attempts=int,
    lost=int,
    fence=int,
    started=instant,
    ended=instant,
    unfit_since=instant,
)
