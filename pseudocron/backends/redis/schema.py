"""What is stored on a server: its version, and the Lua scripts that read and write it.

The keys are described at the head of the scripts that own them. All begin with `{APP}:`; the hash tag keeps those of an
application on one node of a cluster.
"""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

from pseudocron.backends.model import LOST_AT_MOST
from pseudocron.backends.rules import EARLIER_AT_MOST, IN_USE_FOR, REASONS, SEEN_AGAIN

VERSION = 2
"""Of what is stored; data of any other version are left alone."""

AT_MOST = 1000
"""How many things of a kind one call handles: while a script runs, the server does nothing else."""

PARTS = {
    ("base", "gate"): ("version", "stale_in"),
    ("base", "gate", "targets", "crons"): ("states", "pause", "reset"),
    ("base", "gate", "targets", "runs", "endings", "claim", "skips", "plans", "poll"): ("poll",),
    ("base", "gate", "targets", "runs", "endings", "claim", "finish"): ("finish", "renew", "release", "start"),
    ("base", "gate", "targets", "runs", "endings", "jobs"): ("defer", "cancel", "retry", "purge"),
    ("base", "gate", "targets", "runs", "lists"): (
        "run",
        "counts",
        "waiting",
        "place",
        "runs",
        "timelines",
        "crons",
    ),
}
"""Of which files in `scripts` a script is made, and the verbs that it has."""


class Script(NamedTuple):
    """A script, and the digest by which a server that has seen it knows it."""

    body: str
    digest: str


def _constants() -> str:
    """Return what the rules of all stores say, in Lua."""
    reasons = ", ".join(f"{state} = '{reason}'" for state, reason in REASONS.items())
    numbers = {
        "LOST_AT_MOST": LOST_AT_MOST,
        "EARLIER_AT_MOST": EARLIER_AT_MOST,
        "IN_USE_FOR": IN_USE_FOR,
        "SEEN_AGAIN": SEEN_AGAIN,
        "AT_MOST": AT_MOST,
    }
    return "\n".join([f"local REASONS = {{{reasons}}}", *(f"local {name} = {of}" for name, of in numbers.items())])


def _read(parts: tuple[str, ...]) -> Script:
    folder = files(__package__) / "scripts"
    texts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts]
    body = "\n".join([_constants(), *texts, "return answer(ARGV[1])", ""])
    return Script(body, sha1(body.encode(), usedforsecurity=False).hexdigest())


SCRIPTS = {verb: script for parts, verbs in PARTS.items() for script in [_read(parts)] for verb in verbs}
"""The script of each verb."""
