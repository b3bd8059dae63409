"""The verbs of the contract in SQL, inside a transaction that somebody else begins and ends."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.backends.file import lines
from pseudocron.backends.file.holders import forsake, this_process
from pseudocron.backends.file.lines import BRIEF, INSTANTS, PARTS, RUN
from pseudocron.backends.file.verbs import Verbs, micros
from pseudocron.backends.legible import instant, legible, whole
from pseudocron.backends.records import (
    Blocker,
    Claim,
    Lingering,
    Outcome,
    Proposal,
    Reaped,
    Refusal,
    Result,
    Run,
    Skip,
    State,
)
from pseudocron.backends.slot_rules import (
    RECOVERABLE,
    claim_of,
    granted,
    grows,
    merged,
    refusal,
    skip_for,
    skipped,
    text_of,
)
from pseudocron.truncation import kept

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

KNOW = "INSERT INTO crons (name) VALUES (?) ON CONFLICT (name) DO NOTHING"
FIRST_MARK = """
    INSERT INTO crons (name, mark) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET mark = excluded.mark WHERE mark IS NULL"""
LIVING = "SELECT run_id, worker FROM runs WHERE name = ? AND lease IS NOT NULL ORDER BY id"
GROW = "UPDATE crons SET {0} = max(ifnull({0}, ?), ?) WHERE name = ?"
INSERT = f"""
    INSERT INTO runs ({", ".join(RUN)}, lease, recover, process)
    VALUES ({", ".join(f":{column}" for column in RUN)}, :lease, :recover, :process)"""  # noqa: S608  our own names
MERGE = "UPDATE runs SET slot = ?, first = ?, ended = ?, slots = ? WHERE run_id = ?"
RENEW = "UPDATE runs SET lease = ? WHERE run_id = ? AND fence = ? AND lease IS NOT NULL"
END = "UPDATE runs SET outcome = ?, ended = ?, error = ?, output = ?, waits = recover AND ? WHERE run_id = ?"
RELEASE = "UPDATE runs SET lease = NULL WHERE run_id = ? AND fence = ? AND outcome IS NOT NULL"
LINGERING = """
    SELECT name, 0 AS is_job, run_id, worker, ended FROM runs WHERE lease IS NOT NULL AND outcome IS NOT NULL
    UNION ALL
    SELECT running.task, 1, running.job_id, running.worker, ended
    FROM running LEFT JOIN jobs ON jobs.job_id = running.job_id WHERE over"""
TRIM = """
    DELETE FROM runs WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY reason IS NULL ORDER BY id DESC) AS place
            FROM runs WHERE name = ? AND outcome IS NOT NULL AND lease IS NULL AND NOT waits
        ) WHERE place > ?
    )"""


class Ledger(Verbs):
    """The memory of slots and the history, for the length of one transaction.

    Args:
        db: A connection with a transaction begun, so that nobody else's comes between.
        now: The clock, read after that.
        keep: How many runs, and how many skips, are kept of each cron.
    """

    def __init__(self, db: sqlite3.Connection, *, now: datetime, keep: int) -> None:
        super().__init__(db, now=now)
        self._keep = keep

    def states(self, marks: Mapping[str, datetime]) -> Mapping[str, State]:
        """See `Backend.states`."""
        self._db.executemany(FIRST_MARK, [(name, micros(mark)) for name, mark in marks.items()])
        return self.known(marks)

    def known(self, names: Collection[str]) -> Mapping[str, State]:
        """The states of those that have a mark; reads only."""
        states = {name: self._state(name) for name in names}
        return {name: state for name, state in states.items() if state}

    def _state(self, name: str) -> State | None:
        cron = self._db.execute("SELECT * FROM crons WHERE name = ? AND mark IS NOT NULL", (name,)).fetchone()
        return cron and self._read_state(name, cron)

    @legible("a cron")
    def _read_state(self, name: str, cron: sqlite3.Row) -> State:
        return State(
            name=name,
            mark=instant(cron["mark"]),
            back=None if cron["back"] is None else instant(cron["back"]),
            paused=bool(cron["paused"]),
            runs=whole(cron["claims"]),
            failures=whole(cron["failures"]),
            missed=whole(cron["missed"]),
            running=len(self._living(name)),
            last=self._run("name = ? AND reason IS NULL ORDER BY id DESC", name),
        )

    def claim(self, proposal: Proposal) -> Claim | Refusal:
        """See `Backend.claim`."""
        name = proposal.name
        orphan = self._run("run_id = ? AND name = ? AND waits", proposal.recovers, name)
        mark, paused = self._mark(name)
        living = self._living(name)
        why = refusal(proposal, now=self._now, mark=mark, paused=paused, living=len(living), orphan=orphan)
        if why is None:
            return self._grant(proposal, orphan)
        if skip := skip_for(proposal, why, living):
            self._record(skip, worker=proposal.worker)
        return why

    def _grant(self, proposal: Proposal, orphan: Run | None) -> Claim:
        if proposal.manual:
            self._db.execute(KNOW, (proposal.name,))
        else:
            self._grow(proposal.name, proposal.slot)
        self._db.execute("UPDATE crons SET claims = claims + 1 WHERE name = ?", (proposal.name,))
        (fence,) = self._db.execute("SELECT claims FROM crons WHERE name = ?", (proposal.name,)).fetchone()
        run = granted(proposal, fence=fence, orphan=orphan, now=self._now)
        lease = self._now + timedelta(seconds=proposal.lease)
        self._insert(run, lease=micros(lease), recover=proposal.recover)
        self._bring_forward(lease)
        if orphan:
            self._db.execute("UPDATE runs SET waits = 0 WHERE run_id = ?", (orphan.run_id,))
            self._trim(proposal.name)
        return claim_of(run)

    def skip(self, skips: Sequence[Skip]) -> None:
        """See `Backend.skip`."""
        for skip in skips:
            self._db.execute(KNOW, (skip.name,))
            cron = self._db.execute("SELECT mark, back FROM crons WHERE name = ?", (skip.name,)).fetchone()
            highest = cron[grows(skip)]
            if highest is None or micros(skip.slot) > highest:
                self._record(skip)

    def _record(self, skip: Skip, *, worker: str = "") -> None:
        self._grow(skip.name, skip.slot, grows(skip))
        self._db.execute("UPDATE crons SET missed = missed + ? WHERE name = ?", (skip.slots, skip.name))
        newest = self._run("name = ? ORDER BY id DESC", skip.name)
        if newest and newest.reason == skip.reason:
            line = merged(newest, skip, now=self._now)
            self._db.execute(
                MERGE, (micros(line.slot), _micros(line.first), micros(self._now), line.slots, line.run_id)
            )
        else:
            self._insert(skipped(skip, worker=worker, now=self._now))
            self._trim(skip.name)

    def renew(self, claims: Sequence[Claim], lease: float) -> Collection[str]:
        """See `Backend.renew`."""
        until = micros(self._now + timedelta(seconds=lease))
        renewed = (self._db.execute(RENEW, (until, claim.run_id, claim.fence)).rowcount for claim in claims)
        return {claim.run_id for claim, living in zip(claims, renewed, strict=True) if living}

    def finish(self, claim: Claim, result: Result, *, keep_lease: bool = False) -> bool:
        """See `Backend.finish`."""
        own = self._run("run_id = ? AND fence = ? AND outcome IS NULL", claim.run_id, claim.fence)
        if own is None:
            return False
        if not keep_lease:
            self._db.execute("UPDATE runs SET lease = NULL WHERE run_id = ?", (own.run_id,))
        self._end(own, result)
        return True

    def _end(self, run: Run, result: Result) -> None:
        what = (result.outcome, micros(self._now), kept(result.error), kept(result.output))
        self._db.execute(END, (*what, result.outcome in RECOVERABLE, run.run_id))
        if result.outcome in RECOVERABLE and self._run("run_id = ? AND waits", run.run_id):
            self._bring_forward(self._now)
        failed = result.outcome is not Outcome.SUCCEEDED
        self._db.execute("UPDATE crons SET failures = failures + ? WHERE name = ?", (failed, run.name))
        self._trim(run.name)

    def release(self, claim: Claim) -> None:
        """See `Backend.release`."""
        self._db.execute(RELEASE, (claim.run_id, claim.fence))
        self._trim(claim.name)
        self._bring_forward(self._now)

    def reap(self, reset_since: datetime) -> Reaped:
        """See `Backend.reap`; the crons that were reset since then are told too."""
        forsaken = forsake(self._db, micros(self._now))
        self._bring_forward(None if forsaken is None else instant(forsaken))
        over = self._runs("lease <= ? ORDER BY +id", micros(self._now))  # the plus: by the index on leases, then sorted
        lost = [run for run in over if run.outcome is None]
        self._db.execute("UPDATE runs SET lease = NULL WHERE lease <= ?", (micros(self._now),))
        for run in lost:
            self._end(run, Result(outcome=Outcome.LOST))
        for name in {run.name for run in over}:
            self._trim(name)
        ended = (self._run("run_id = ?", run.run_id) for run in lost)
        reset = self._db.execute("SELECT name FROM crons WHERE reset >= ?", (micros(reset_since),))
        return Reaped(
            lost=[run for run in ended if run],
            orphans=self._runs("waits ORDER BY id"),
            reset=[row["name"] for row in reset],
        )

    def pause(self, name: str) -> None:
        """See `Backend.pause`."""
        self._db.execute(KNOW, (name,))
        self._db.execute("UPDATE crons SET paused = 1 WHERE name = ?", (name,))
        self._bring_forward(self._now)

    def resume(self, name: str) -> None:
        """See `Backend.resume`."""
        self._db.execute("UPDATE crons SET paused = 0 WHERE name = ?", (name,))
        self._bring_forward(self._now)

    def history(self, name: str | None, limit: int) -> Sequence[Run]:
        """See `Backend.history`."""
        if name is None:
            return self._runs("TRUE ORDER BY id DESC LIMIT ?", limit)
        return self._runs("name = ? ORDER BY id DESC LIMIT ?", name, limit)

    def timelines(self, names: Collection[str], limit: int) -> Mapping[str, Sequence[Run]]:
        """See `Backend.timelines`."""
        newest = "name = ? ORDER BY id DESC LIMIT ?"
        return {name: self._runs(newest, name, limit, columns=BRIEF) for name in names}

    def reset(self, name: str, mark: datetime) -> None:
        """See `Backend.reset`."""
        self._db.execute(KNOW, (name,))
        what = (micros(mark), micros(mark), micros(self._now), name)
        self._db.execute("UPDATE crons SET mark = ?, back = ?, reset = ? WHERE name = ?", what)
        self._bring_forward(self._now)

    def lingering(self) -> Sequence[Lingering]:
        """See `Backend.lingering`."""
        return [lines.lingering(line) for line in self._db.execute(LINGERING)]

    @legible("a cron")
    def _mark(self, name: str) -> tuple[datetime | None, bool]:
        """A cron's mark, and whether it is paused."""
        known = self._db.execute("SELECT mark, paused FROM crons WHERE name = ?", (name,)).fetchone()
        mark, paused = known or (None, False)
        return None if mark is None else instant(mark), bool(paused)

    def _grow(self, name: str, slot: datetime, column: str = "mark") -> None:
        self._db.execute(KNOW, (name,))
        self._db.execute(GROW.format(column), (micros(slot), micros(slot), name))

    def _living(self, name: str) -> list[Blocker]:
        return [lines.blocker(line) for line in self._db.execute(LIVING, (name,))]

    def _insert(self, run: Run, *, lease: int | None = None, recover: bool = False) -> None:
        line = {column: getattr(run, column) for column in RUN}
        instants = {column: _micros(line[column]) for column in INSTANTS}
        parts = {column: text_of(line[column]) for column in PARTS}
        held = {"lease": lease, "recover": recover, "process": this_process()}
        self._db.execute(INSERT, line | instants | parts | held)

    def _runs(self, where: str, *values: object, columns: Sequence[str] = RUN) -> list[Run]:
        found = self._db.execute(f"SELECT {', '.join(columns)} FROM runs WHERE {where}", values)  # noqa: S608  our own
        return [lines.run(line) for line in found]

    def _run(self, where: str, *values: object) -> Run | None:
        return next(iter(self._runs(f"{where} LIMIT 1", *values)), None)

    def _trim(self, name: str) -> None:
        self._db.execute(TRIM, (name, self._keep))


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else micros(moment)
