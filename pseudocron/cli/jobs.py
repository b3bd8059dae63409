"""The commands for deferred jobs: `defer`, `cancel` and `jobs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pseudocron.backends.model import Conflict, Kind, Run, State
from pseudocron.backends.questions import Where
from pseudocron.cli.inspecting import MOST as MOST_LINES
from pseudocron.cli.operating import Instant, durable
from pseudocron.cli.shared import crons_option, fail, json_option, perform, print_json
from pseudocron.cli.tables import Column, brief, local, plain, print_table
from pseudocron.config.values import MOST, span
from pseudocron.errors import show as shown
from pseudocron.jobs.arguments import typed
from pseudocron.jobs.propagation import without_context
from pseudocron.process import process_of
from pseudocron.schedule.phrases import duration
from pseudocron.worker.purging import PURGED, kept_for

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from pseudocron.backends.contract import Backend

JOBS = frozenset({Kind.JOB})

_NOT_SHOWN = {"run_id", "kind", "name", "slot", "at_least_once", "output", "waited", "is_kept"}
KEYS = ("job_id", "task", *(name for name in Run._fields if name not in _NOT_SHOWN))
"""What is shown of a job, by the names of `Run` but for the first two."""


class Span(click.ParamType["timedelta"]):
    """A time span of 0 or more."""

    name = "SPAN"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Convert an argument to a time span."""
        try:
            return span(duration(str(value)))
        except (OverflowError, ValueError):
            self.fail(f"{value!r}: must be seconds of 0 or more, or a time such as 90s, 1h30m or 7d", param, ctx)


class Moment(click.ParamType["datetime | timedelta"]):
    """An aware instant, or a time span from now."""

    name = "ISO|SPAN"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime | timedelta:
        """Convert an argument to an instant in UTC or to a time span."""
        is_span = duration(str(value)) is not None
        return Span().convert(value, param, ctx) if is_span else Instant().convert(value, param, ctx)


def _arguments(_: click.Context, __: click.Parameter, pairs: Sequence[str]) -> dict[str, str]:
    """Return the texts of arguments by name from `name=value`."""
    arguments: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{shown(pair)}: must be name=value")
        if name in arguments:
            raise click.BadParameter(f"{shown(name)}: is given twice, give it once")
        arguments[name] = value
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
@click.option(
    "--arg",
    "arguments",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_arguments,
    help="By the annotation: JSON, else text.",
)
def defer(ref: str, task: str, arguments: dict[str, str], **terms: Any) -> None:
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
@click.option("--state", "states", multiple=True, type=click.Choice([*map(str, State)]), help="Only in this state.")
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
    found = perform(_jobs(ref, [State(state) for state in states], **only))
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
    for name, value in _known(job).items():
        if value is not None and name not in {"error", "earlier"}:
            click.echo(f"{name:<9}  {plain(str(value) if isinstance(value, str | int) else local(value))}")
    for attempt in job.earlier:
        when = f"{local(attempt.started)} to {local(attempt.ended)} on {attempt.worker}"
        click.echo(plain(f"{'earlier':<9}  {attempt.outcome}: {when}{f': {attempt.error}' if attempt.error else ''}"))
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
@click.option("--older-than", type=Span(), help="Such as 7d.  [default: the settings retention and retention_failed]")
def purge(ref: str, older_than: timedelta | None) -> None:
    """Forget jobs that ended long ago."""
    count = perform(_purge(ref, older_than))
    click.echo(f"{count} job{'' if count == 1 else 's'} forgotten")


async def _defer(ref: str, name: str, arguments: dict[str, str], terms: dict[str, Any]) -> str:
    async with durable(ref) as (crons, _):
        task = crons._task_named(name)
        meant = typed(task.function, arguments)
        return (await task.options(**terms).defer(*meant.args, **meant.kwargs)).id


async def _cancel(ref: str, job_id: str | None, task: str | None, key: str | None) -> str | None:
    """Cancel a job, and return None, or why there was nothing to cancel."""
    async with durable(ref) as (crons, backend):
        if await backend.cancel(run_id=job_id, task=task, key=key):
            return None
        if job_id is not None:
            return _stands(job_id, await backend.run(job_id))
        assert task is not None  # noqa: S101 - the command line says one or the other
        newest = await backend.runs(Where(kinds=JOBS, name=task, key=key), 1, brief=True)
        if newest:
            return _stands(newest[0].run_id, newest[0])
        _ = crons._task_named(task)  # one that has left the code may have left jobs
        return f"there is no job of {task} with the key {shown(key)}"


async def _jobs(ref: str, states: Collection[State], *, task: str | None, key: str | None, limit: int) -> Sequence[Run]:
    async with process_of(ref).store() as (crons, backend):
        found = await backend.runs(Where(states, JOBS, task, key), limit)
        if task is not None and not found:  # one that has left the code may have left jobs
            _ = crons._task_named(task)
        return found


async def _job(ref: str, job_id: str) -> Run | None:
    async with process_of(ref).store() as (_, backend):
        run = await backend.run(job_id)
        return run if run is not None and run.kind is Kind.JOB else None


async def _retry(ref: str, job_id: str) -> str | None:
    """Retry a job, and return None, or why it can't be retried."""
    async with durable(ref) as (_, backend):
        if await backend.retry(job_id):
            return None
        job = await backend.run(job_id)
        if job is not None and job.kind is Kind.JOB and job.state in {State.FAILED, State.TIMED_OUT}:
            return f"job {job_id}: another pending job of {job.name} has its key {shown(job.key)}, cancel that first"
        return _stands(job_id, job)


async def _purge(ref: str, older_than: timedelta | None) -> int:
    async with durable(ref) as (crons, backend):
        keep = kept_for(crons.settings)
        if older_than is not None:
            keep = dict.fromkeys(keep, older_than)
        return await _forget(backend, keep)


async def _forget(backend: Backend, keep: Mapping[State, timedelta]) -> int:
    """Delete old jobs batch by batch, so that no process waits long for the store, and return their number."""
    total = 0
    while True:
        count = await backend.purge(keep, PURGED)
        total += count
        if count < PURGED:
            return total


def _stands(job_id: str, job: Run | None) -> str:
    """Return a message about a job that is not in the state that was wanted."""
    if job is None:
        return f"there is no job {shown(job_id)} (any more)"
    return f"job {job_id} is {job.state}"


def _known(job: Run) -> dict[str, Any]:
    """Return what is known of a job by the names that it has for people."""
    return {"job_id": job.run_id, "task": job.name} | {name: getattr(job, name) for name in KEYS[2:]}


def _plain(job: Run) -> dict[str, Any]:
    """Return a job for JSON, whose arguments are JSON and no text."""
    return _known(job) | {"arguments": _json(without_context(job.arguments or "{}"))}


def _why(job: Run) -> str:
    """Return what is wrong with a job, in one line."""
    if job.state is State.SUCCEEDED:
        return ""
    last = (job.error or "").strip().rsplit("\n", 1)[-1]
    return ": ".join(filter(None, (job.reason if job.reason != job.state else None, last)))


_JOBS: tuple[Column[Run], ...] = (
    Column("JOB", lambda job: job.run_id),
    Column("TASK", lambda job: job.name, elastic=True),
    Column("STATE", lambda job: job.state),
    Column("DUE", lambda job: brief(job.due)),
    Column("KEY", lambda job: job.key or "-", elastic=True, extra=True),
    Column("WHY", _why, elastic=True, extra=True),
    Column("ATTEMPTS", lambda job: str(job.attempts), extra=True),
)
