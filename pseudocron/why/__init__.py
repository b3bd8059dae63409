"""Why did it not run? What became of each slot of a cron, from what the store knows: pure, and for people to read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from pseudocron.backends.model import Reason, State
from pseudocron.report import lateness
from pseudocron.why.words import (
    NEVER_KNOWN,
    WAITING,
    another,
    changed,
    coming,
    forgotten,
    no_slot,
    ran,
    skipped,
    unrecorded,
)
from pseudocron.worker.due import floor_of, is_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pseudocron.backends.model import CronState
    from pseudocron.cron import Cron
    from pseudocron.report import HistoryLine

MOMENT = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)


class Fate(StrEnum):
    """What became of a slot."""

    RAN = "ran"  # and has ended, with whatever outcome
    RUNNING = "running"
    RETRYING = "retrying"  # an attempt has failed, was lost or handed back, and another one follows
    LOST = "lost"
    SKIPPED = "skipped"
    WAITING = "waiting"  # it has come, and nobody has dealt with it yet
    COMING = "coming"
    UNKNOWN = "unknown"  # it is past, and the history does not tell of it
    NO_SLOT = "no_slot"  # the schedule has none at that time


_KINDS: Mapping[str | None, Fate] = {None: Fate.RUNNING, State.PENDING: Fate.RETRYING, State.LOST: Fate.LOST}


class Waiting(StrEnum):
    """Why a slot that has come is not dealt with yet."""

    GATE = "gate"  # it is fresh: who comes by does not look
    NOBODY = "nobody"  # no request, no ticker, no `tick` has come by
    FULL = "full"  # a process that polls has no free capacity
    INSTANCES = "instances"  # as many runs of the cron go on as may
    PAUSED = "paused"  # the next look skips it
    DISABLED = "disabled"  # likewise
    COALESCE = "coalesce"  # a later slot has come, which runs instead


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """How things stand at the moment in which somebody asks why.

    Args:
        now: The present, aware UTC.
        fresh_until: Until when the gate is fresh; None if it is stale.
        full: The workers that have no free capacity for a cron.
        keep: How many runs, and how many skips, the history keeps of a cron.
    """

    now: datetime
    fresh_until: datetime | None = None
    full: tuple[str, ...] = ()
    keep: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What became of a slot, or of slots of which the same is to be said.

    Args:
        slot: The slot; of several the latest, and where there is none, the instant that was asked for.
        kind: What became of it.
        sentence: The same for people.
        reason: Of a skip its `Reason`, of a slot that waits its `Waiting`.
        slots: How many slots it is said of.
        first: The first of them.
        lateness: Seconds from the slot to the start of its run.
        parts: What these are made of, in seconds: waiting for a `request`, the `gate`, free `capacity` and the `store`,
            the cron's `jitter`, and the `look`. Empty if nobody measured them.
        nearest: Where the schedule has no such slot, those before and after.
        run: The line of the history, if one tells of it.
    """

    slot: datetime
    kind: Fate
    sentence: str
    reason: Reason | Waiting | None = None
    slots: int = 1
    first: datetime | None = None
    lateness: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    nearest: tuple[datetime, ...] = ()
    run: HistoryLine | None = None


