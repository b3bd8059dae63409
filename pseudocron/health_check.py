"""Health check: whether what is due runs and succeeds, for probes, the command line and the dashboard."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudocron.backends.model import Run, State
from pseudocron.backends.questions import Where
from pseudocron.dataclass import dataclass
from pseudocron.errors import PseudoCronError, cause
from pseudocron.host import hop
from pseudocron.report import NEWEST, OF_CRONS, span
from pseudocron.worker.diagnostics import outlasting
from pseudocron.worker.due import overdue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from pseudocron.backends.contract import Backend
    from pseudocron.backends.model import CronState, Skip
    from pseudocron.backends.questions import States
    from pseudocron.crons import Crons
    from pseudocron.process import Process
    from pseudocron.worker.due import Overdue

SHOWN = 20
"""Maximum number of crons and runs of each kind that a report names."""

KEPT = 1000
"""How many runs are counted at most whose code continues after their end."""

FAILURES = frozenset({State.FAILED, State.TIMED_OUT, State.LOST})
"""The states of runs that have failed. A run that a shutdown has interrupted has neither failed nor succeeded."""


class Config(StrEnum):
    """State of the configuration."""

    OK = "ok"
    STALE = "stale"  # the latest edit is wrong, the last good configuration is used
    BROKEN = "broken"  # it has never been right in this process
    UNKNOWN = "unknown"  # it takes too long to read


class Store(StrEnum):
    """State of the store."""

    OK = "ok"
    DOWN = "down"  # it can't be used
    SLOW = "slow"  # it did not answer in time
    NOT_ASKED = "not_asked"  # the configuration is broken, or everything is switched off


class Failing(NamedTuple):
    """A cron whose latest runs have failed.

    Args:
        name: The name of the cron.
        failures: How many of its runs have failed in a row, as far as the history goes.
        outcome: State of the latest of them.
        ended: When the latest of them ended, aware UTC.
    """

    name: str
    failures: int
    outcome: State
    ended: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """Result of a health check.

    Args:
        config: State of the configuration.
        backend: State of the store.
        enabled: Whether anything may run at all.
        crons: Number of crons.
        history: How many runs of each cron the store keeps.
        polled: When any process polled last, aware UTC; None if none has.
        overdue: Crons that are late by more than they tolerate, the latest first.
        failing: Crons whose latest run has failed, the one that has failed most often first.
        held: Runs that have ended while their code continues, in all processes.
        stuck: Whether this process has so many of them that it starts no further threads.
        hints: A line for each process that has such runs, with its name.
        errors: What is wrong with the configuration or the store, each in one line that may name files and servers.
    """

    config: Config = Config.OK
    backend: Store = Store.OK
    enabled: bool = True
    crons: int = 0
    history: int = 20
    polled: datetime | None = None
    overdue: Sequence[Overdue] = ()
    failing: Sequence[Failing] = ()
    held: Sequence[Run] = ()
    stuck: bool = False
    hints: Sequence[str] = ()
    errors: Sequence[str] = ()

    def is_healthy(self, *, failures: int | None = None) -> bool:
        """Return whether what is due runs, as far as that is known. A stale configuration runs.

        Args:
            failures: Number of failed runs in a row at which a cron counts, at most as many as the store keeps; None
                for never.
        """
        well = self.config in {Config.OK, Config.STALE} and self.backend in {Store.OK, Store.NOT_ASKED}
        most = None if failures is None else min(failures, self.history)
        fails = most is not None and any(one.failures >= most for one in self.failing)
        return well and not self.overdue and not self.stuck and not fails

    def as_json(self, *, failures: int | None = None, verbose: bool = False) -> dict[str, Any]:
        """Return the report as JSON values; instants are ISO text in UTC, spans are seconds.

        Args:
            failures: Number of failed runs in a row at which a cron makes the report unhealthy; None for never.
            verbose: Whether to add what may name files, servers and processes.
        """
        values: dict[str, Any] = {
            "healthy": self.is_healthy(failures=failures),
            "config": self.config,
            "backend": self.backend,
            "enabled": self.enabled,
            "crons": self.crons,
            "polled": _text(self.polled),
            "overdue": len(self.overdue),
            "latest": [_late(one) for one in self.overdue[:SHOWN]],
            "failing": len(self.failing),
            "failed": [one._asdict() | {"ended": _text(one.ended)} for one in self.failing[:SHOWN]],
            "lingering": len(self.held),
            "held": [{"name": one.name, "started": _text(one.started)} for one in self.held[:SHOWN]],
            "stuck": self.stuck,
        }
        return values | {"errors": [*self.errors, *self.hints]} if verbose else values

    def problems(self) -> list[str]:
        """Return all that is wrong, a line each, for people. The lines may name files, servers and processes."""
        return [
            *self.errors,
            *_named(self.overdue, lambda one: f"{one.name}: overdue by {span(one.late.total_seconds())}"),
            *_named(self.failing, _failing_words),
            *self.hints,
        ]


def _late(one: Overdue) -> dict[str, Any]:
    return {
        "name": one.name,
        "slot": one.slot.isoformat(),
        "late": one.late.total_seconds(),
        "tolerance": one.tolerance.total_seconds(),
    }


def _text(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None


def _named(found: Sequence[Any], words: Callable[[Any], str]) -> Iterable[str]:
    yield from map(words, found[:SHOWN])
    if len(found) > SHOWN:
        yield f"and {len(found) - SHOWN} more"


def _failing_words(one: Failing) -> str:
    times = "its last run" if one.failures == 1 else f"its last {one.failures} runs"
    return f"{one.name}: {times} did not succeed, the latest {one.outcome.replace('_', ' ')}"


async def examine(process: Process, note: Callable[[HealthReport], None] = lambda _: None) -> HealthReport:
    """Check the configuration and the store.

    Args:
        process: What this process has of the configuration.
        note: Is given what is known so far, before each step that may take long.
    """
    note(HealthReport(config=Config.UNKNOWN, backend=Store.NOT_ASKED))
    try:
        crons, stale = await hop(process.reload), process.source.error
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing can run with it
        return HealthReport(config=Config.BROKEN, backend=Store.NOT_ASKED, errors=[_message(error)])
    known = HealthReport(
        config=Config.STALE if stale else Config.OK,
        backend=Store.NOT_ASKED,
        enabled=crons.settings.enabled,
        crons=len(crons),
        history=crons.settings.history,
        errors=[stale] if stale else [],
    )
    if not known.enabled:
        return known
    note(replace(known, backend=Store.SLOW))
    try:
        async with process.opened(crons) as backend:
            return replace(await examine_store(crons, backend, known), stuck=process.stuck)
    except Exception as error:  # noqa: BLE001 - as above
        return replace(known, backend=Store.DOWN, errors=[*known.errors, _message(error)])


async def examine_store(
    crons: Crons, backend: Backend, known: HealthReport, states: States | None = None
) -> HealthReport:
    """Return what is known with what an open store knows of the crons.

    Args:
        crons: The crons.
        backend: The store, open.
        known: What is known so far.
        states: The states of all crons, if they have been read.
    """
    held = await backend.runs(Where(is_kept=True), KEPT, brief=True)
    if states is None:
        states = await backend.states([cron.name for cron in crons])
    return replace(
        known,
        backend=Store.OK,
        polled=states.polled,
        overdue=await hop(_overdue, crons, states.crons, states.now),
        failing=await _failing(crons, backend, states.crons),
        held=held,
        hints=outlasting(held, concurrency=crons.settings.concurrency),
    )


def _overdue(crons: Crons, states: Mapping[str, CronState], now: datetime) -> list[Overdue]:
    pace = crons.settings.cron_max_time
    found = (overdue(crons[name], state, now, cron_max_time=pace) for name, state in states.items() if name in crons)
    return sorted(filter(None, found), key=attrgetter("late"), reverse=True)


async def _failing(crons: Crons, backend: Backend, states: Mapping[str, CronState]) -> list[Failing]:
    """Return the crons that may run and whose latest run has failed; most often their newest entries tell enough."""
    names = [one.name for one in crons if one.enabled and (state := states[one.name]).failures and not state.paused]
    newest = await backend.timelines(names, NEWEST) if names else {}
    open_ones = [name for name in names if not _has_succeeded(newest.get(name, ()))]
    found = await backend.timelines(open_ones, 2 * crons.settings.history) if open_ones else {}
    failing = filter(None, (_streak(name, entries) for name, entries in found.items()))
    return sorted(failing, key=attrgetter("failures"), reverse=True)


def _has_succeeded(entries: Sequence[Run | Skip]) -> bool:
    ended = [one.state for one in entries if isinstance(one, Run) and one.state in {*FAILURES, State.SUCCEEDED}]
    return bool(ended) and ended[0] is State.SUCCEEDED


def _streak(name: str, entries: Sequence[Run | Skip]) -> Failing | None:
    failed: list[Run] = []
    for one in entries:
        if not isinstance(one, Run) or one.kind not in OF_CRONS:
            continue
        if one.state is State.SUCCEEDED:
            break
        if one.state in FAILURES:
            failed.append(one)
    return Failing(name, len(failed), failed[0].state, failed[0].ended) if failed else None


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, PseudoCronError) else cause(error)
