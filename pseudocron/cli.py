"""The door for the shell and the system's crontab: `check`, `list` and `tick`."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pseudocron.backends.base import Outcome
from pseudocron.config import open_source
from pseudocron.errors import PseudoCronError
from pseudocron.host import utcnow
from pseudocron.report import CronStatus, cron_status
from pseudocron.watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pseudocron.backends.base import Run
    from pseudocron.crons import Cron

crons_option = click.option(
    "--crons",
    "ref",
    envvar="PSEUDOCRON_CRONS",
    default="crons.py",
    show_default=True,
    show_envvar=True,
    help="The configuration: a .py or .toml file, or an import string such as shop.crons:crons.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pseudocron")
def main() -> None:
    """Scheduled work for any ASGI application."""
    # What `python -m` and the servers do: the application's modules are imported from here.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


@main.command()
@crons_option
def check(ref: str) -> None:
    """Validate the configuration; show each schedule in words and its next three runs."""
    with _one_line():
        crons = open_source(ref).load()
    settings = crons.settings
    click.echo(f"{ref}: {len(crons)} crons, app {settings.app}, backend {settings.backend}")
    for cron in crons:
        click.echo(f"\n{cron.name}: {cron.schedule.words}{'' if cron.enabled else ' (disabled)'}")
        click.echo(f"  runs {cron.target}")
        click.echo(f"  next {', '.join(map(_local, _upcoming(cron, 3)))}")


@main.command(name="list")
@crons_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, times in UTC.")
def list_(ref: str, *, as_json: bool) -> None:
    """Show the last run, its outcome, and the next run of each cron."""
    with _one_line():
        crons = asyncio.run(_status(ref))
    if as_json:
        click.echo(json.dumps([asdict(cron) for cron in crons], indent=2, default=datetime.isoformat))
    else:
        _table(crons)


@main.command()
@crons_option
def tick(ref: str) -> None:
    """Look once, run what is due, wait for it, and exit: for the system's crontab.

    Exits with 1 if a run did not succeed.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    with _one_line():
        outcomes = asyncio.run(_tick(ref))
    if any(outcome is not Outcome.SUCCEEDED for outcome in outcomes):
        sys.exit(1)


async def _status(ref: str) -> list[CronStatus]:
    try:
        return await cron_status(ref)
    finally:
        await watch(ref).runtime().close()


async def _tick(ref: str) -> list[Outcome]:
    """The outcomes of one tick; told to stop, it drains first."""
    runtime = watch(ref).runtime()
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return [result.outcome async for _, result in runtime.tick()]
    finally:
        await runtime.close()


@contextmanager
def _one_line() -> Iterator[None]:
    """An error of ours is one line and exit code 1; a SIGTERM is what shells expect of it."""
    try:
        yield
    except PseudoCronError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)


def _upcoming(cron: Cron, count: int) -> Iterator[datetime]:
    slot = cron.schedule.next(utcnow())
    for _ in range(count):
        if slot is None:
            return
        yield slot
        slot = cron.schedule.next(slot)


def _outcome(run: Run) -> str:
    return run.outcome or "running"


def _next(cron: CronStatus) -> str:
    if not cron.enabled:
        return "disabled"
    if cron.paused:
        return "paused"
    if cron.due:
        return "due now"
    return _local(cron.next) if cron.next else "never"


def _local(instant: datetime) -> str:
    """An instant in the reader's zone, with its UTC offset."""
    return instant.astimezone().isoformat(sep=" ", timespec="seconds")


_COLUMNS: Mapping[str, Callable[[CronStatus], str]] = {
    "NAME": lambda cron: cron.name,
    "SCHEDULE": lambda cron: cron.schedule,
    "LAST RUN": lambda cron: _local(cron.last.started) if cron.last else "never",
    "OUTCOME": lambda cron: _outcome(cron.last) if cron.last else "-",
    "NEXT RUN": _next,
    "RUNS": lambda cron: str(cron.runs),
    "FAILED": lambda cron: str(cron.failures),
    "MISSED": lambda cron: str(cron.missed),
}


def _table(crons: list[CronStatus]) -> None:
    lines = [list(_COLUMNS), *([show(cron) for show in _COLUMNS.values()] for cron in crons)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(map(str.ljust, line, widths)).rstrip())