class Inquiry:
    """What is known of one cron, to be asked about its slots.

    Args:
        cron: The entry, as it is now.
        state: What the store knows of it.
        lines: Its whole history, in any order.
        scene: How things stand.
        tell: How an instant is told in a sentence.
    """

    def __init__(
        self,
        cron: Cron,
        state: CronState,
        lines: Sequence[HistoryLine],
        scene: Scene,
        *,
        tell: Callable[[datetime], str] = datetime.isoformat,
    ) -> None:
        self._cron = cron
        self._state = state
        self._floor = floor_of(cron, state, scene.now)
        self._lines = sorted(lines, key=lambda line: (line.slot, line.fence), reverse=True)
        self._scene = scene
        self._tell = tell

    def last(self, count: int) -> list[Why]:
        """Return what became of the last slots, the newest first. Neighbours with the same answer are one."""
        told = [*self._waiting(), *map(self._told, self._lines)]
        oldest = min((why.first or why.slot for why in told), default=self._scene.now + MOMENT)
        before = self._cron.schedule.latest(datetime.min.replace(tzinfo=oldest.tzinfo), oldest - MOMENT)
        return [*told, *([self._unknown(before)] if before else [])][:count]

    def at(self, instant: datetime) -> list[Why]:
        """Return what became of the slot at an instant, and of manual runs then. A whole second means all of it."""
        until = instant + (MOMENT if instant.microsecond else SECOND)
        slot = self._cron.schedule.next(instant - MOMENT)
        slot = slot if slot and slot < until else None
        told = [line for line in self._lines if instant <= line.slot < until or _covers(line, slot)]
        if told:
            return [
                replace(self._told(line), slot=slot if slot and _covers(line, slot) else line.slot) for line in told
            ]
        return [self._no_slot(instant) if slot is None else self._untold(slot)]

    def _untold(self, slot: datetime) -> Why:
        if self._cron._wake(slot) > self._scene.now:
            return self._coming(slot)
        waiting = next((why for why in self._waiting() if (why.first or why.slot) <= slot <= why.slot), None)
        return replace(waiting, slot=slot) if waiting else self._unknown(slot)

    def _told(self, line: HistoryLine) -> Why:
        if line.is_skip:
            return Why(
                slot=line.slot,
                kind=Fate.SKIPPED,
                sentence=skipped(line, self._cron, self._lines, self._tell),
                reason=Reason(line.reason or Reason.NO_TRAFFIC),
                slots=line.slots,
                first=line.first or line.slot,
                run=line,
            )
        parts = self._parts(line)
        return Why(
            slot=line.slot,
            kind=_KINDS.get(line.outcome, Fate.RAN),
            sentence=ran(line, parts, self._again(line), self._tell),
            lateness=lateness(line),
            parts=parts,
            run=line,
        )

    def _again(self, line: HistoryLine) -> str:
        """Return when the next attempt of a pending run starts."""
        if not self._cron.enabled:
            return "when the cron is enabled"
        if self._state.paused:
            return "when the cron is resumed"
        return f"at {self._tell(line.due)}" if line.due and line.due > self._scene.now else "at the next poll"

    def _parts(self, line: HistoryLine) -> dict[str, float]:
        if line.waited is None:
            return {}
        waited = line.waited._asdict()
        jitter = (self._cron._wake(line.slot) - line.slot).total_seconds()
        look = (lateness(line) or 0) - sum(waited.values()) - jitter
        return waited | {"jitter": jitter, "look": max(0.0, round(look, 6))}

    def _waiting(self) -> list[Why]:
        """Return what the slots wait for that have come and that no process has dealt with."""
        mark, now, schedule = self._floor, self._scene.now, self._cron.schedule
        latest = schedule.latest(mark, now) if mark < now else None
        ahead = []
        if latest and self._cron._wake(latest) > now:
            ahead, latest = [self._coming(latest)], schedule.latest(mark, latest - MOMENT)
        if latest is None:
            return ahead
        reason = self._what_for()
        if self._passes_over(reason) and (before := schedule.latest(mark, latest - MOMENT)):
            return [*ahead, self._wait(reason, latest, latest), self._wait(Waiting.COALESCE, mark, before)]
        return [*ahead, self._wait(reason, mark, latest)]

    def _passes_over(self, reason: Waiting) -> bool:
        return self._cron.coalesce and reason not in {Waiting.PAUSED, Waiting.DISABLED}

    def _wait(self, reason: Waiting, mark: datetime, latest: datetime) -> Why:
        """Return what the slots in `(mark, latest]`, or the latest alone, wait for."""
        schedule = self._cron.schedule
        first = schedule.next(mark) if mark < latest else latest
        sentence = WAITING[reason](self._cron, self._state, self._scene, self._tell)
        slots = schedule.count(mark, latest) if mark < latest else 1
        return Why(slot=latest, kind=Fate.WAITING, sentence=sentence, reason=reason, first=first, slots=slots)

    def _what_for(self) -> Waiting:
        if not self._cron.enabled:
            return Waiting.DISABLED
        if self._state.paused:
            return Waiting.PAUSED
        if not self._cron.coalesce and self._state.running >= self._cron.max_instances:
            return Waiting.INSTANCES
        if self._scene.fresh_until:
            return Waiting.GATE
        return Waiting.FULL if self._scene.full else Waiting.NOBODY

    def _coming(self, slot: datetime) -> Why:
        return Why(slot=slot, kind=Fate.COMING, sentence=self._told_coming(slot))

    def _told_coming(self, slot: datetime) -> str:
        sentence = coming(slot, self._cron, self._scene, self._tell)
        if is_stored(self._cron, self._state):
            return sentence
        return f"{sentence}; {another(self._state, self._tell)}"

    def _unknown(self, slot: datetime) -> Why:
        oldest = min((line.first or line.slot for line in self._lines), default=None)
        is_early = oldest is None or slot < oldest
        if not is_stored(self._cron, self._state):
            sentence = another(self._state, self._tell)
        elif self._state.replaced and self._state.since and slot <= self._state.since:
            sentence = changed(self._state.since, self._tell)
        elif self._has_forgotten():
            sentence = forgotten(self._scene.keep)
        else:
            sentence = NEVER_KNOWN if is_early else unrecorded(self._floor, self._tell)
        return Why(slot=slot, kind=Fate.UNKNOWN, sentence=sentence)

    def _has_forgotten(self) -> bool:
        """Return whether more is counted than the history holds."""
        claims, missed = sum(line.claims for line in self._lines), sum(one.slots for one in self._lines if one.is_skip)
        return self._state.claims > claims or self._state.missed > missed

    def _no_slot(self, instant: datetime) -> Why:
        schedule = self._cron.schedule
        around = (next(schedule.back(instant), None), schedule.next(instant))
        nearest = tuple(slot for slot in around if slot is not None)
        sentence = no_slot(self._cron, nearest, self._tell)
        return Why(slot=instant, kind=Fate.NO_SLOT, sentence=sentence, nearest=nearest)


def _covers(line: HistoryLine, slot: datetime | None) -> bool:
    """Return whether a slot is one of those that a line stands for."""
    return slot is not None and (line.first or line.slot) <= slot <= line.slot
