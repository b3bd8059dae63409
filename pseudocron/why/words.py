"""The sentences of `why`: each says what became of a slot, and names who, when and how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pseudocron.backends.model import Reason, State
from pseudocron.report import duration, lateness, span
from pseudocron.schedule.definitions import words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.model import Attempt, Blocker, CronState
    from pseudocron.cron import Cron
    from pseudocron.report import HistoryLine
    from pseudocron.why import Scene

    Tell: TypeAlias = Callable[[datetime], str]
    Waits: TypeAlias = Callable[[Cron, CronState, Scene, Tell], str]
    Skipped: TypeAlias = Callable[[HistoryLine, Cron, Sequence[HistoryLine], Tell], str]

NOTICEABLE = 0.001
"""Seconds below which a part of a lateness is not told."""

PARTS = {
    "request": "for a request",
    "gate": "for the gate",
    "capacity": "for free capacity",
    "store": "for the store",
    "jitter": "of its jitter",
    "look": "for the look",
}


SHOWN = 3
"""How many earlier attempts of a run are told; of more, the first and the last."""

NOT_AGAIN = "; its slot is not run again without `at_least_once`"


def ran(line: HistoryLine, parts: Mapping[str, float], again: str, tell: Tell) -> str:
    """Tell what became of a slot that was claimed.

    Args:
        line: Its run.
        parts: What its lateness is made of.
        again: When the next attempt of a pending run starts.
        tell: How an instant is told.
    """
    told = [_earlier(attempt, line, parts, tell) for attempt in line.earlier]
    if len(told) > SHOWN:
        told = [told[0], f"{len(told) - 2} more attempts", told[-1]]
    if (last := line.last_of_earlier) is None:
        told.append(_latest(line, parts, tell))
    if last is not None and line.is_pending:
        what = "handed back" if last.outcome is State.INTERRUPTED else last.outcome.replace("_", " ")
        return f"{what}, and runs again {again}: {'; '.join(told)}"
    what = "is running" if line.outcome is None else line.outcome.replace("_", " ")
    return f"{what}: {'; '.join(told)}{_ended(line)}"


def _earlier(attempt: Attempt, line: HistoryLine, parts: Mapping[str, float], tell: Tell) -> str:
    began = _began(attempt.worker, attempt.started, line, parts, tell)
    if attempt.outcome is State.LOST:
        return f"{began}, and was found gone at {tell(attempt.ended)}"
    if attempt.outcome is State.INTERRUPTED:
        return f"{began}, and handed it back at {tell(attempt.ended)}"
    took = span((attempt.ended - attempt.started).total_seconds())
    return f"{began}, and it {attempt.outcome.replace('_', ' ')} after {took}{_colon(attempt.error)}"


def _latest(line: HistoryLine, parts: Mapping[str, float], tell: Tell) -> str:
    began = _began(line.worker, line.started, line, parts, tell)
    if line.outcome is None:
        return began if line.earlier else f"{began}, at {tell(line.started)}"
    if line.outcome == State.LOST:
        return f"{began}, and was found gone{f' at {tell(line.ended)}' if line.ended else ''}"
    return f"{began}, and it took {span(duration(line) or 0)}"


def _began(worker: str, started: datetime, line: HistoryLine, parts: Mapping[str, float], tell: Tell) -> str:
    return f"{worker} began it {_late(line, parts) if started == line.began else f'again at {tell(started)}'}"


def _late(line: HistoryLine, parts: Mapping[str, float]) -> str:
    if line.slot == line.began:
        return "when it was told to"
    told = [f"{span(parts[part])} {what}" for part, what in PARTS.items() if parts.get(part, 0) >= NOTICEABLE]
    split = f" ({', '.join(told)})" if told else ""
    return f"{span(lateness(line) or 0)} late{split}"


def _ended(line: HistoryLine) -> str:
    """Tell why a run has ended, and that no other attempt follows where one could be expected."""
    if line.outcome is None or line.outcome == State.SUCCEEDED:
        return ""
    why = _colon(line.reason or (line.error or "").strip().rsplit("\n", 1)[-1])
    return f"{NOT_AGAIN if line.outcome in {State.LOST, State.INTERRUPTED} else ''}{why}"


def _colon(why: str | None) -> str:
    return f": {why}" if why else ""


def skipped(line: HistoryLine, cron: Cron, lines: Sequence[HistoryLine], tell: Tell) -> str:
    """Tell why slots were skipped."""
    why = SKIPPED[Reason(line.reason or Reason.NO_TRAFFIC)](line, cron, lines, tell)
    if line.slots == 1 or line.first is None:
        return f"skipped: {why}"
    return f"skipped: {why} ({line.slots} slots, the first {tell(line.first)})"


def _overlap(line: HistoryLine, cron: Cron, lines: Sequence[HistoryLine], tell: Tell) -> str:
    blockers = " and ".join(_blocker(blocker, lines, tell) for blocker in line.blockers)
    return f"overlap with {blockers or 'another run'}, max_instances is {cron.max_instances}"


def _blocker(blocker: Blocker, lines: Sequence[HistoryLine], tell: Tell) -> str:
    since = [f", running since {tell(run.started)}" for run in lines if run.run_id == blocker.run_id]
    return f"run {blocker.run_id} on {blocker.worker}{''.join(since)}"


def _misfire(line: HistoryLine, cron: Cron, _: Sequence[HistoryLine], tell: Tell) -> str:
    grace = "" if cron.misfire_grace_time is None else f" of {span(cron.misfire_grace_time)}"
    return f"misfire, the look at {tell(line.started)} was later than its misfire_grace_time{grace}"


def _backend_down(line: HistoryLine, _: Cron, __: Sequence[HistoryLine], tell: Tell) -> str:
    since = f"from {tell(line.since)} " if line.since else ""
    return f"the store was away {since}to {tell(line.ended or line.started)}"


def _no_traffic(line: HistoryLine, _: Cron, lines: Sequence[HistoryLine], tell: Tell) -> str:
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
    Reason.CHANGED: lambda line, _, __, tell: (
        f"the schedule was changed at {tell(line.started)}, and it had not run by then"
    ),
}


def _gate(_: Cron, __: CronState, scene: Scene, tell: Tell) -> str:
    until = tell(scene.fresh_until) if scene.fresh_until else "soon"
    return f"not looked at yet: the gate is fresh until {until}, and who comes by before does not look"


def _full(_: Cron, __: CronState, scene: Scene, ___: Tell) -> str:
    return f"not looked at yet: there is no free capacity in {', '.join(scene.full)}, and nobody else has come by"


def _instances(cron: Cron, state: CronState, _: Scene, __: Tell) -> str:
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
    """Explain when a slot runs that does not run yet."""
    if slot <= scene.now:
        return f"waits for its jitter: it runs at {tell(cron._wake(slot))}"
    return "has not come yet" if cron.enabled else "has not come yet, and will be skipped: the cron is disabled"


NEVER_KNOWN = "never known: it was past when the store first heard of the cron, or its mark was set past it"


def forgotten(keep: int) -> str:
    """Explain why a slot is not known any more."""
    return f"not known any more: of each cron the last {keep} runs and the last {keep} skips are kept"


def changed(since: datetime, tell: Tell) -> str:
    """Explain that a slot lies before the instant from which the schedule counts."""
    return f"the schedule was changed at {tell(since)}, or its mark was set then: slots up to that do not count"


def another(state: CronState, tell: Tell) -> str:
    """Explain that another schedule counts than that of this configuration."""
    since = f" since {tell(state.since)}" if state.since else ""
    words = words_of(state.schedule or "")
    return f"another schedule counts{since}: {words}; this one takes over when a process polls with it, if it is newer"


def unrecorded(mark: datetime, tell: Tell) -> str:
    """Explain why a slot is not recorded between others that are."""
    return f"nothing is recorded: the cron was away then, or the mark, now {tell(mark)}, was set past it"


def no_slot(cron: Cron, nearest: Sequence[datetime], tell: Tell) -> str:
    """Explain that the schedule has no slot then, and which are the nearest."""
    around = " and ".join(map(tell, nearest))
    return f"no slot of {cron.name}: {cron.schedule.words}{f'; the nearest are {around}' if around else ''}"
