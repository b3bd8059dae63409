"""What is stored on a server: its version, and the Lua scripts that read and write it.

The keys are described at the head of the scripts that own them. All begin with `{APP}:`; the hash tag keeps those of an
application on one node of a cluster.
"""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

from pseudocron.backends.model import BRIEFLY, LOST_AT_MOST, State
from pseudocron.backends.rules import EARLIER_AT_MOST, IN_USE_FOR, REASONS, REPLACED_AT_MOST, SEEN_AGAIN

VERSION = 3
"""Of what is stored; data of any other version are left alone."""

AT_MOST = 100
"""How many things of a kind one script handles: while it runs, the server does nothing else."""

STARTED_AT_MOST = 50
"""How many runs one script claims or ends, which takes it the longest."""

MODULES = {
    "gate": "Gate",
    "targets": "Targets",
    "runs": "Runs",
    "reserving": "Reserving",
    "endings": "Endings",
    "storing": "Storing",
    "batches": "Batches",
    "claim": "Claims",
    "skips": "Skips",
    "plans": "Plans",
}
"""The files in `scripts` that are tables of functions, by the order in which they use each other."""

VERBS = {
    "opening": ("version",),
    "crons": ("states", "pause", "reset"),
    "poll": ("poll", "name"),
    "finish": ("finish", "renew", "release", "start"),
    "jobs": ("defer", "stage", "unstage", "accept", "store", "stand_for", "cancel", "retry", "purge"),
    "lists": ("run", "counts", "waiting", "place", "runs", "timelines", "crons"),
}
"""The files that have verbs."""


class Script(NamedTuple):
    """A script, and the digest by which a server that has seen it knows it."""

    body: str
    digest: str


def _constants() -> str:
    """Return what the rules of all stores say, in Lua."""
    reasons = ", ".join(f"{state} = '{reason}'" for state, reason in REASONS.items())
    numbers = {
        "BRIEFLY": BRIEFLY,
        "LOST_AT_MOST": LOST_AT_MOST,
        "EARLIER_AT_MOST": EARLIER_AT_MOST,
        "REPLACED_AT_MOST": REPLACED_AT_MOST,
        "IN_USE_FOR": IN_USE_FOR,
        "SEEN_AGAIN": SEEN_AGAIN,
        "AT_MOST": AT_MOST,
        "STARTED_AT_MOST": STARTED_AT_MOST,
    }
    states = ", ".join(f"{state} = true" for state in State)
    return "\n".join(
        [
            f"local STATES = {{{states}}}",
            f"local REASONS = {{{reasons}}}",
            *(f"local {name} = {of}" for name, of in numbers.items()),
        ]
    )


def _read(name: str) -> Script:
    """Return a script with the verbs of a file, and the modules that they use.

    Each file is a function of its own. Where a closure is made in Lua 5.1, its chunk's variables are searched for one
    after another, but those of a function around it are at hand: making all closures of a poll takes a tenth.
    """
    parts = [f"local function add_verbs()\n{_text(name)}\nend\nadd_verbs()"]
    for file, table in reversed(MODULES.items()):
        if any(f"{table}." in part for part in parts):
            parts.insert(0, f"local {table} = lazily(function({table})\n{_text(file)}\nend)")
    return _script(_constants(), _text("freshness"), _text("base"), *parts, "return answer(ARGV[1])", "")


def _script(*parts: str) -> Script:
    body = "\n".join(parts)
    return Script(body, sha1(body.encode(), usedforsecurity=False).hexdigest())


def _text(name: str) -> str:
    return (files(__package__) / "scripts" / f"{name}.lua").read_text(encoding="utf-8")


SCRIPTS = {verb: script for name, verbs in VERBS.items() for script in [_read(name)] for verb in verbs} | {
    "stale_in": _script(_text("freshness"), _text("question"))
}
"""The script of each verb."""
