"""Soak a server: `python -m verification.soak --minutes 60 --out soak`; exit code 1 if something has grown."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import IO, Any

from harness.machine import machine
from harness.uvicorn_server import ROOT, Connection, Uvicorn
from verification.soak import figures, load, sampling
from verification.soak.plot import plot

APPLICATION = "verification.soak.application"
INTERVAL = 10.0
"""Seconds between two samples."""
CONCURRENCY = "40"
"""A process with a hundred crons in the same second wants more places than the usual ten."""


def main() -> int:
    """Soak, keep the samples, and judge them; or judge what was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=load.RATE, help="requests a second")
    parser.add_argument("--out", type=Path, default=Path("soak"), help="the folder for samples, table and plot")
    parser.add_argument("--judge", action="store_true", help="only judge the samples that are there")
    said = parser.parse_args()
    if not said.judge:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped: what was sampled is kept, and --judge judges it"))
        said.out.mkdir(parents=True, exist_ok=True)
        with (said.out / "samples.jsonl").open("w", encoding="utf-8") as file:
            soak(said.out.absolute(), seconds=said.minutes * 60, rate=said.rate, keep=file)
    lines = (said.out / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return judge([json.loads(line) for line in lines], said.out)


def soak(out: Path, *, seconds: float, rate: int, keep: IO[str]) -> None:
    """Serve, load and sample for so long; a line of JSON for each sample."""
    store = out / f"store-{os.getpid()}"
    environ = {
        "PSEUDOCRON_CRONS": f"{APPLICATION}:crons",
        "PSEUDOCRON_BACKEND": f"file:{store}",
        "PSEUDOCRON_CONCURRENCY": CONCURRENCY,
    }
    with Uvicorn(f"{APPLICATION}:app", out, environ=environ) as server:
        told = [sys.executable, "-m", "verification.soak.load", str(server.port), str(rate), str(INTERVAL)]
        with subprocess.Popen(told, stdout=subprocess.PIPE, text=True, cwd=ROOT) as visitors:
            assert visitors.stdout
            began = time.monotonic()
            try:
                for line in visitors.stdout:
                    at = time.monotonic() - began
                    print(json.dumps({"at": at, **json.loads(line), **sample(server, store)}), file=keep, flush=True)
                    if at >= seconds:
                        break
                else:
                    raise ConnectionError("the visitors are gone: the server has hung up, or was too slow for them")
            finally:
                visitors.kill()


def sample(server: Uvicorn, store: Path) -> dict[str, Any]:
    """Return the present figures of a server."""
    connection = Connection(server.port)
    vitals = json.loads(connection.get("/vitals"))
    connection.close()
    of_process = sampling.of_process(Path(f"/proc/{server.pid}"))
    return {**vitals, **of_process, **sampling.of_store(store), "load": os.getloadavg()[0]}


def judge(samples: list[dict[str, Any]], out: Path) -> int:
    """Print and keep the table and the plot; 1 if something is not flat."""
    try:
        rows = figures.compare(samples)
    except ValueError as error:
        sys.exit(f"{summary(samples)}\nnot judged: {error}")
    table = "\n".join([summary(samples), "", figures.HEAD, *map(str, rows)])
    print(table)
    (out / "table.md").write_text(f"{table}\n", encoding="utf-8")
    (out / "soak.svg").write_text(plot(samples), encoding="utf-8")
    return 0 if all(row.flat for row in rows) else 1


def summary(samples: list[dict[str, Any]]) -> str:
    """How long it was, on what, beside how much else, and what was done."""
    last, loads = samples[-1], [one["load"] for one in samples]
    where = machine().rpartition(", ")[0]  # the load there is of now
    load = f"load {median(loads):.1f} ({min(loads):.1f} to {max(loads):.1f})"
    runs = f"{last['ran']['crons']:,} runs of crons, {last['missed']:,} slots missed, {last['ran']['jobs']:,} jobs run"
    return f"{last['at'] / 60:.0f} minutes on {where}; {load}; {runs}."


if __name__ == "__main__":
    sys.exit(main())
