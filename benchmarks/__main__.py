"""Run benchmarks, print what they measure, and keep it in `RESULTS.md`, each part in its own section."""

from __future__ import annotations

import re
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.measuring import HEAD
from harness.machine import machine

ALL = (
    "request_in_process",
    "request_wsgi",
    "request_instrumented",
    "request_under_uvicorn",
    "latency_while_running",
    "runs_per_slot",
    "double_runs",
    "lateness",
    "entering_and_claiming",
    "poll_over_many",
    "importing",
    "private_memory",
    "deferring",
    "draining",
    "syncing",
    "idling",
    "calls",
    "claiming_jobs",
    "memory_of_jobs",
    "dashboard_over_many",
    "asking_redis",
    "contest_on_redis",
    "pending_on_redis",
)
HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
INTRODUCTION = """# Results

Written by `make bench`, each part when it was last measured. Ratios are of arms that take turns in one run; a figure is
the median, and in brackets between what the middle half lies. [What is measured, and how](README.md).
"""


def main() -> None:
    """Measure everything that is named on the command line, or everything."""
    for name in sys.argv[1:] or ALL:
        began, where = time.monotonic(), machine()
        table = "\n".join([HEAD, *map(str, import_module(f"benchmarks.{name}").measure())])
        print(f"{where} before\n{table}", flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        keep(name, f"Measured on {where} before.\n\n{table}")


def keep(name: str, text: str) -> None:
    """Write a part's section anew, and leave the others as they are."""
    sections = re.split(r"^## (\w+)\n", RESULTS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    kept = dict(zip(sections[::2], map(str.strip, sections[1::2]), strict=True)) | {name: text}
    parts = (f"## {part}\n\n{kept[part]}\n" for part in ALL if part in kept)
    RESULTS.write_text("\n".join([INTRODUCTION, *parts]), encoding="utf-8")


main()
