"""The commands that show and change nothing: `check`, `list`, `next` and `history`."""

from __future__ import annotations

import os
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING

import click

from pseudocron.backends import named, risks
from pseudocron.backends.questions import Where
from pseudocron.cli.shared import (
    as_plain,
    complete_name,
    crons_option,
    json_option,
    name_argument,
    one_line,
    perform,
    print_json,
)
from pseudocron.cli.tables import Column, brief, local, plain, print_table
from pseudocron.config.environment import unknown_variables
from pseudocron.config.settings import Settings
from pseudocron.config.source import open_source
from pseudocron.host import utcnow
from pseudocron.process import process_of
from pseudocron.report import CronStatus, cron_status, duration, history_of, lateness, span
from pseudocron.worker.announcement import on_requests
from pseudocron.worker.diagnostics import advice, outlasting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pseudocron.crons import Cron
    from pseudocron.process import Process
    from pseudocron.report import HistoryLine

SETTINGS = [field.name for field in fields(Settings) if field.repr]
"""What `check` shows."""

MOST = 10_000
"""The most lines that anybody may ask for."""


@click.command()
@crons_option
def check(ref: str) -> None:
    """Validate the configuration, show it, and open the store.

    Shows the settings, each schedule in words and its next three runs, the tasks, and those of which jobs are pending
    though they are not registered any more. Exits with 1, and one line, if anything is wrong.
    """
    process = process_of(ref)
    with one_line():
        crons = process.source.load()
    click.echo(f"{ref}: {len(crons)} crons, {len(crons.tasks)} tasks")
    for name in SETTINGS:
        value = getattr(crons.settings, name)
        click.echo(f"  {name:<13}  {named(value) if name == 'backend' else value}")
    for cron in crons:
        click.echo(f"\n{cron.name}: {cron.schedule.words}{'' if cron.enabled else ' (disabled)'}")
        click.echo(f"  runs {cron.target}")
        click.echo(f"  next {', '.join(local(slot) for slot in _upcoming(cron, 3)) or 'never'}")
    for task in crons.tasks.values():
        click.echo(f"\n{task.name}: a task, retries={task.retries}\n  runs {task.target}")
    advised = perform(_open(process))
    click.echo(f"\nThe store {crons.settings.store} can be opened.")
    settings = crons.settings
    risky = risks(settings.backend, app=settings.app, folder=settings.folder)
    for line in (*unknown_variables(os.environ), *risky, *advised):
        click.echo(f"\nWarning: {plain(line)}")


@click.command(name="list")
@crons_option
@json_option
def list_(ref: str, *, as_json: bool) -> None:
    """Show each cron's last and next run, and the store."""
    crons, store, outlasting_runs = perform(_status(ref))
    if as_json:
        print_json(crons)
    else:
        print_table(_STATUS, crons)
        click.echo(f"Store: {plain(store)}", err=True)
    for line in (*_counting(crons), *outlasting_runs):
        click.echo(f"Warning: {plain(line)}", err=True)


@click.command(name="next")
@crons_option
@name_argument
@click.option("-n", "count", type=click.IntRange(1, MOST), default=10, show_default=True, help="How many.")
@json_option
def next_(ref: str, name: str, count: int, *, as_json: bool) -> None:
    """Show when a cron runs next.

    By its schedule alone; the store is not asked.
    """
    with one_line():
        cron = open_source(ref).load()[name]
    slots = list(_upcoming(cron, count))
    if as_json:
        print_json([{"slot": slot, "due": _wake(cron, slot)} for slot in slots])
        return
    if not cron.enabled:
        click.echo(f"{name} is disabled: none of these will run", err=True)
    now = utcnow()
    columns: tuple[Column[datetime], ...] = (
        Column("NEXT RUN", local),
        Column("IN", lambda due: span((due - now).total_seconds())),
    )
    print_table(columns, [_wake(cron, slot) for slot in slots])


