"""The command that says why a cron did not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pseudocron.cli.inspecting import MOST
from pseudocron.cli.operating import Instant
from pseudocron.cli.shared import crons_option, json_option, name_argument, perform, print_json
from pseudocron.cli.tables import Column, brief, local, plain, print_table
from pseudocron.process import process_of
from pseudocron.why import Fate
from pseudocron.why.inquiry import inquire

if TYPE_CHECKING:
    from datetime import datetime

    from pseudocron.why import Inquiry, Why


@click.command()
@crons_option
@name_argument
@click.option("--at", type=Instant(), help="Only the slot at this time, such as 2024-05-01T08:00:00+08:00.")
@click.option("-n", "count", type=click.IntRange(1, MOST), default=10, show_default=True, help="How many, the newest.")
@json_option
def why(ref: str, name: str, at: datetime | None, count: int, *, as_json: bool) -> None:
    """Say why a cron did not run.

    Shows what became of its last slots: run by whom and how late, or skipped and why, or not dealt with yet.
    """
    inquiry = perform(_inquire(ref, name))
    told = inquiry.last(count) if at is None else inquiry.at(at)
    if as_json:
        print_json(told)
    elif at is None:
        print_table(_WHY, told)
    else:
        for one in told:
            click.echo(plain(f"{local(one.slot)}: {one.sentence}"))


async def _inquire(ref: str, name: str) -> Inquiry:
    async with process_of(ref).store() as (crons, backend):
        return await inquire(crons, backend, name, tell=brief)


def _what(why: Why) -> str:
    if why.kind is Fate.RAN and why.run and why.run.outcome:
        return why.run.outcome
    return why.reason if why.kind is Fate.SKIPPED and why.reason else why.kind


_WHY: tuple[Column[Why], ...] = (
    Column("SLOT", lambda why: brief(why.slot)),
    Column("WHAT", _what),
    Column("SLOTS", lambda why: str(why.slots), extra=True),
    Column("WHY", lambda why: why.sentence, elastic=True),
)
