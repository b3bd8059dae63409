"""The Lua scripts, each a few verbs on common ground; Redis runs a verb from its begin to its end without another."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files

DISPATCH = "\nreturn answer(ARGV[1])\n"


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the digest by which a server that has seen it knows it."""

    body: str
    digest: str


def _read(*parts: str) -> Script:
    folder = files(__package__) / "lua"
    body = "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts) + DISPATCH
    return Script(body, sha1(body.encode(), usedforsecurity=False).hexdigest())


SCRIPTS = {"slots": _read("ground", "crons", "slots"), "queue": _read("ground", "jobs", "upcoming", "queue", "listing")}
