"""The commands that change what the store knows of a cron: `pause`, `resume` and `reset`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pseudocron.cli.shared import crons_option, name_argument, perform
from pseudocron.cli.tables import local
from pseudocron.config.values import instant
from pseudocron.errors import BackendError, ConfigError
from pseudocron.host import utcnow
from pseudocron.process import process_of
from pseudocron.worker.due import floor_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pseudocron.backends.contract import Backend
    from pseudocron.crons import Crons

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(click.ParamType[datetime]):
    """An aware instant."""

    name = "ISO"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Convert an argument to an instant in UTC."""
        try:
            return instant(value)
        except ValueError:
            example = "2024-05-01T08:00:00+08:00"
            self.fail(f"{value!r}: must be ISO text with its offset from UTC, such as {example}", param, ctx)


class Past(Instant):
    """One that has come already."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Convert an argument to an instant in UTC, between 1970 and now."""
        moment = super().convert(value, param, ctx)
        if not EPOCH <= moment <= utcnow():
            self.fail(f"{value!r}: must lie between 1970 and now; to keep a cron from running, pause it", param, ctx)
        return moment


@click.command()
@crons_option
@name_argument
def pause(ref: str, name: str) -> None:
    """Let the slots of a cron pass until it is resumed.

    In every process. What runs now goes on.
    """
    perform(_pause(ref, name))
    click.echo(f"{name} is paused")


@click.command()
@crons_option
@name_argument
def resume(ref: str, name: str) -> None:
    """Undo a pause.

    The slots that came meanwhile stay skipped.
    """
    perform(_resume(ref, name))
    click.echo(f"{name} is not paused")


@click.command()
@crons_option
@name_argument
@click.option("--to", type=Past(), help="The new mark, such as 2024-05-01T08:00:00+08:00.  [default: now]")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(ref: str, name: str, to: datetime | None, *, yes: bool) -> None:
    """Set the mark of a cron after a clock went wrong.

    The mark is the highest slot that is dealt with. Slots up to it will not run. Slots after it that have come
    are missed ones, of which the latest runs, also if it ran before.
    """
    before = perform(_mark(ref, name))
    mark = to or utcnow()
    if not yes:
        click.confirm(f"Set the mark of {name} from {local(before)} to {local(mark)}?", abort=True)
    perform(_reset(ref, name, mark))
    click.echo(f"the mark of {name} is {local(mark)}")


async def _pause(ref: str, name: str) -> None:
    async with _changing(ref, name) as backend:
        await backend.pause(name, True)


async def _resume(ref: str, name: str) -> None:
    async with _changing(ref, name) as backend:
        await backend.pause(name, False)


async def _reset(ref: str, name: str, mark: datetime) -> None:
    async with _changing(ref, name) as backend:
        await backend.reset(name, mark)


async def _mark(ref: str, name: str) -> datetime:
    async with process_of(ref).store() as (crons, backend):
        state = (await backend.states([name])).crons[name]
        return floor_of(crons[name], state, utcnow())


@asynccontextmanager
async def _changing(ref: str, name: str) -> AsyncIterator[Backend]:
    """Yield the store, or raise `UnknownCronError` if there is no such cron."""
    async with durable(ref) as (crons, backend):
        _ = crons[name]
        yield backend


@asynccontextmanager
async def durable(ref: str) -> AsyncIterator[tuple[Crons, Backend]]:
    """Yield the crons and their store, or raise `PseudoCronError` if changes to the store end with this process."""
    async with process_of(ref).store() as (crons, backend):
        if not crons.settings.enabled:
            raise ConfigError("$PSEUDOCRON_ENABLED: 0: everything is switched off: there is nothing to change")
        if not backend.durable:
            raise BackendError(f"store {crons.settings.store!r} ends with its process: there is nothing to change")
        yield crons, backend
