"""The commands for deferred jobs: `defer`, `cancel` and `jobs`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pseudocron.backends.jobs import Conflict, JobState
from pseudocron.cli.inspecting import MOST as MOST_LINES
from pseudocron.cli.operating import Instant, durable
from pseudocron.cli.shared import crons_option, fail, json_option, perform, print_json
from pseudocron.cli.tables import Column, brief, local, plain, print_table
from pseudocron.config.values import MOST, span
from pseudocron.errors import show as shown
from pseudocron.jobs.arguments import revive
from pseudocron.jobs.propagation import without_context
from pseudocron.runner.job_runs import KEEP, PURGED
from pseudocron.schedule.phrases import duration
from pseudocron.watch import watch

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime, timedelta

    from pseudocron.backends.base import Backend
    from pseudocron.backends.jobs import Job


class Span(click.ParamType["timedelta"]):
    """A time span of 0 or more."""

    name = "SPAN"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The time span."""
        try:
            return span(duration(str(value)))
        except (OverflowError, ValueError):
            self.fail(f"{value!r}: must be seconds of 0 or more, or a time such as 90s, 1h30m or 7d", param, ctx)


class Moment(click.ParamType["datetime | timedelta"]):
    """An aware instant, or a time span from now."""

    name = "ISO|SPAN"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime | timedelta:
        """The one that it is."""
        is_span = duration(str(value)) is not None
        return Span().convert(value, param, ctx) if is_span else Instant().convert(value, param, ctx)


def _arguments(_: click.Context, __: click.Parameter, pairs: Sequence[str]) -> dict[str, Any]:
    """Arguments by name from `name=value`; a value that is no JSON is text."""
    arguments: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{shown(pair)}: must be name=value")
        if name in arguments:
            raise click.BadParameter(f"{shown(name)}: is given twice, give it once")
        arguments[name] = _json(value)
    return arguments


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


@click.command()
@crons_option
@click.argument("task")
@click.option("--at", type=Instant(), help="Not before this instant, such as 2024-05-01T08:00:00+08:00.")
@click.option("--delay", type=Span(), help="Not before so much later: seconds, or such as 90s or 1h30m.")
@click.option("--key", help="Unique among the pending jobs of the task.")
@click.option(
    "--on-conflict",
    type=click.Choice([*map(str, Conflict)]),
    default=str(Conflict.REPLACE),
    show_default=True,
    help="What becomes of a pending job with the key: it is replaced, it is kept, or that is an error.",
)
@click.option(
    "--priority", type=click.IntRange(-MOST, MOST), default=0, help="Of what is due the highest starts first."
)
@click.option("--expires", type=Moment(), help="Not started after this instant, or so much later.")
@click.option("--arg", "arguments", multiple=True, metavar="NAME=VALUE", callback=_arguments, help="JSON, else text.")
def defer(ref: str, task: str, arguments: dict[str, Any], **terms: Any) -> None:
    """Store a call of a task, and print the job's id.

    When the id is printed, the job is committed. With `--on-conflict keep` it may be that of the older job.
    """
    click.echo(perform(_defer(ref, task, arguments, terms)))


@click.command()
@crons_option
@click.argument("job_id", required=False)
@click.option("--task", help="With --key: the job of this task.")
@click.option("--key", help="With --task: the job with this key.")
def cancel(ref: str, job_id: str | None, task: str | None, key: str | None) -> None:
    """Cancel a job, by its id or by its task and key.

    Exits with 0 if it was pending, so that it never starts; with 1 if not. One that is running is not stopped, but
    not tried again either.
    """
    if not (job_id is None) == (task is not None) == (key is not None):
        raise click.UsageError("say either JOB_ID, or both --task and --key")
    if why := perform(_cancel(ref, job_id, task, key)):
        fail(why)
    click.echo(f"{job_id or f'{shown(key)} of {task}'} is cancelled")


@click.group(invoke_without_command=True)
@crons_option
@click.option("--state", "states", multiple=True, type=click.Choice([*map(str, JobState)]), help="Only in this state.")
@click.option("--task", help="Only of this task.")
@click.option("--key", help="Only with this key.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, MOST_LINES), default=20, show_default=True, help="How many, the newest."
)
@json_option
@click.pass_context
def jobs(ctx: click.Context, /, ref: str, states: Sequence[str], *, as_json: bool, **only: Any) -> None:
    """Show jobs, the newest first; or one, or try one again, or forget old ones."""
    if ctx.invoked_subcommand is not None:
        if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ctx.params):
            raise click.UsageError(f"write the options after {ctx.invoked_subcommand}")
        return
    found = perform(_jobs(ref, [JobState(state) for state in states], **only))
    if as_json:
        print_json([_plain(job) for job in found])
    else:
        print_table(_JOBS, found)


