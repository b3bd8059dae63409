"""The crons that the nemesis edits, as the file says them, and as the checker must know them."""

from __future__ import annotations

import textwrap
from typing import Any

SECOND = 1_000_000
"""Microseconds."""

BROKEN = (
    "crons = {",
    "crons = {'beat': ('verification.chaos.application:beat', 'every now and then')}",
    "raise OSError('broken')\n",
)

_PLAIN: dict[str, Any] = {"every": 1.0, "at_least_once": False, "max_instances": 1}
CRONS = {
    "beat": _PLAIN,
    "each": _PLAIN | {"every": 0.5, "coalesce": False, "max_instances": 3},
    "long": _PLAIN | {"lasts": 1.6, "max_instances": 2},
    "again": _PLAIN | {"lasts": 0.6, "at_least_once": True},
    "rare": _PLAIN | {"every": 2.0, "lasts": 3.0, "at_least_once": True},
    "shaky": _PLAIN | {"every": 5.0, "run": "shaky", "retries": 1},
    "guest": _PLAIN,
}
SCRIPT = """
    import os, sys
    sys.path[:0] = os.environ["CHAOS_PATH"].split(os.pathsep)
    from datetime import datetime
    from pathlib import Path
    from verification.chaos.history import Notes
    env = os.environ
    slot = round(datetime.fromisoformat(env["PSEUDOCRON_SLOT"]).timestamp() * 1_000_000)
    told = {"run": env["PSEUDOCRON_RUN_ID"], "fence": int(env["PSEUDOCRON_FENCE"]), "cron": "script", "slot": slot}
    for what in ("start", "end"):
        Notes(Path(env["CHAOS_FOLDER"]) / "notes").add(what, **told)
"""


def crons_file(edition: int = 0) -> str:
    """Return a good file: each edition has another timeout, and every other one has a guest."""
    entries = [_entry(name, edition) for name in CRONS if name != "guest" or edition % 2 == 0]
    script = '    "script": ("script.py", 5),\n'
    return f'APP = "beats"\ncrons = {{\n{"".join(entries)}{script}}}\n'


def _entry(name: str, edition: int) -> str:
    cron = dict(CRONS[name])
    lasts, every = cron.pop("lasts", None), cron.pop("every")
    run = f"verification.chaos.application:{cron.pop('run', 'last' if lasts else 'beat')}"
    entry = {"run": run, "schedule": every, "timeout": 60 + edition, **cron, **({"args": [lasts]} if lasts else {})}
    return f"    {name!r}: {entry!r},\n"


def script_file() -> str:
    return textwrap.dedent(SCRIPT)


def told() -> dict[str, dict[str, object]]:
    """Return what the checker must know of them."""
    known: dict[str, dict[str, object]] = {
        name: {
            "every": round(float(cron["every"]) * SECOND),
            **{k: cron[k] for k in ("at_least_once", "max_instances")},
        }
        for name, cron in CRONS.items()
    }
    return known | {"script": {"every": 5 * SECOND, "at_least_once": False, "max_instances": 1}}
