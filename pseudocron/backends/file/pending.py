"""Pending runs: which of them a process may claim, in which order, and when the first one is due."""

from __future__ import annotations

from heapq import merge
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from pseudocron.backends.file.stored import by_place, drop
from pseudocron.backends.file.transaction import after
from pseudocron.backends.legible import EPOCH, MICROSECOND, instant, legible, text, text_or_none, whole
from pseudocron.backends.model import Kind, Run, State
from pseudocron.backends.questions import Claim

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.file.transaction import Transaction
    from pseudocron.backends.questions import Take

EXPIRED_AT_MOST = 1000
"""How many runs end as expired in one verb."""

READY_AT_MOST = 1000
"""How many jobs of a task become ready in one verb."""

# From one name to the next, past all of its runs.
WAITING = """
    WITH RECURSIVE waiting (name) AS (
        SELECT min(name) FROM pending WHERE is_job = :is_job
        UNION ALL
        SELECT (SELECT min(pending.name) FROM pending WHERE is_job = :is_job AND pending.name > waiting.name)
        FROM waiting WHERE name IS NOT NULL
    )
    SELECT name FROM waiting WHERE name IS NOT NULL"""
_PENDING_JOBS = """
    SELECT name, EXISTS (
        SELECT 1 FROM pending WHERE is_job = 1 AND pending.name = names.name AND ready = 0 AND rank = 0 AND due <= :now
    ), EXISTS (
        SELECT 1 FROM pending INDEXED BY pending_expires
        WHERE is_job = 1 AND pending.name = names.name AND expires < :now AND due <= :now
    ) FROM names WHERE is_job = 1 AND EXISTS (SELECT 1 FROM pending WHERE is_job = 1 AND pending.name = names.name)"""
"""The tasks with pending jobs, whether some of them become ready, and whether some of them have expired."""
_PENDING_RETRIES = """
    SELECT name, 0, 0 FROM names LEFT JOIN crons USING (name)
    WHERE is_job = 0 AND EXISTS (SELECT 1 FROM pending WHERE is_job = 0 AND pending.name = names.name)
        AND NOT ifnull(paused, 0)"""
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
JOBS = "pending.is_job = 1 AND pending.name = :name AND ready = 1"
RETRIES = "pending.is_job = 0 AND pending.name = :name AND ready = 0 AND rank = 0"
_COLUMNS = """
    rank, pending.due, pending.id, pending.name, pending.expires, run_id, kind, slot, arguments, runs.key, fence,
    attempts, failures, unfit_since"""
_IN_TURN = """
    SELECT {columns} FROM pending CROSS JOIN runs ON runs.id = pending.id
    WHERE {of} AND pending.due <= :now AND (rank, pending.due, pending.id) > (:rank, :due, :id) AND {free}
    ORDER BY rank, pending.due, pending.id LIMIT :limit"""
_IN_TURN_OF = {is_job: _IN_TURN.format(columns=_COLUMNS, of=of, free=FREE) for is_job, of in ((1, JOBS), (0, RETRIES))}
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


class Candidate(NamedTuple):
    """A pending run that is due; they compare in the order in which they start."""

    rank: int
    due: int
    place: int
    name: str
    expires: int | None
    run_id: str
    kind: str
    slot: int | None
    arguments: str | None
    key: str | None
    fence: int
    attempts: int
    failures: int
    unfit_since: int | None


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


@legible("a run")
def claim(txn: Transaction, take: Take, capacity: Capacity) -> Taken:
    """Claim pending runs; see `Backend.poll`."""
    retries, jobs = (_Claiming(txn, take, capacity, is_job).claim() for is_job in (0, 1))
    return Taken(retries.claims + jobs.claims, retries.dropped + jobs.dropped, retries.left or jobs.left)


