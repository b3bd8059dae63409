"""The crons: their states, what people ask of them, and how a run of theirs begins."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from pseudocron.backends.file.earliest import COUNTING, count
from pseudocron.backends.file.pending import claim_of, next_fence, start
from pseudocron.backends.file.stored import blockers_of
from pseudocron.backends.file.transaction import Transaction, micros
from pseudocron.backends.legible import EPOCH, IllegibleError, instant, legible, text, text_or_none, whole
from pseudocron.backends.model import CronState, Kind, Reason, Skip
from pseudocron.backends.questions import Claim, Refusal
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pseudocron.backends.model import Waited
    from pseudocron.backends.questions import Manual

_STATE = f"""
    SELECT mark, since, back, next, paused, {COUNTING.format(":name")}, claims, failures, missed, schedule,
        replaced, (SELECT nullif(seen, 0) FROM names WHERE is_job = 0 AND names.name = :name)
    FROM crons WHERE name = :name"""  # noqa: S608 - our own
_RUNNING = f"SELECT {COUNTING.format(':name')}"
KNOW = "INSERT INTO crons (name, held) VALUES (?, 0) ON CONFLICT (name) DO NOTHING"
_PAUSE = "UPDATE crons SET paused = ? WHERE name = ? AND paused <> ?"
_RESET = "UPDATE crons SET mark = ?, since = ?, back = ?, next = ?, held = 0 WHERE name = ?"
_INSERT = """
    INSERT INTO runs (run_id, kind, name, due, created, slot, at_least_once, coalesce, waited)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def state(txn: Transaction, name: str) -> CronState:
    """Return what the store knows of a cron; what can't be read is taken as not stored, so that the cron goes on."""
    row = txn.db.execute(_STATE, {"name": name}).fetchone()
    if row is None:
        return CronState(name, running=txn.db.execute(_RUNNING, {"name": name}).fetchone()[0])
    try:
        return _state(name, row)
    except IllegibleError as error:
        logger.warning("%s: ignored in part: %s", name, error)
        sound = [value if _is_sound(at, value) else _ABSENT[at] for at, value in enumerate(row)]
        return _state(name, sound)


_ABSENT = (None, None, None, None, 0, 0, 0, 0, 0, None, None, None)


def _is_sound(number: int, value: object) -> bool:
    """Return whether the value of a column of a cron can be read."""
    try:
        _state("", [value if number == other else absent for other, absent in enumerate(_ABSENT)])
    except IllegibleError:
        return False
    return True


@legible("a cron")
def _state(name: str, row: Sequence[Any]) -> CronState:
    mark, since, back, due, paused, running, claims, failures, missed, schedule, replaced, seen = row
    return CronState(
        name,
        mark=instant_or_none(mark),
        since=instant_or_none(since),
        back=instant_or_none(back),
        next=instant_or_none(due),
        paused=bool(paused),
        running=whole(running),
        claims=whole(claims),
        failures=whole(failures),
        missed=whole(missed),
        schedule=text_or_none(schedule),
        replaced=() if replaced is None else tuple(map(text, json.loads(replaced))),
        seen=instant_or_none(seen),
    )


def instant_or_none(moment: int | None) -> datetime | None:
    """Return an instant that there may not be."""
    return None if moment is None else instant(moment)


def pause(txn: Transaction, name: str, *, paused: bool) -> None:
    """See `Backend.pause`."""
    txn.db.execute(KNOW, (name,))
    if txn.db.execute(_PAUSE, (paused, name, paused)).rowcount and not paused:
        count(txn, [(0, name)])


def reset(txn: Transaction, name: str, mark: datetime) -> None:
    """See `Backend.reset`."""
    moment = micros(mark)
    txn.db.execute(KNOW, (name,))
    txn.db.execute(_RESET, (moment, moment, moment, txn.now, name))
    count(txn, [(0, name)])


def start_manual(txn: Transaction, manual: Manual) -> Claim | Refusal:
    """See `Backend.start`."""
    if txn.db.execute(_RUNNING, {"name": manual.name}).fetchone()[0] >= manual.max_instances:
        return Refusal.OVERLAP
    txn.db.execute(KNOW, (manual.name,))
    new = New(Kind.MANUAL, manual.name, txn.now)
    return begin(txn, new, worker=manual.worker, lease=manual.lease)


class New(NamedTuple):
    """A run of a cron that is stored as it starts."""

    kind: Kind
    name: str
    slot: int
    at_least_once: bool = False
    coalesce: bool = True
    waited: Waited | None = None


def begin(txn: Transaction, new: New, *, worker: str, lease: float) -> Claim:
    """Store a run, and claim it."""
    run_id, waited = uuid4().hex, None if new.waited is None else json.dumps(new.waited)
    values = (new.kind.value, new.name, new.slot, txn.now, new.slot, new.at_least_once, new.coalesce, waited)
    place = txn.db.execute(_INSERT, (run_id, *values)).lastrowid or 0
    one = (0, new.slot, place, new.name, None, run_id, new.kind.value, new.slot, None, None, 0, 0, 0, None)
    claim = claim_of(one, next_fence(txn, new.name), EPOCH + timedelta(microseconds=txn.now))
    start(txn, [claim], [place], worker=worker, lease=lease)
    return claim


@legible("a skip")
def skip_of(row: tuple[Any, ...]) -> Skip:
    """Return a skip from its columns."""
    name, slot, reason, slots, first, since, blockers, recorded, updated, worker = row
    return Skip(
        text(name),
        instant(slot),
        Reason(reason),
        whole(slots),
        instant_or_none(first),
        instant_or_none(since),
        () if blockers is None else blockers_of(blockers),
        instant(recorded),
        instant(updated),
        text(worker),
    )
