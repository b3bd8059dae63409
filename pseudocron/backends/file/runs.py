"""The verbs for runs that are living: finish, renew, release; and what becomes of those whose leases are over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pseudocron.backends import rules
from pseudocron.backends.file.earliest import count
from pseudocron.backends.file.jobs import with_key
from pseudocron.backends.file.liveness import shorten
from pseudocron.backends.file.stored import END_LEASE, Stored, all_of, by_place, change, drop, trim
from pseudocron.backends.file.transaction import after
from pseudocron.backends.legible import instant
from pseudocron.backends.model import Kind, State
from pseudocron.log import logger
from pseudocron.truncation import kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pseudocron.backends.file.transaction import Transaction
    from pseudocron.backends.model import Run
    from pseudocron.backends.questions import Claim, End

_OF_CLAIM = "SELECT {} FROM living WHERE run_id = ? AND fence = ? AND NOT over"
_SUCCEED = f"""
    UPDATE runs SET state = 'succeeded', ended = ?, attempts = attempts + ?, reason = ?, error = ifnull(?, error),
        output = ?, unfit_since = NULL,
        (fence, worker, started) = ({_OF_CLAIM.format("fence, worker, started")})
    WHERE id = ({_OF_CLAIM.format("id")})"""  # noqa: S608 - our own
_IS_RUNNING = _OF_CLAIM.format("1")
_RENEW = "UPDATE living SET lease = ? WHERE run_id = ? AND fence = ?"
_RELEASE = "DELETE FROM living WHERE run_id = ? AND fence = ? AND over"
_OVER = "SELECT DISTINCT is_job, name FROM living WHERE lease <= ?"
_END_KEPT = "DELETE FROM living WHERE lease <= ? AND over"
_GONE = "SELECT run_id, name FROM living WHERE lease <= ? AND run_id NOT IN (SELECT run_id FROM runs)"
_LOST = "runs.run_id IN (SELECT run_id FROM living WHERE lease <= ?) ORDER BY living.started, runs.id"
_RUNNING = "runs.run_id = ? AND living.fence = ? AND living.over = 0"


def finish(txn: Transaction, ends: Sequence[End]) -> tuple[list[State | None], list[Run]]:
    """Record how attempts ended.

    Returns:
        The state of each run after its end, and the jobs that have expired and held a key.
    """
    states: list[State | None] = [None] * len(ends)
    dropped: list[Run] = []
    # Nearly all ends are nothing but a success, and the first ones of their claims: they are recorded at once.
    plain, others, seen = {}, [], set()
    for place, (claim, outcome, _, counts, error, output, reason, goes_on, unfit) in enumerate(ends):
        whose = claim[0], claim[4]
        if outcome is State.SUCCEEDED and not goes_on and not unfit and whose not in seen:
            error, output = error and kept(error), output and kept(output)  # noqa: PLW2901 - the last 64 KiB
            plain[place] = txn.now, counts, reason, error, output, *whose, *whose  # once a subquery
        else:
            others.append(place)
        seen.add(whose)
    if plain:
        _succeed(txn, ends, plain, states)
    for place in others:
        if found := _running(txn, ends[place].claim):
            states[place] = _end(txn, found, ends[place], dropped)
    return states, dropped


def _succeed(
    txn: Transaction, ends: Sequence[End], rows: Mapping[int, tuple[object, ...]], states: list[State | None]
) -> None:
    """Record plain successes, whether they were cancelled or not, of those whose claims held their runs."""
    held: Iterable[int] = rows
    if txn.db.executemany(_SUCCEED, rows.values()).rowcount != len(rows):  # which of them no longer do
        held = [place for place, row in rows.items() if txn.db.execute(_IS_RUNNING, row[-2:]).fetchone()]
    leases, crons = [], set()
    for place in held:
        claim = ends[place].claim
        states[place] = State.SUCCEEDED
        leases.append((claim.run_id,))
        if claim.kind is not Kind.JOB:
            crons.add(claim.name)
    txn.db.executemany(END_LEASE, leases)
    for name in crons:
        trim(txn, name)


def _running(txn: Transaction, claim: Claim) -> Stored | None:
    return next(all_of(txn, _RUNNING, claim.run_id, claim.fence), None)


def _end(txn: Transaction, found: Stored, end: End, dropped: list[Run]) -> State:
    holder = _other_with_key(txn, found)
    run = rules.ended(found.run, end, stop=found.stop, is_key_taken=_takes(txn, holder), now=instant(txn.now))
    if run.state is State.PENDING and holder:
        dropped.append(drop(txn, holder, State.EXPIRED))
    return change(txn, found, run, goes_on=end.goes_on).state


def _other_with_key(txn: Transaction, found: Stored) -> Stored | None:
    return with_key(txn, found.run.name, found.run.key) if found.is_job else None


def _takes(txn: Transaction, holder: Stored | None) -> bool:
    return holder is not None and not rules.is_expired(holder.run, instant(txn.now))


def renew(txn: Transaction, claims: Sequence[Claim], lease: float) -> set[str]:
    """See `Backend.renew`."""
    until = after(txn.now, lease)
    rows = [(until, claim.run_id, claim.fence) for claim in claims]
    if txn.db.executemany(_RENEW, rows).rowcount == len(rows):
        living = {claim.run_id for claim in claims}
    else:
        held = ((claim, txn.db.execute(_RENEW, row).rowcount) for claim, row in zip(claims, rows, strict=True))
        living = {claim.run_id for claim, is_living in held if is_living}
    txn.bring_forward(until if living else None)
    return living


def release(txn: Transaction, claims: Sequence[Claim]) -> None:
    """See `Backend.release`."""
    txn.db.executemany(_RELEASE, [(claim.run_id, claim.fence) for claim in claims])
    names = names_of(claims)
    for is_job, name in names:
        if not is_job:
            trim(txn, name)
    count(txn, names)


def names_of(claims: Iterable[Claim]) -> set[tuple[int, str]]:
    """Return the tasks (1) and crons (0) of claims."""
    return {(int(claim.kind is Kind.JOB), claim.name) for claim in claims}


def end_leases(txn: Transaction) -> tuple[list[Run], list[Run]]:
    """End the leases that are over, and shorten those of processes that are gone.

    Returns:
        The runs that are lost, and the jobs that have expired and held a key.
    """
    if txn.terms.process is not None:
        shorten(txn)
    names = txn.db.execute(_OVER, (txn.now,)).fetchall()
    if not names:
        return [], []
    txn.db.execute(_END_KEPT, (txn.now,))
    for run_id, name in txn.db.execute(_GONE, (txn.now,)).fetchall():
        logger.error("store: run %s of %s is no longer in it: dropped", run_id, name)
        txn.db.execute(END_LEASE, (run_id,))
    dropped: list[Run] = []
    lost = [_lose(txn, found.place, dropped) for found in list(all_of(txn, _LOST, txn.now))]
    for is_job, name in names:
        if not is_job:
            trim(txn, name)
    return lost, dropped


def _lose(txn: Transaction, place: int, dropped: list[Run]) -> Run:
    found = by_place(txn, place)  # another one may have changed it
    holder = _other_with_key(txn, found)
    run = rules.lost(found.run, stop=found.stop, is_key_taken=_takes(txn, holder), now=instant(txn.now))
    if run.state is State.PENDING and holder:
        dropped.append(drop(txn, holder, State.EXPIRED))
    return change(txn, found, run)
