"""The door for the shell, for the system's crontab, and for a worker without a web server."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from pseudocron.cli.completion import completion
from pseudocron.cli.ending import Commands
from pseudocron.cli.health import health
from pseudocron.cli.inspecting import check, history, list_, next_
from pseudocron.cli.jobs import cancel, defer, jobs
from pseudocron.cli.operating import pause, reset, resume
from pseudocron.cli.running import run, tick, work
from pseudocron.cli.shared import import_from_here
from pseudocron.cli.why import why
from pseudocron.config.settings import is_switched_off


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pseudocron")
@click.option("--crons", "ref", help="The configuration, as after a command.")
def main(ref: str | None) -> None:  # noqa: ARG001  read by the commands, from its context
    """Scheduled work for any ASGI application."""
    import_from_here()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal can't spell is no reason to end
            stream.reconfigure(errors="replace")
    if is_switched_off():
        click.echo("PSEUDOCRON_ENABLED=0: everything is switched off; the store is neither read nor changed", err=True)


_SHOWING = (check, list_, next_, history, why, health)
_RUNNING = (tick, run, work)
_CHANGING = (pause, resume, reset, defer, cancel, jobs)

for command in (*_SHOWING, *_RUNNING, *_CHANGING, completion):
    main.add_command(command)
