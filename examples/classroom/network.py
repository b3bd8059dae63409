"""The network's switch (here a file for each classroom that is off), and the task that turns it on again."""

from pathlib import Path

from pseudocron import Crons

SWITCHES = Path(__file__).with_name("switched-off")

crons = Crons()


def switch_off(classroom: str) -> None:
    SWITCHES.mkdir(exist_ok=True)
    (SWITCHES / classroom).touch()


def switched_off() -> list[str]:
    return [switch.name for switch in SWITCHES.iterdir()] if SWITCHES.exists() else []


@crons.task(retries=3, timeout=60)
def restore_network(classroom: str) -> None:
    """May run twice, and then does no harm: that is what a job has to be like."""
    (SWITCHES / classroom).unlink(missing_ok=True)
