"""What keeps a process from polling, and from starting what it finds: what the slots of its runs have waited for."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pseudocron.backends.model import Waited
from pseudocron.dataclass import dataclass

KEPT = 100
"""How many holds are remembered; with a request in each second, those of more than the usual `CRON_MAX_TIME`."""

_NOTHING = timedelta(0)
_OPEN = datetime.max.replace(tzinfo=UTC)


class Hold(StrEnum):
    """What holds a process up, by the part of `Waited` that it is counted in."""

    GATE = "gate"
    CAPACITY = "capacity"
    STORE = "store"


@dataclass(slots=True)
class _Held:
    hold: Hold
    since: datetime
    until: datetime


class Delays:
    """The latest times in which a process was held up, one after another: what begins ends what was.

    Requests are not counted, as most of them must cost nothing; whatever is not held up waits for one. All instants
    are of one clock, and where that steps a part may be wrong, but none is below 0.
    """

    def __init__(self) -> None:
        self._holds: deque[_Held] = deque(maxlen=KEPT)
        self._polling: datetime | None = None

    def gate(self, now: datetime, seconds: float) -> None:
        """Note that the gate is fresh for some seconds; while there is no capacity, that is what counts."""
        if not self._holds or self._holds[-1].hold is not Hold.CAPACITY or self._holds[-1].until <= now:
            self._begin(Hold.GATE, now, now + timedelta(seconds=seconds))

    def capacity(self, now: datetime) -> None:
        """Note that there is no free capacity until a poll begins."""
        self._begin(Hold.CAPACITY, now, _OPEN)

    def store(self, now: datetime) -> None:
        """Note that the store is away until something else holds, or a poll begins."""
        self._begin(Hold.STORE, now, _OPEN)

    def poll(self, now: datetime) -> None:
        """Note that a poll begins."""
        if self._holds:
            self._holds[-1].until = min(self._holds[-1].until, now)
        self._polling = now

    def of(self, due: datetime) -> Waited:
        """Return what a slot that came due then has waited for until the current poll began."""
        until = self._polling or due
        request, parts = until - due, {Hold.GATE: _NOTHING, Hold.CAPACITY: _NOTHING, Hold.STORE: _NOTHING}
        for held in self._holds:
            part = min(held.until, until) - max(held.since, due)
            if part > _NOTHING:
                parts[held.hold] += part
                request -= part
        return Waited(
            request=max(_NOTHING, request).total_seconds(),
            gate=parts[Hold.GATE].total_seconds(),
            capacity=parts[Hold.CAPACITY].total_seconds(),
            store=parts[Hold.STORE].total_seconds(),
        )

    def _begin(self, hold: Hold, since: datetime, until: datetime) -> None:
        last = self._holds[-1] if self._holds else None
        if last and last.hold is hold and last.until >= since:
            last.until = until
            return
        if last is not None:
            last.until = min(last.until, since)
        self._holds.append(_Held(hold=hold, since=since, until=until))
