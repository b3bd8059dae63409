"""The command that checks the health of the scheduling: `health`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from pseudocron.cli.shared import FAILED, crons_option, json_option, perform, print_json
from pseudocron.cli.tables import plain
from pseudocron.health_check import HealthReport, examine
from pseudocron.host import utcnow
from pseudocron.process import process_of
from pseudocron.report import span

if TYPE_CHECKING:
    from datetime import datetime


@click.command()
@crons_option
@click.option(
    "--failures",
    type=click.IntRange(min=1),
    help="Exit with 1 if a cron has failed so many times in a row.  [default: never]",
)
@json_option
def health(ref: str, failures: int | None, *, as_json: bool) -> None:
    """Check whether what is due runs, and show what fails.

    Exits with 1 if the configuration or the store can't be used, or a cron is overdue.
    """
    report = perform(examine(process_of(ref)), examines=True)
    is_healthy = report.is_healthy(failures=failures)
    if as_json:
        print_json(report.as_json(failures=failures, verbose=True))
    else:
        click.echo(f"{'healthy' if is_healthy else 'not healthy'}: {_summary(report, utcnow())}")
        for line in report.problems():
            click.echo(f"  {plain(line)}")
    sys.exit(0 if is_healthy else FAILED)


def _summary(report: HealthReport, now: datetime) -> str:
    if not report.enabled:
        return "everything is switched off"
    polled = (
        f"last poll {span(max(0.0, (now - report.polled).total_seconds()))} ago" if report.polled else "no poll yet"
    )
    return f"config {report.config}, store {report.backend.replace('_', ' ')}, {report.crons} crons, {polled}"
