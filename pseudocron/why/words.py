"""The sentences of `why`: each says what became of a slot, and names who, when and how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pseudocron.backends.records import Outcome, Reason
from pseudocron.report import duration, lateness, span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.records import Blocker, Run, State
    from pseudocron.cron import Cron
    from pseudocron.why import Scene

    Tell: TypeAlias = Callable[[datetime], str]
    Waits: TypeAlias = Callable[[Cron, State, Scene, Tell], str]
    Skipped: TypeAlias = Callable[[Run, Cron, Sequence[Run], Tell], str]

NOTICEABLE = 0.001
"""Seconds below which a part of a lateness is not told."""

PARTS = {
    "request": "for a request",
    "gate": "for the gate",
    "place": "for a free place",
    "store": "for the store",
    "jitter": "of its jitter",
    "look": "for the look",
}


def ran(run: Run, parts: Mapping[str, float], cron: Cron, lines: Sequence[Run], tell: Tell) -> str:
    """What became of a slot that was claimed."""
    began = f"{run.worker} began it {_late(run, parts)}"
    if run.outcome is None:
        return f"is running: {began}, at {tell(run.started)}"
    if run.outcome is Outcome.LOST:
        ended = f" at {tell(run.ended)}" if run.ended else ""
        return f"lost: {began}, and was found gone{ended}{_again(run, cron, lines)}"
    error = (run.error or "").strip().rsplit("\n", 1)[-1]
    told = f"{run.outcome.replace('_', ' ')}: {began}, and it took {span(duration(run) or 0)}"
    again = _again(run, cron, lines) if run.outcome is Outcome.INTERRUPTED else ""
    return f"{told}{again}{f': {error}' if error else ''}"


def _late(run: Run, parts: Mapping[str, float]) -> str:
    if run.slot == run.started:
        return "when it was told to"
    told = [f"{span(parts[part])} {what}" for part, what in PARTS.items() if parts.get(part, 0) >= NOTICEABLE]
    split = f" ({', '.join(told)})" if told else ""
    return f"{span(lateness(run) or 0)} late{split}"


def _again(run: Run, cron: Cron, lines: Sequence[Run]) -> str:
    """What became of the slot of a run that came to no end."""
    following = (run.slot, run.attempt + 1)
    for successor in (line for line in lines if (line.slot, line.attempt) == following):
        return f"; {successor.worker} took its slot over"
    if cron.at_least_once:
        return "; the next poll takes its slot over"
    return "; its slot is not run again without `at_least_once`"


def skipped(line: Run, cron: Cron, lines: Sequence[Run], tell: Tell) -> str:
    """Why slots were skipped."""
    why = SKIPPED[line.reason or Reason.NO_TRAFFIC](line, cron, lines, tell)
    if line.slots == 1 or line.first is None:
        return f"skipped: {why}"
    return f"skipped: {why} ({line.slots} slots, the first {tell(line.first)})"


def _overlap(line: Run, cron: Cron, lines: Sequence[Run], tell: Tell) -> str:
    blockers = " and ".join(_blocker(blocker, lines, tell) for blocker in line.blockers)
    return f"overlap with {blockers or 'another run'}, max_instances is {cron.max_instances}"


def _blocker(blocker: Blocker, lines: Sequence[Run], tell: Tell) -> str:
    since = [f", running since {tell(run.started)}" for run in lines if run.run_id == blocker.run_id]
    return f"run {blocker.run_id} on {blocker.worker}{''.join(since)}"


def _misfire(line: Run, cron: Cron, _: Sequence[Run], tell: Tell) -> str:
    grace = "" if cron.misfire_grace_time is None else f" of {span(cron.misfire_grace_time)}"
    return f"misfire, the look at {tell(line.started)} was later than its misfire_grace_time{grace}"


def _backend_down(line: Run, _: Cron, __: Sequence[Run], tell: Tell) -> str:
    since = f"from {tell(line.since)} " if line.since else ""
    return f"the store was away {since}to {tell(line.ended or line.started)}"


def _no_traffic(line: Run, _: Cron, lines: Sequence[Run], tell: Tell) -> str:
    first = line.first or line.slot
    # Who recorded it may have been a new process; of looks by others the older lines tell.
    looks = [line.since, *(moment for other in lines for moment in (other.started, other.ended))]
    known = max((look for look in looks if look is not None and look < first), default=None)
    before = f", the last sign of anybody before at {tell(known)}" if known else ""
    until = tell(line.ended or line.started)
    return f"nobody came by from {tell(first)} to {until}: no request, no ticker, no tick{before}"


SKIPPED: Mapping[Reason, Skipped] = {
    Reason.OVERLAP: _overlap,
    Reason.MISFIRE: _misfire,
    Reason.PAUSED: lambda line, _, __, tell: f"the cron was paused, as a look at {tell(line.started)} found",
    Reason.DISABLED: lambda line, _, __, tell: f"the cron was disabled, as a look at {tell(line.started)} found",
    Reason.BACKEND_DOWN: _backend_down,
    Reason.CLOCK_BACK: lambda line, _, __, tell: (
        f"the clock was back at {tell(line.started)}, and comes a second time to what is dealt with"
    ),
    Reason.NO_TRAFFIC: _no_traffic,
}


def _gate(_: Cron, __: State, scene: Scene, tell: Tell) -> str:
    until = tell(scene.fresh_until) if scene.fresh_until else "soon"
    return f"not looked at yet: the gate is fresh until {until}, and who comes by before does not look"


def _full(_: Cron, __: State, scene: Scene, ___: Tell) -> str:
    return f"not looked at yet: there is no free place in {', '.join(scene.full)}, and nobody else has come by"


def _instances(cron: Cron, state: State, _: Scene, __: Tell) -> str:
    return f"waits for a run to end: {state.running} of {cron.name} go on, max_instances is {cron.max_instances}"


WAITING: Mapping[str, Waits] = {
    "gate": _gate,
    "nobody": lambda *_: "not looked at yet: since it has come, nobody has come by: no request, no ticker, no tick",
    "full": _full,
    "instances": _instances,
    "paused": lambda *_: "the next look skips it: the cron is paused",
    "disabled": lambda *_: "the next look skips it: the cron is disabled",
    "coalesce": lambda *_: "the next look skips it: a later slot has come, which runs instead (coalesce)",
}


def coming(slot: datetime, cron: Cron, scene: Scene, tell: Tell) -> str:
    """When a slot runs that does not yet."""
    if slot <= scene.now:
        return f"waits for its jitter: it runs at {tell(cron._wake(slot))}"
    return "has not come yet" if cron.enabled else "has not come yet, and will be skipped: the cron is disabled"


NEVER_KNOWN = "never known: it was past when the store first heard of the cron, or its mark was set past it"


def forgotten(keep: int) -> str:
    """Why a slot is not known any more."""
    return f"not known any more: of each cron the last {keep} runs and the last {keep} skips are kept"


def unrecorded(mark: datetime, tell: Tell) -> str:
    """Why a slot is not told of between others that are."""
    return f"nothing is recorded: the schedule was another then, or the mark, now {tell(mark)}, was set past it"


def no_slot(cron: Cron, nearest: Sequence[datetime], tell: Tell) -> str:
    """That the schedule has no slot then, and which are the nearest."""
    around = " and ".join(map(tell, nearest))
    return f"no slot of {cron.name}: {cron.schedule.words}{f'; the nearest are {around}' if around else ''}"
