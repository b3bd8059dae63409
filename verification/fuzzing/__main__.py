"""`make fuzz`: each target with many inputs that atheris makes, which learns from what they reach in our code.

    python -m verification.fuzzing 100000            all targets, as many inputs each
    python -m verification.fuzzing 100000 schedule   one of them

What fails is printed with its bytes, and stops the run.
"""

from __future__ import annotations

import subprocess
import sys
import time

TARGETS = {
    "schedule": ("parsers", 5),
    "toml": ("parsers", 1),
    "mapping": ("parsers", 1),
    "settings": ("parsers", 1),
    "arguments": ("parsers", 1),
    "rows": ("stores", 50),
    "hashes": ("stores", 1),
    "call_trigger": ("endpoints", 1),
    "call_health": ("endpoints", 1),
    "knock_at_dashboard": ("endpoints", 1),
    "visit_dashboard": ("endpoints", 5),
}
"""Where each is, and how much longer than the others it takes: so many fewer inputs does it get."""


def every(runs: int) -> None:
    """Start a process for each target, as a process is ended when it has had its inputs."""
    for name in TARGETS:
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "verification.fuzzing", str(runs), name], check=True)
        inputs, seconds = runs // TARGETS[name][1], time.monotonic() - began
        print(f"{name}: {inputs} inputs in {seconds:.0f} s, nothing found", flush=True)


def one(runs: int, name: str) -> None:
    """All inputs of a target; ends the process."""
    import atheris  # noqa: PLC0415 - the process that only starts the others needs none

    module, cost = TARGETS[name]
    with atheris.instrument_imports(include=["pseudocron"]):
        target = getattr(__import__(f"verification.fuzzing.{module}", fromlist=[name]), name)

    def run(data: bytes) -> None:
        began = time.thread_time()
        target(data)
        assert time.thread_time() - began < 1, "took longer than a second"

    flags = [
        f"-runs={runs // cost}",
        "-max_len=400",
        "-len_control=0",
        "-timeout=20",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *flags], run)
    atheris.Fuzz()


if __name__ == "__main__":
    wanted = int(sys.argv[1])
    one(wanted, sys.argv[2]) if len(sys.argv) > 2 else every(wanted)
