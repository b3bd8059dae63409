"""The commands that run crons: `tick`, `run` and `work`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from pseudocron.backends.model import State
from pseudocron.backends.questions import Refusal
from pseudocron.by_hand import run_now, tick_now
from pseudocron.cli.shared import FAILED, crons_option, fail, log, name_argument, perform
from pseudocron.errors import show
from pseudocron.hooks.dispatcher import HOOK_TIMEOUT
from pseudocron.log import logger
from pseudocron.process import process_of

if TYPE_CHECKING:
    from pseudocron.worker.run import Run

EXIT = {State.SUCCEEDED: 0, State.FAILED: FAILED, State.TIMED_OUT: 3, State.INTERRUPTED: 5}
OVERLAP = 4
"""The exit codes of `run`; 2 is click's, for a wrong command line."""


@click.command()
@crons_option
def tick(ref: str) -> None:
    """Look once, run what is due, and exit.

    For the system's crontab. Exits with 1 if a run of a cron or a job did not succeed, and is not retried.
    """
    log()
    if any(map(_has_failed, perform(_tick(ref)))):
        sys.exit(FAILED)


@click.command()
@crons_option
@name_argument
def run(ref: str, name: str) -> None:
    """Run a cron now; the exit code is the outcome.

    Waits for it and shows its output. It is claimed and recorded as any run is, but neither moves the schedule nor
    asks whether it is paused or disabled. Exits with 0 if it succeeded, 1 if it failed, 3 if it timed out, 4 if it
    is running already, 5 if it was interrupted.
    """
    log()
    ended = perform(_run(ref, name))
    if isinstance(ended, Refusal):
        fail(f"{show(name)}: is running already, as often as its max_instances allows", OVERLAP)
    if ended.output is None and ended.end is not None and ended.end.output:  # that of this process is shown already
        click.echo(ended.end.output, nl=False)
    sys.exit(EXIT[_outcome(ended)])


@click.command()
@crons_option
def work(ref: str) -> None:
    """Look and run until told to stop.

    Without a web server. At SIGTERM or SIGINT it drains, and exits with 0.
    """
    log()
    perform(_work(ref))


def _outcome(run: Run) -> State:
    """Return the outcome of an attempt. One without an end was given up at the shutdown."""
    return State.INTERRUPTED if run.end is None else run.end.outcome


def _has_failed(run: Run) -> bool:
    """Return whether a run has ended for good, and not well. A retry, or a job that is handed back, is pending."""
    return (run.state or _outcome(run)) not in {State.SUCCEEDED, State.PENDING, State.CANCELLED, State.REPLACED}


async def _tick(ref: str) -> list[Run]:
    process = process_of(ref)
    try:
        return [run async for run in tick_now(process)]
    finally:
        await process.runtime().close()


async def _run(ref: str, name: str) -> Run | Refusal:
    process = process_of(ref)
    try:
        ended = await run_now(process, name)
        await process.runtime().settle(HOOK_TIMEOUT)  # its hooks are told, as after a tick
        return ended
    finally:
        await process.runtime().close()


async def _work(ref: str) -> None:
    runtime = process_of(ref).runtime()
    try:
        with suppress(asyncio.CancelledError):  # told to stop, which is how it ends
            await runtime.start(ticker=True)
            logger.info("%s: looking until told to stop", ref)
            await asyncio.Event().wait()
    finally:
        await runtime.close()