class _Claiming:
    """The claims of jobs, or of retries of crons, in one verb."""

    def __init__(self, txn: Transaction, take: Take, capacity: Capacity, is_job: int) -> None:
        self._txn = txn
        self._take = take
        self._capacity = capacity
        self._is_job = is_job
        self._room: dict[str, float] = {}
        self._claimed: list[Candidate] = []
        self._expired: list[int] = []

    def claim(self) -> Taken:
        """Claim what is due, in order."""
        names = self._names()
        self._room = self._rooms(names)
        if not self._room:
            return Taken([], [], left=False)
        for name in self._room:
            if names[name][0]:
                self._txn.db.execute(_MAKE_READY, {"name": name, "now": self._txn.now})
        left = self._walk()
        dropped = [drop(self._txn, by_place(self._txn, place), State.EXPIRED) for place in self._expired]
        claims = self._start()
        has_expired = [name for name, (_, expired) in names.items() if expired and self._room.get(name, 0) > 0]
        return Taken(claims, dropped + self._expire(has_expired, len(dropped)), left)

    def _names(self) -> dict[str, tuple[int, int]]:
        """Return the names that the process may claim and of which runs are pending; see `_PENDING_JOBS`."""
        statement = _PENDING_JOBS if self._is_job else _PENDING_RETRIES
        limits = self._take.tasks if self._is_job else self._take.crons
        rows = self._txn.db.execute(statement, {"now": self._txn.now}).fetchall()
        resting = {name for kind, name in self._take.resting if (kind is Kind.JOB) == bool(self._is_job)}
        return {name: (ready, expired) for name, ready, expired in rows if name in limits and name not in resting}

    def _rooms(self, names: Collection[str]) -> dict[str, float]:
        """Return how many more runs there may be of each of these names; without those of which there may be none."""
        limits: Mapping[str, int | None] = self._take.tasks if self._is_job else self._take.crons
        if all(limits[name] is None for name in names):
            return dict.fromkeys(names, inf)
        living = dict(self._txn.db.execute(_LIVING_OF, (self._is_job,)).fetchall())
        room = {name: inf if (most := limits[name]) is None else most - living.get(name, 0) for name in names}
        return {name: left for name, left in room.items() if left > 0}

    def _walk(self) -> bool:
        """Choose what to claim; return whether something is left for want of capacity."""
        most = self._capacity.left(self._is_job)
        for one in merge(*map(self._in_turn, self._room)):
            if one.expires is not None and one.expires < self._txn.now:
                if len(self._expired) == EXPIRED_AT_MOST:
                    return False
                self._expired.append(one.place)
            elif len(self._claimed) == most:
                return True
            else:
                self._claimed.append(one)
                self._room[one.name] -= 1
        return False

    def _in_turn(self, name: str) -> Iterator[Candidate]:
        """Yield the runs of a name that are due and free, in order, while there is room for them."""
        turn = {"name": name, "now": self._txn.now, "rank": _BEFORE_ALL, "due": 0, "id": 0}
        turn["limit"] = limit = self._capacity.left(self._is_job) + 1
        rows: Sequence[Candidate] = ()
        while self._room[name] > 0:
            rows = [Candidate(*row) for row in self._txn.db.execute(_IN_TURN_OF[self._is_job], turn)]
            for row in rows:
                if self._room[name] <= 0:
                    return
                yield row
            if len(rows) < limit:
                return
            turn |= {"rank": rows[-1].rank, "due": rows[-1].due, "id": rows[-1].place}

    def _start(self) -> list[Claim]:
        txn, take, is_job = self._txn, self._take, self._is_job
        fences = [one.fence + 1 if is_job else next_fence(txn, one.name) for one in self._claimed]
        txn.db.executemany(_LEAVE, [(is_job, c.name, is_job, c.rank, c.due, c.place) for c in self._claimed])
        start(txn, take.worker, take.lease, is_job, zip(self._claimed, fences, strict=True))
        self._capacity.use(is_job, len(self._claimed))
        now = instant(txn.now)
        return [claim_of(one, fence, now) for one, fence in zip(self._claimed, fences, strict=True)]

    def _expire(self, names: Iterable[str], so_far: int) -> list[Run]:
        """Record further runs as expired, also those for which there would be no capacity."""
        txn = self._txn
        dropped: list[Run] = []
        for name in names:
            limit = EXPIRED_AT_MOST - so_far - len(dropped)
            expired = txn.db.execute(_EXPIRED, (self._is_job, name, txn.now, txn.now, limit)).fetchall()
            dropped += [drop(txn, by_place(txn, place), State.EXPIRED) for (place,) in expired]
        return dropped


def start(txn: Transaction, worker: str, lease: float, is_job: int, claimed: Iterable[tuple[Candidate, int]]) -> None:
    """Store leases that begin now."""
    until, process, now = after(txn.now, lease), txn.terms.process, txn.now
    rows = [
        (one.run_id, one.place, is_job, one.name, one.key, fence, worker, now, until, process) for one, fence in claimed
    ]
    if rows:
        txn.db.executemany(_START, rows)
        txn.bring_forward(until)


def next_fence(txn: Transaction, cron: str) -> int:
    """Count one more claim of a cron; return its fence."""
    txn.db.execute(COUNT_CLAIM, (cron,))
    return int(txn.db.execute(CLAIMS, (cron,)).fetchone()[0])


def claim_of(one: Candidate, fence: int, started: datetime) -> Claim:
    """Return the claim of a run that is started now."""
    return Claim(
        text(one.run_id),
        KINDS[one.kind],
        one.name,
        EPOCH + one.due * MICROSECOND,
        whole(fence),
        whole(one.attempts) + 1,
        whole(one.failures),
        started,
        None if one.slot is None else EPOCH + one.slot * MICROSECOND,
        text_or_none(one.arguments),
        text_or_none(one.key),
        None if one.unfit_since is None else EPOCH + one.unfit_since * MICROSECOND,
    )


KINDS = {kind.value: kind for kind in Kind}


def waiting(txn: Transaction, is_job: int) -> list[str]:
    """Return the names of the tasks, or crons, that have pending runs."""
    return [name for (name,) in txn.db.execute(WAITING, {"is_job": is_job})]


_FIRST_DUE = """
    SELECT min(due) FROM (
        SELECT * FROM (SELECT due FROM pending WHERE is_job = 1 AND name = :name AND ready = 1 LIMIT 1)
        UNION ALL
        SELECT * FROM (SELECT due FROM pending WHERE is_job = 1 AND name = :name AND ready = 0 LIMIT 1)
    )"""


def waiting_jobs(txn: Transaction) -> dict[str, datetime]:
    """Return the tasks that have pending jobs, each with when the job was due that starts first."""
    dues = ((name, txn.db.execute(_FIRST_DUE, {"name": name}).fetchone()[0]) for name in waiting(txn, 1))
    return {name: instant(due) for name, due in dues if due is not None}