@jobs.command()
@crons_option
@click.argument("job_id")
@json_option
def show(ref: str, job_id: str, *, as_json: bool) -> None:
    """Show all that is known of a job."""
    job = perform(_job(ref, job_id))
    if job is None:
        fail(_stands(job_id, job))
    if as_json:
        print_json(_plain(job))
        return
    for name, value in asdict(job).items():
        if value is not None and name != "error":
            click.echo(f"{name:<9}  {plain(str(value) if isinstance(value, str | int) else local(value))}")
    for line in (job.error or "").splitlines():
        click.echo(f"  {plain(line)}")


@jobs.command()
@crons_option
@click.argument("job_id")
def retry(ref: str, job_id: str) -> None:
    """Let a failed job be tried again, now."""
    if why := perform(_retry(ref, job_id)):
        fail(why)
    click.echo(f"{job_id} is pending")


@jobs.command()
@crons_option
@click.option("--older-than", type=Span(), help="Such as 7d.  [default: 30d of failed jobs, 7d of others]")
def purge(ref: str, older_than: timedelta | None) -> None:
    """Forget jobs that ended long ago."""
    count = perform(_purge(ref, older_than))
    click.echo(f"{count} job{'' if count == 1 else 's'} forgotten")


async def _defer(ref: str, name: str, arguments: dict[str, Any], terms: dict[str, Any]) -> str:
    async with durable(ref) as (crons, _):
        task = crons._task_named(name)
        # JSON has no datetime: what is typed means what the annotations make of it, as when the job runs.
        meant = revive(task.function, (), arguments)
        return (await task.options(**terms).defer(*meant.args, **meant.kwargs)).id


async def _cancel(ref: str, job_id: str | None, task: str | None, key: str | None) -> str | None:
    """Nothing, or why there was nothing to cancel."""
    async with durable(ref) as (crons, backend):
        if await backend.cancel(job_id=job_id, task=task, key=key):
            return None
        if job_id is not None:
            return _stands(job_id, await backend.job(job_id))
        assert task is not None  # noqa: S101 - the command line says one or the other
        newest = await backend.jobs(task=task, key=key, limit=1)
        if newest:
            return _stands(newest[0].job_id, newest[0])
        _ = crons._task_named(task)  # one that has left the code may have left jobs
        return f"there is no job of {task} with the key {shown(key)}"


async def _jobs(
    ref: str, states: Collection[JobState], *, task: str | None, key: str | None, limit: int
) -> Sequence[Job]:
    async with watch(ref).store() as (crons, backend):
        found = await backend.jobs(states=states, task=task, key=key, limit=limit)
        if task is not None and not found:  # one that has left the code may have left jobs
            _ = crons._task_named(task)
        return found


async def _job(ref: str, job_id: str) -> Job | None:
    async with watch(ref).store() as (_, backend):
        return await backend.job(job_id)


async def _retry(ref: str, job_id: str) -> str | None:
    """Nothing, or why it can't be tried again."""
    async with durable(ref) as (_, backend):
        if await backend.retry(job_id):
            return None
        job = await backend.job(job_id)
        if job is not None and job.state is JobState.FAILED:
            return f"job {job_id}: another pending job of {job.task} has its key {shown(job.key)}, cancel that first"
        return _stands(job_id, job)


async def _purge(ref: str, older_than: timedelta | None) -> int:
    keep = KEEP if older_than is None else dict.fromkeys(KEEP, older_than)
    async with durable(ref) as (_, backend):
        return await _forget(backend, keep)


async def _forget(backend: Backend, keep: dict[JobState, timedelta]) -> int:
    """Batch by batch, so that nobody waits long for the store."""
    total = 0
    while True:
        count = await backend.purge(keep, limit=PURGED)
        total += count
        if count < PURGED:
            return total


def _stands(job_id: str, job: Job | None) -> str:
    """Where a job stands, for those who wanted it elsewhere."""
    if job is None:
        return f"there is no job {shown(job_id)} (any more)"
    return f"job {job_id} is {job.state}"


def _plain(job: Job) -> dict[str, Any]:
    """A job for JSON, whose arguments are JSON and no text."""
    return asdict(job) | {"arguments": _json(without_context(job.arguments))}


def _why(job: Job) -> str:
    """What is wrong with a job, in one line."""
    if job.state is JobState.SUCCEEDED:
        return ""
    last = (job.error or "").strip().rsplit("\n", 1)[-1]
    return ": ".join(filter(None, (job.reason if job.reason != job.state else None, last)))


_JOBS: tuple[Column[Job], ...] = (
    Column("JOB", lambda job: job.job_id),
    Column("TASK", lambda job: job.task, elastic=True),
    Column("STATE", lambda job: job.state),
    Column("DUE", lambda job: brief(job.due)),
    Column("KEY", lambda job: job.key or "-", elastic=True, extra=True),
    Column("WHY", _why, elastic=True, extra=True),
    Column("ATTEMPTS", lambda job: str(job.attempts), extra=True),
)