@click.command()
@crons_option
@click.argument("name", required=False, shell_complete=complete_name)
@click.option(
    "-n", "--limit", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many lines, the newest."
)
@json_option
def history(ref: str, name: str | None, limit: int, *, as_json: bool) -> None:
    """Show runs and skipped slots, the newest first.

    Of one cron, or of all; also of one that has left the configuration.
    """
    lines = perform(_history(ref, name, limit))
    if as_json:
        print_json([as_plain(line) | {"lateness": lateness(line), "duration": duration(line)} for line in lines])
    else:
        print_table(_HISTORY, lines)


async def _open(process: Process) -> Sequence[str]:
    """Open the store, and return advice on it, on its polls and on the tasks that have left the code."""
    async with process.store() as (crons, backend):
        states = await backend.states([cron.name for cron in crons])
        return [*await advice(backend, crons.tasks), *filter(None, [on_requests(crons, states)])]


async def _status(ref: str) -> tuple[list[CronStatus], str, Sequence[str]]:
    """Return the status of the crons, their store, and a line for each worker with code that has outlasted its runs."""
    async with process_of(ref).store() as (crons, backend):  # which stays open for both
        kept = await backend.runs(Where(is_kept=True), MOST, brief=True)
        outlasting_runs = outlasting(kept, concurrency=crons.settings.concurrency)
        return await cron_status(ref), crons.settings.store, outlasting_runs


async def _history(ref: str, name: str | None, limit: int) -> Sequence[HistoryLine]:
    async with process_of(ref).store() as (crons, backend):
        lines = await history_of(backend, name, limit=limit)
        if name is not None and not lines:  # one that has left the configuration may have left a history
            _ = crons[name]
        return lines


def _counting(crons: Sequence[CronStatus]) -> Iterator[str]:
    """Yield a line for each cron of which another schedule counts."""
    for cron in crons:
        if cron.counting is not None:
            since = f" since {brief(cron.since)}" if cron.since else ""
            yield f"{cron.name}: another schedule counts{since}: {cron.counting}; see: pseudocron why {cron.name}"


def _upcoming(cron: Cron, count: int) -> Iterator[datetime]:
    return islice(cron.schedule.ahead(utcnow()), count)


def _wake(cron: Cron, slot: datetime) -> datetime:
    return cron._wake(slot)


def _next(cron: CronStatus) -> str:
    if not cron.enabled:
        return "disabled"
    if cron.paused:
        return "paused"
    if cron.due:
        return "due now"
    return brief(cron.next) if cron.next else "never"


def _outcome(line: HistoryLine) -> str:
    return line.outcome or "running"


def _last_outcome(line: HistoryLine) -> str:
    return f"retries at {brief(line.due)}" if line.due else _outcome(line)


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)


def _what(line: HistoryLine) -> str:
    if line.is_skip:
        return f"{line.reason}, {line.slots} slot{'' if line.slots == 1 else 's'}"
    due = f"retries at {brief(line.due)}" if line.due else None
    last = (line.error or "").strip().rsplit("\n", 1)[-1]
    return ": ".join(filter(None, (due, line.reason, last)))


_STATUS: tuple[Column[CronStatus], ...] = (
    Column("NAME", lambda cron: cron.name, elastic=True),
    Column("SCHEDULE", lambda cron: cron.schedule, elastic=True),
    Column("LAST RUN", lambda cron: brief(cron.last.started) if cron.last else "never"),
    Column("OUTCOME", lambda cron: _last_outcome(cron.last) if cron.last else "-"),
    Column("NEXT RUN", _next),
    Column("RUNS", lambda cron: str(cron.runs), extra=True),
    Column("FAILED", lambda cron: str(cron.failures), extra=True),
    Column("MISSED", lambda cron: str(cron.missed), extra=True),
)

_HISTORY: tuple[Column[HistoryLine], ...] = (
    Column("NAME", lambda line: line.name, elastic=True),
    Column("SLOT", lambda line: brief(line.slot)),
    Column("OUTCOME", _outcome),
    Column("LATE", lambda line: _span(lateness(line))),
    Column("TOOK", lambda line: _span(duration(line))),
    Column("WHY", _what, elastic=True),
)
