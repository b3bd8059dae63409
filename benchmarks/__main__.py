"""Run all benchmarks, print one table, and keep it in `RESULTS.md` with what it was measured on."""

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.measuring import HEAD, machine

ALL = (
    "request_in_process",
    "request_under_uvicorn",
    "latency_while_running",
    "runs_per_slot",
    "lateness",
    "entering_and_claiming",
    "look_over_many",
    "importing",
    "deferring",
    "draining",
    "claiming_jobs",
    "memory_of_jobs",
    "asking_redis",
    "contest_on_redis",
    "pending_on_redis",
)
HERE = Path(__file__).parent
RESULTS = """# Results

Written by `make bench`. Ratios are of arms that take turns in one run; a figure is the median, and in brackets
between what the middle half lies. [What is measured, and how](README.md).

Measured on {machine}.

{table}
"""


def main() -> None:
    """Measure everything that is named on the command line, or everything."""
    lines = [HEAD]
    print(HEAD, flush=True)
    for name in sys.argv[1:] or ALL:
        began = time.monotonic()
        for row in import_module(f"benchmarks.{name}").measure():
            lines.append(str(row))
            print(row, flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    if not sys.argv[1:]:
        (HERE / "RESULTS.md").write_text(RESULTS.format(machine=machine(), table="\n".join(lines)), encoding="utf-8")


main()
