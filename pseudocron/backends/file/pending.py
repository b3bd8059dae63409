"""Pending runs: which of them a process may claim, and in which order."""

from __future__ import annotations

from datetime import timedelta
from heapq import merge
from math import inf
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pseudocron.backends.file.stored import by_place, drop
from pseudocron.backends.file.transaction import SECOND
from pseudocron.backends.legible import EPOCH, legible, text, text_or_none, whole
from pseudocron.backends.model import Kind, Run, State
from pseudocron.backends.questions import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from pseudocron.backends.file.transaction import Transaction
    from pseudocron.backends.questions import Take

EXPIRED_AT_MOST = 1000
"""How many runs end as expired in one verb."""

READY_AT_MOST = 1000
"""How many jobs of a task become ready in one verb."""

_PENDING = """
    SELECT 1, name, EXISTS (
        SELECT 1 FROM pending WHERE is_job = 1 AND pending.name = names.name AND ready = 0 AND rank = 0 AND due <= :now
    ), EXISTS (
        SELECT 1 FROM pending INDEXED BY pending_expires
        WHERE is_job = 1 AND pending.name = names.name AND expires < :now AND due <= :now
    ) FROM names WHERE is_job = 1 AND EXISTS (SELECT 1 FROM pending WHERE is_job = 1 AND pending.name = names.name)
    UNION ALL
    SELECT 0, name, 0, 0 FROM names LEFT JOIN crons USING (name)
    WHERE is_job = 0 AND EXISTS (SELECT 1 FROM pending WHERE is_job = 0 AND pending.name = names.name)
        AND NOT ifnull(paused, 0)"""
"""The tasks (1) and crons (0) with pending runs, whether some of them become ready, and whether some have expired."""
_SCHEDULED = "is_job = 1 AND name = :name AND ready = 0 AND rank = 0"
# All of the primary key, in so many words: else SQLite looks at every job that waits.
_MAKE_READY = f"""
    UPDATE pending SET ready = 1, rank = -priority WHERE {_SCHEDULED} AND (due, id) IN (
        SELECT due, id FROM pending WHERE {_SCHEDULED} AND due <= :now ORDER BY due, id LIMIT {READY_AT_MOST}
    )"""  # noqa: S608 - our own
FREE = """pending.id NOT IN (SELECT id FROM living WHERE over) AND (
        pending.key IS NULL OR NOT EXISTS (
            SELECT 1 FROM living WHERE living.name = pending.name AND living.key = pending.key
        )
    )"""
"""Neither the lease of an earlier attempt nor a living job with the same key holds it back."""
_JOBS = "pending.is_job = 1 AND pending.name = :name AND ready = 1"
_RETRIES = "pending.is_job = 0 AND pending.name = :name AND ready = 0 AND rank = 0"
_COLUMNS = """
    rank, pending.due, pending.id, pending.name, pending.expires, run_id, kind, slot, arguments, runs.key, fence,
    attempts, failures, unfit_since"""
_IN_TURN = """
    SELECT {columns} FROM pending LEFT JOIN runs ON runs.id = pending.id
    WHERE {of} AND pending.due <= :now AND (rank, pending.due, pending.id) > (:rank, :due, :id) AND {free}
    ORDER BY rank, pending.due, pending.id LIMIT :limit"""
_IN_TURN_OF = {
    is_job: _IN_TURN.format(columns=_COLUMNS, of=of, free=FREE) for is_job, of in ((1, _JOBS), (0, _RETRIES))
}
_EXPIRED = f"""
    SELECT id FROM pending INDEXED BY pending_expires
    WHERE is_job = ? AND name = ? AND expires < ? AND due <= ? AND {FREE} LIMIT ?"""  # noqa: S608
