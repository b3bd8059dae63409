"""What a server with the ticker on does in a minute without visitors, beyond the bare server."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measuring import Row, show, spread
from benchmarks.serving import Server
from harness.uvicorn_server import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

ROUNDS, SECONDS, SETTLED_AFTER = 5, 60.0, 3.0
CRONS = 'crons = {"nightly": ("builtins:print", "0 2 * * *")}'
ARMS = {"bare": ("bare", ""), "ticking": ("app", ", ticker=True")}


class Usage(NamedTuple):
    """What a process has used so far.

    Args:
        cpu: Milliseconds.
        switches: How often one of its threads has waited, or had to.
    """

    cpu: float
    switches: float

    @classmethod
    def of(cls, port: int) -> Usage:
        """As the process says itself, which counts threads that have ended too."""
        seconds, *switches = map(float, _get(port, "/usage").split())
        return cls(seconds * 1e3, sum(switches))


def _get(port: int, path: str = "/") -> bytes:
    """On a new connection, as a server hangs up on one that is idle."""
    with closing(Connection(port)) as connection:
        return connection.get(path)


def _round(ports: Mapping[str, int]) -> dict[str, Usage]:
    """Return what each has used in the same minute."""
    before = {name: Usage.of(port) for name, port in ports.items()}
    time.sleep(SECONDS)
    after = {name: Usage.of(port) for name, port in ports.items()}
    return {name: Usage(*(new - old for new, old in zip(after[name], before[name], strict=True))) for name in after}


def measure() -> list[Row]:
    """Measure, and return the rows of this benchmark."""
    with ExitStack() as stack:
        ports = {}
        for name, (app, options) in ARMS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(Server(folder, app=app, crons=CRONS, options=options))
            ports[name] = server.port
            _get(server.port)
        time.sleep(SETTLED_AFTER)
        rounds = [_round(ports) for _ in range(ROUNDS)]
    rows = []
    for field, unit in (("cpu", " ms of CPU"), ("switches", " context switches")):
        bare, ticking = ([getattr(one[name], field) for one in rounds] for name in ARMS)
        over = [one - other for one, other in zip(ticking, bare, strict=True)]
        rows.append(
            Row(
                what=f"{SECONDS:.0f} idle seconds with the ticker on and a file store (WAL, FULL), over bare",
                goal="none",
                measured=f"{spread(over, unit, 1)}: {median(ticking):.1f} of {median(bare):.1f}",
                met=None,
            )
        )
    return rows


if __name__ == "__main__":
    show(measure())
