"""The command that teaches a shell to complete commands, options and the names of crons: `completion`."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell's completion script.

    In ~/.bashrc or ~/.zshrc: eval "$(pseudocron completion bash)"; in config.fish: pseudocron completion fish | source
    """
    complete = SHELLS[shell](ctx.find_root().command, {}, "pseudocron", "_PSEUDOCRON_COMPLETE")
    click.echo(complete.source())