_LEAVE = "DELETE FROM pending WHERE is_job = ? AND name = ? AND ready = ? AND rank = ? AND due = ? AND id = ?"
_START = """
    INSERT INTO living (run_id, id, is_job, name, key, fence, worker, started, lease, process)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_LIVING_OF = "SELECT name, count(*) FROM living WHERE is_job = ? GROUP BY name"
COUNT_CLAIM = "UPDATE crons SET claims = claims + 1 WHERE name = ?"
CLAIMS = "SELECT claims FROM crons WHERE name = ?"

_BEFORE_ALL = -(2**63)


Candidate: TypeAlias = (
    "tuple[int, int, int, str, int | None, str, str, int | None, str | None, str | None, int, int, int, int | None]"
)
"""A pending run that is due: `_COLUMNS`; they compare in the order in which they start."""


class Capacity:
    """How many runs may still be claimed in this verb."""

    def __init__(self, take: Take) -> None:
        self.total, slots, jobs = take.capacity
        self._of = [slots, jobs]

    def left(self, is_job: int) -> int:
        """Return for how many runs of jobs, or of crons, there is capacity."""
        return max(0, min(self.total, self._of[is_job]))

    def use(self, is_job: int, runs: int = 1) -> None:
        """Take so many off."""
        self.total -= runs
        self._of[is_job] -= runs


class Taken(NamedTuple):
    """What `claim` has done."""

    claims: list[Claim]
    dropped: list[Run]
    left: bool


def claim(txn: Transaction, take: Take, capacity: Capacity | None = None) -> Taken:
    """Claim pending runs; see `Backend.poll`. The capacity is all of `take` if none is given."""
    pending = txn.db.execute(_PENDING, {"now": txn.now}).fetchall()
    return _claim(txn, take, capacity or Capacity(take), pending) if pending else Taken([], [], left=False)


@legible("a run")
def _claim(txn: Transaction, take: Take, capacity: Capacity, pending: Iterable[tuple[int, str, int, int]]) -> Taken:
    retries: dict[str, tuple[int, int]] = {}
    jobs: dict[str, tuple[int, int]] = {}
    for is_job, name, ready, expired in pending:
        limits: Mapping[str, int | None] = take.tasks if is_job else take.crons
        if name in limits and not (take.resting and (Kind.JOB if is_job else Kind.SLOT, name) in take.resting):
            (jobs if is_job else retries)[name] = ready, expired
    if not retries:
        return _Claiming(txn, take, capacity, 1).claim(jobs)
    first, then = _Claiming(txn, take, capacity, 0).claim(retries), _Claiming(txn, take, capacity, 1).claim(jobs)
    return Taken(first.claims + then.claims, first.dropped + then.dropped, first.left or then.left)


class _Claiming:
    """The claims of jobs, or of retries of crons, in one verb."""

    def __init__(self, txn: Transaction, take: Take, capacity: Capacity, is_job: int) -> None:
        self._txn = txn
        self._take = take
        self._capacity = capacity
        self._is_job = is_job
        self._most = capacity.left(is_job)
        self._room: dict[str, float] = {}
        self._claimed: list[Candidate] = []
        self._expired: list[int] = []

    def claim(self, names: Mapping[str, tuple[int, int]]) -> Taken:
        """Claim what is due of these names, in order; see `_PENDING`."""
        room = self._room = self._rooms(names)
        if not room:
            return Taken([], [], left=False)
        has_expired = []
        for name in room:
            becomes_ready, expired = names[name]
            if becomes_ready:
                self._txn.db.execute(_MAKE_READY, {"name": name, "now": self._txn.now})
            if expired:
                has_expired.append(name)
        left = self._walk()
        dropped = self._drop(self._expired) if self._expired else []
        claims = self._start() if self._claimed else []
        if has_expired:
            dropped += self._expire([name for name in has_expired if room[name] > 0], len(dropped))
        return Taken(claims, dropped, left)

    def _rooms(self, names: Iterable[str]) -> dict[str, float]:
        """Return how many more runs there may be of each of these names; without those of which there may be none."""
        limits: Mapping[str, int | None] = self._take.tasks if self._is_job else self._take.crons
        room, living = dict.fromkeys(names, inf), None
        for name in tuple(room):
            most = limits[name]
            if most is not None:
                if living is None:
                    living = dict(self._txn.db.execute(_LIVING_OF, (self._is_job,)).fetchall())
                room[name] = most - living.get(name, 0)
                if room[name] <= 0:
                    del room[name]
        return room

    def _walk(self) -> bool:
        """Choose what to claim; return whether something is left for want of capacity."""
        turns = tuple(map(self._in_turn, self._room))
        for one in turns[0] if len(turns) == 1 else merge(*turns):
            if one[4] is not None and one[4] < self._txn.now:
                if len(self._expired) == EXPIRED_AT_MOST:
                    return False
                self._expired.append(one[2])
            elif len(self._claimed) == self._most:
                return True
            else:
                self._claimed.append(one)
                self._room[one[3]] -= 1
        return False

    def _in_turn(self, name: str) -> Iterator[Candidate]:
        """Yield the runs of a name that are due and free, in order, while there is room for them."""
        turn = {"name": name, "now": self._txn.now, "rank": _BEFORE_ALL, "due": 0, "id": 0}
        turn["limit"] = limit = self._most + 1
        while self._room[name] > 0:
            rows = self._txn.db.execute(_IN_TURN_OF[self._is_job], turn).fetchall()
            for row in rows:
                if self._room[name] <= 0:
                    return
                yield row
            if len(rows) < limit:
                return
            turn["rank"], turn["due"], turn["id"] = rows[-1][:3]

    def _drop(self, expired: Iterable[int]) -> list[Run]:
        return [drop(self._txn, by_place(self._txn, place), State.EXPIRED) for place in expired]

    def _start(self) -> list[Claim]:
        txn, take, is_job = self._txn, self._take, self._is_job
        now = EPOCH + timedelta(microseconds=txn.now)
        claims, leave, places = [], [], []
        for one in self._claimed:
            rank, due, place, name, *_, fence, _, _, _ = one
            claims.append(claim_of(one, fence + 1 if is_job else next_fence(txn, name), now))
            leave.append((is_job, name, is_job, rank, due, place))
            places.append(place)
        txn.db.executemany(_LEAVE, leave)
        start(txn, claims, places, worker=take.worker, lease=take.lease)
        self._capacity.use(is_job, len(claims))
        return claims

    def _expire(self, names: Iterable[str], so_far: int) -> list[Run]:
        """Record further runs as expired, also those for which there would be no capacity."""
        txn = self._txn
        dropped: list[Run] = []
        for name in names:
            limit = EXPIRED_AT_MOST - so_far - len(dropped)
            expired = txn.db.execute(_EXPIRED, (self._is_job, name, txn.now, txn.now, limit)).fetchall()
            dropped += self._drop([place for (place,) in expired])
        return dropped


def start(txn: Transaction, claims: Iterable[Claim], places: Iterable[int], *, worker: str, lease: float) -> None:
    """Store the leases of claims of runs at these places, which begin now."""
    until, process, now = txn.now + round(lease * SECOND), txn.terms.process, txn.now
    rows = []
    for (run_id, kind, name, _, fence, _, _, _, _, _, key, _), place in zip(claims, places, strict=True):
        rows.append((run_id, place, kind is Kind.JOB, name, key, fence, worker, now, until, process))
    txn.db.executemany(_START, rows)
    if txn.due is None or until < txn.due:
        txn.due = until


def next_fence(txn: Transaction, cron: str) -> int:
    """Count one more claim of a cron; return its fence."""
    txn.db.execute(COUNT_CLAIM, (cron,))
    return int(txn.db.execute(CLAIMS, (cron,)).fetchone()[0])


def claim_of(one: Candidate, fence: int, started: datetime) -> Claim:
    """Return the claim of a run that is started now."""
    _, due, _, name, _, run_id, kind, slot, arguments, key, _, attempts, failures, unfit_since = one
    if not (type(run_id) is type(name) is str and type(fence) is type(attempts) is type(failures) is int):
        run_id, fence, attempts, failures = text(run_id), whole(fence), whole(attempts), whole(failures)
    if not (arguments is None or type(arguments) is str) or key is not None:
        arguments, key = text_or_none(arguments), text_or_none(key)
    return Claim(
        run_id,
        KINDS[kind],
        name,
        EPOCH + timedelta(microseconds=due),
        fence,
        attempts + 1,
        failures,
        started,
        None if slot is None else EPOCH + timedelta(microseconds=slot),
        arguments,
        key,
        None if unfit_since is None else EPOCH + timedelta(microseconds=unfit_since),
    )


KINDS = {kind.value: kind for kind in Kind}
