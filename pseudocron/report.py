"""What people want to see of the crons of a configuration, for a page of one's own and for `pseudocron list`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pseudocron.backends.model import Kind, Run, Skip, State
from pseudocron.backends.questions import Where
from pseudocron.host import hop, utcnow
from pseudocron.process import process_of
from pseudocron.schedule.definitions import words_of
from pseudocron.worker.due import is_stored, plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import Attempt, Blocker, CronState, Waited
    from pseudocron.crons import Cron

    Entry = Run | Skip

SKIPPED = "skipped"
"""The outcome of slots that did not run."""

OF_CRONS = frozenset({Kind.SLOT, Kind.MANUAL})
"""The runs that are in the histories of crons."""

NEWEST = 2
"""How many entries of a timeline are read at first to find its latest run: skips of the same reason are one entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One line of the history of a cron: a run, or slots that were skipped.

    All instants are aware UTC.

    Args:
        run_id: The id of the run; of skipped slots empty.
        name: The name of the cron.
        slot: The scheduled instant; of skipped slots the last of them.
        fence: Grows with every claim of the cron; of skipped slots 0.
        attempt: The number of attempts that count; of skipped slots 0.
        worker: The process of the latest attempt, or the process that recorded the skip (`host:pid`).
        started: When the latest attempt was claimed, or when the first of the slots was recorded as skipped.
        ended: When the latest attempt ended, or when the last of the slots was recorded. None while the run is running.
        outcome: The state of the run, None while it is running; `skipped` of skipped slots.
        reason: Why the slots were skipped, or why the run is in its final state; None if there is nothing to add.
        slots: How many slots were skipped; of a run 1.
        first: The first slot that was skipped.
        since: Of `no_traffic` the poll before, of `backend_down` when the store went away, if known.
        blockers: Of an `overlap` the runs that were living.
        waited: Where the lateness of the run comes from; None if that was not measured.
        error: The traceback of the latest attempt that failed.
        output: What the code of the latest attempt wrote.
        due: When the next attempt of a pending run is due; None of any other.
        earlier: The earlier attempts of the run, oldest first, at most the last 10. While the run is pending the latest
            attempt is among them.
    """

    run_id: str
    name: str
    slot: datetime
    fence: int
    attempt: int
    worker: str
    started: datetime
    ended: datetime | None = None
    outcome: str | None = None
    reason: str | None = None
    slots: int = 1
    first: datetime | None = None
    since: datetime | None = None
    blockers: tuple[Blocker, ...] = ()
    waited: Waited | None = None
    error: str | None = None
    output: str | None = None
    due: datetime | None = None
    earlier: tuple[Attempt, ...] = ()

    @property
    def is_skip(self) -> bool:
        """Whether it is of slots that were skipped."""
        return self.outcome == SKIPPED

    @property
    def is_pending(self) -> bool:
        """Whether another attempt of the run follows."""
        return self.outcome == State.PENDING

    @property
    def began(self) -> datetime:
        """When the first attempt was claimed, as far as the store remembers."""
        return self.earlier[0].started if self.earlier else self.started

    @property
    def last_of_earlier(self) -> Attempt | None:
        """The latest attempt, if another one was to follow: that of a run that is pending, or was dropped then."""
        return self.earlier[-1] if self.earlier and self.earlier[-1].started == self.started else None

    @property
    def claims(self) -> int:
        """How many claims there were of it, as far as the store remembers."""
        if self.is_skip:
            return 0
        return max(self.attempt, len(self.earlier) + (self.last_of_earlier is None))


def line_of(entry: Entry) -> HistoryLine:
    """Return the line of a run of a cron that was claimed, or of slots that were skipped."""
    return _of_skip(entry) if isinstance(entry, Skip) else _of_run(entry)


def _of_run(run: Run) -> HistoryLine:
    return HistoryLine(
        run_id=run.run_id,
        name=run.name,
        slot=run.slot or run.due,
        fence=run.fence,
        attempt=run.attempts,
        worker=run.worker or "",
        started=run.started or run.created,
        ended=None if run.state is State.RUNNING else run.ended,
        outcome=None if run.state is State.RUNNING else run.state,
        reason=run.reason,
        waited=run.waited,
        error=run.error,
        output=run.output,
        due=run.due if run.state is State.PENDING else None,
        earlier=run.earlier,
    )


def _of_skip(skip: Skip) -> HistoryLine:
    recorded = skip.recorded or skip.slot
    return HistoryLine(
        run_id="",
        name=skip.name,
        slot=skip.slot,
        fence=0,
        attempt=0,
        worker=skip.worker or "",
        started=recorded,
        ended=skip.updated or recorded,
        outcome=SKIPPED,
        reason=skip.reason,
        slots=skip.slots,
        first=skip.first,
        since=skip.since,
        blockers=skip.blockers,
    )


async def history_of(backend: Backend, name: str | None = None, *, limit: int) -> list[HistoryLine]:
    """Return the newest lines of the history of a cron, or of all crons, newest first.

    Args:
        backend: The store, open.
        name: The name of the cron, which may have left the configuration; None for all.
        limit: How many lines at most.
    """
    if name is not None:
        return [line_of(entry) for entry in (await backend.timelines([name], limit)).get(name, ())]
    runs = await backend.runs(Where(kinds=OF_CRONS), limit)  # with their errors, which timelines of several crons lack
    timelines = await backend.timelines(None, limit)
    skips = [entry for entries in timelines.values() for entry in entries if isinstance(entry, Skip)]
    return sorted([*map(line_of, runs), *map(line_of, skips)], key=lambda line: line.began, reverse=True)[:limit]


async def latest_runs(
    backend: Backend, states: Mapping[str, CronState], timelines: Mapping[str, Sequence[Entry]] | None = None
) -> dict[str, HistoryLine]:
    """Return the latest run of each of these crons that has one, without its error and output if they are several.

    Args:
        backend: The store, open.
        states: The crons, and what the store knows of them.
        timelines: Their timelines, if these have been read.
    """
    names = [name for name, state in states.items() if state.claims]
    if timelines is None:
        timelines = await backend.timelines(names, NEWEST) if names else {}
    latest = {name: entry for name, entries in timelines.items() if (entry := latest_run(entries)) is not None}
    for name in names:
        if name not in latest:
            latest.update([(name, line_of(run)) for run in await backend.runs(Where(kinds=OF_CRONS, name=name), 1)])
    return latest


def latest_run(entries: Sequence[Entry]) -> HistoryLine | None:
    """Return the newest run of a timeline; None if it has none."""
    return next((line_of(entry) for entry in entries if isinstance(entry, Run)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CronStatus:
    """How one cron is doing.

    Args:
        name: The entry's name.
        schedule: Its schedule in words.
        target: What it runs.
        enabled: Whether the configuration lets it run.
        paused: Whether somebody has paused it.
        running: How many of its runs count for `max_instances` now, in any process.
        last: Its latest run that was not a skip; without its error and output if there are several crons.
        due: Whether the next poll will run it.
        next: Its next slot, aware UTC; None if there is none, or it is disabled or paused.
        runs: How often it was claimed.
        failures: How many of its runs did not succeed.
        missed: How many slots were skipped, for whatever reason.
        since: The stored schedule counts from this instant; None if no process has polled with the cron.
        counting: The schedule in words that counts, if that is another one; None if it is this one.
    """

    name: str
    schedule: str
    target: str
    enabled: bool
    paused: bool
    running: int
    last: HistoryLine | None
    due: bool
    next: datetime | None
    runs: int
    failures: int
    missed: int
    since: datetime | None = None
    counting: str | None = None


async def cron_status(crons: object) -> list[CronStatus]:
    """Return the status of each cron, in the order of the configuration.

    Args:
        crons: The configuration, as the middleware takes it.

    Raises:
        PseudoCronError: In one line, if the configuration or the store can't be read.
    """
    async with process_of(crons).store() as (entries, backend):
        states = (await backend.states([cron.name for cron in entries])).crons
        latest = await latest_runs(backend, states)
    return await hop(lambda: [status_of(cron, states[cron.name], latest.get(cron.name), utcnow()) for cron in entries])


def status_of(cron: Cron, state: CronState, last: HistoryLine | None, now: datetime) -> CronStatus:
    """Return the status of a cron at an instant.

    Args:
        cron: The cron.
        state: What the store knows of it.
        last: Its latest run.
        now: The present, aware UTC.
    """
    planned = plan(cron, state, now, since=cron._first_mark(now))
    # Without coalescing, slots that `max_instances` holds back stay due, but the next poll does not run them.
    slots = planned.slots if cron.coalesce or state.running < cron.max_instances else ()
    return CronStatus(
        name=cron.name,
        schedule=cron.schedule.words,
        target=str(cron.target),
        enabled=cron.enabled,
        paused=state.paused,
        running=state.running,
        last=last,
        due=bool(slots),
        next=None if state.paused else slots[0] if slots else planned.next,
        runs=state.claims,
        failures=state.failures,
        missed=state.missed,
        since=state.since,
        counting=None if is_stored(cron, state) else words_of(state.schedule or ""),
    )


def lateness(line: HistoryLine) -> float | None:
    """Return the seconds from the slot to the start of the first attempt; None of a skip."""
    return None if line.is_skip else (line.began - line.slot).total_seconds()


def duration(line: HistoryLine) -> float | None:
    """Return the seconds that the latest attempt took; None of a skip, and while it runs."""
    ended = line.last_of_earlier.ended if line.last_of_earlier else line.ended
    return None if line.is_skip or ended is None else (ended - line.started).total_seconds()


def span(seconds: float) -> str:
    """Return a duration for people: `0.012s`, `3m20s`, `2h05m`, `3d04h`."""
    if seconds < 59.95:
        return f"{seconds:.3f}s" if seconds < 1 else f"{seconds:.1f}s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02}h"
    return f"{hours}h{minute:02}m" if hours else f"{minutes}m{second:02}s"
