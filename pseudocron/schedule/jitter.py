"""Jitter: by how much later than its slot a run starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pseudocron.schedule import EPOCH

if TYPE_CHECKING:
    from pseudocron.schedule import Schedule

_LAST = datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def jittered(name: str, slot: datetime, *, jitter: float, schedule: Schedule) -> datetime:
    """Return when the run of a slot starts: up to `jitter` seconds later, but by less than the gap to the next slot.

    The delay follows from the cron's name and the slot alone, so that every process computes the same.
    """
    span = timedelta(seconds=max(jitter, 0))
    if not span:
        return slot
    from hashlib import sha256  # noqa: PLC0415  its library takes half a megabyte, and jitter is rare

    following = schedule.next(slot)
    if following:
        span = min(span, following - slot)
    key = f"{name}\0{(slot.astimezone(UTC) - EPOCH) // _MICROSECOND}"
    share = int.from_bytes(sha256(key.encode()).digest()[:8])
    span = min(span, _LAST - slot)  # nothing comes behind the end of time
    return slot + timedelta(microseconds=(span // _MICROSECOND) * share >> 64)
