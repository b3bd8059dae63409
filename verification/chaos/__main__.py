"""`make chaos MINUTES=5`: both stores side by side, each with its processes and its nemesis; then the figures."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from verification.chaos.figures import figures, tables
from verification.chaos.nemesis import lanes, plan
from verification.chaos.world import Weather, World

APART = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""In namespaces of its own: it may mount a small disk, and when it ends nothing of it goes on."""

SHORT: dict[str, Any] = {"lease": 1.0, "gaps": (0.3, 0.35, 0.45), "tick_every": 3.0, "few": True}
"""All kinds of faults within a few seconds."""


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(prog="chaos")
    parser.add_argument("stores", nargs="*", default=["file", "redis"], help="file, redis, or both")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--short", action="store_true", help="2.5 seconds, in which more goes wrong")
    parser.add_argument("--seed", type=int, default=1, help="of the plan")
    parser.add_argument("--out", type=Path, help="a file for the figures, as JSON")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaving nothing behind
    more = SHORT | {"seconds": 2.5} if said.short else {"seconds": said.minutes * 60}
    weather = Weather(seed=said.seed, **more)
    if said.one:
        return _one(said.stores[0], said.one, weather)
    _print_plan(said.stores, weather)
    return _all(said.stores, weather, said.out, sys.argv[1:] if words is None else words)


def _print_plan(stores: Sequence[str], weather: Weather) -> None:
    print(f"seed {weather.seed}, {weather.seconds:g} s, a lease is {weather.lease:g} s; seconds, what, chance:")
    planned = {
        lane: (kinds, gap)
        for store in stores
        for (lane, kinds), gap in zip(lanes(store).items(), weather.gaps, strict=True)
    }
    for lane, (kinds, gap) in planned.items():
        deeds = islice(plan(weather.seed, lane, kinds, gap), 12)
        print(f"{lane}: {', '.join(map(str, deeds))}, …", flush=True)


def _all(stores: Sequence[str], weather: Weather, out: Path | None, words: Sequence[str]) -> int:
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    options = [word for word in words if word not in stores]
    own = [
        [*_apart(), sys.executable, "-m", "verification.chaos", store, *options, "--one", str(folder / store)]
        for store in stores
    ]
    processes = [subprocess.Popen(argv) for argv in own]
    try:
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:
            # `unshare` heeds nothing else, and with it ends all that is in its namespaces.
            process.send_signal(signal.SIGKILL if _apart() else signal.SIGTERM)
            process.wait()
    told = [folder / store / "figures.json" for store in stores]
    found = [json.loads(path.read_text()) for path in told if path.exists()]
    failed = sum(one["lost"] + one["duplicates"] + one["broken"] for one in found) or any(codes)
    print(tables(found))
    print(*(violation for one in found for violation in one["violations"]), sep="\n")
    if out:
        out.write_text(json.dumps({"weather": asdict(weather), "stores": found}, indent=1))
    if failed:
        print(f"what was seen is in {folder}")
    else:
        shutil.rmtree(folder)
    return int(bool(failed))


@cache
def _apart() -> Sequence[str]:
    """Return the command that makes a namespace, where this host allows it."""
    with suppress(FileNotFoundError):
        if subprocess.run([*APART, "true"], check=False, capture_output=True).returncode == 0:
            return APART
    print("no namespaces here: no disk is filled, no folder is read-only")
    return ()


def _one(store: str, folder: Path, weather: Weather) -> int:
    """One store, in this process."""
    folder.mkdir()
    history, violations = World(store, folder, weather, mounts=bool(_apart())).run()
    (folder / "figures.json").write_text(json.dumps(figures(history, violations)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
