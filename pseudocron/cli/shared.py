"""What the commands share: their options, errors in one line, JSON, and how they are told to stop."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from contextlib import closing, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import fields, is_dataclass
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from pseudocron.cli.ending import Stopped, run_until_told
from pseudocron.config.source import open_source
from pseudocron.errors import PseudoCronError
from pseudocron.process import process_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from pseudocron.process import Process

T = TypeVar("T")

FAILED = 1
"""The exit code for what can't be done, and for a run that failed."""

VARIABLE, DEFAULT = "PSEUDOCRON_CRONS", "crons.py"


def complete_name(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the names that a shell may complete, none if the configuration is wrong."""
    ref = ctx.params.get("ref") or _before_the_command(ctx) or os.environ.get(VARIABLE) or DEFAULT
    try:
        # What the application prints when it is imported is not for the shell.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            import_from_here()
            crons = list(open_source(ref).load())
    except (Exception, SystemExit):  # noqa: BLE001 - whatever it is, nobody wants to read it while typing
        return []
    return [CompletionItem(cron.name, help=cron.schedule.words) for cron in crons if cron.name.startswith(incomplete)]


def _before_the_command(ctx: click.Context) -> str | None:
    """Return the configuration that is named before the command, as in `pseudocron --crons shop.py list`."""
    named: str | None = ctx.find_root().params.get("ref")
    return named


def _nearest(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the configuration that is named after the command, else before it, else by the environment."""
    if ctx.parent is None or ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE:
        return value
    return _before_the_command(ctx) or value


crons_option = click.option(
    "--crons",
    "ref",
    envvar=VARIABLE,
    callback=_nearest,
    default=DEFAULT,
    show_default=True,
    show_envvar=True,
    help="The configuration: a .py or .toml file, or an import string such as shop.crons:crons.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, times in UTC.")
name_argument = click.argument("name", shell_complete=complete_name)


def import_from_here() -> None:
    """Do what `python -m` and the servers do: the application's modules are imported from the working folder."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def log() -> None:
    """Show what is logged."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)


def print_json(value: object) -> None:
    """Print JSON, instants as ISO text in UTC."""
    click.echo(json.dumps(as_plain(value), indent=2, default=datetime.isoformat))


def as_plain(value: Any) -> Any:
    """Return a record as dictionaries and lists. JSON would make a list of a named tuple."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return as_plain(value._asdict())
    if isinstance(value, list | tuple):
        return [as_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: as_plain(one) for key, one in value.items()}
    return value


def fail(error: object, code: int = FAILED) -> NoReturn:
    """End with one line."""
    click.echo(f"Error: {error}", err=True)
    sys.exit(code)


@contextmanager
def one_line() -> Iterator[None]:
    """Turn an error of ours into one line and exit code 1."""
    try:
        yield
    except PseudoCronError as error:
        fail(error)


def perform(work: Coroutine[Any, Any, T], *, examines: bool = False) -> T:
    """Run the work and return its result. SIGTERM or SIGINT cancels it, and the exit code is then 143 or 130.

    Args:
        work: The work.
        examines: Whether it starts with a wrong configuration too, as it reports what is wrong.
    """
    try:
        with closing(work), one_line():
            with suppress(PseudoCronError) if examines else nullcontext():
                _process = _loaded()  # held: the work asks for the same one
            return run_until_told(work)
    except Stopped as stopped:
        sys.exit(128 + stopped.number)


def _loaded() -> Process | None:
    """Read the configuration of the command in the main thread, where a module may call `signal.signal`."""
    context = click.get_current_context(silent=True)
    ref = context and context.params.get("ref")
    if ref is None:
        return None
    process = process_of(ref)
    try:
        process.source.load()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    return process
