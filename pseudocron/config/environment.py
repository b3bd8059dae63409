"""Variables of the environment, and constants of a config file, that look like settings and are none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pseudocron.config.origin import PLAIN
from pseudocron.config.settings import IN_FILES, VARIABLES
from pseudocron.errors import show

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHERS = frozenset({"PSEUDOCRON_CRONS"})
"""What the commands read."""

_RUN = ("NAME", "SLOT", "FENCE", "ATTEMPT", "RUN_ID", "DEADLINE", "IS_JOB")
OF_RUNS = frozenset(f"PSEUDOCRON_{name}" for name in _RUN)
"""What scripts find, which may use pseudocron themselves."""

NEAR = 0.86
"""How alike two names are, without their underscores, if one is meant by the other: `CRON_TIME` is not."""

_PREFIX = re.compile(r"pseudo_?crons?_", re.IGNORECASE)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that is probably meant for pseudocron, but is not read."""
    known = VARIABLES | OTHERS
    names = sorted(name for name in environ.keys() - known - OF_RUNS if "CRON" in name.upper())
    fixes = ((name, _fix(name, known)) for name in names if not name.startswith("_"))  # _PSEUDOCRON_COMPLETE
    return [f"environment: {show(name)}: is no setting{fix}" for name, fix in fixes if fix is not None]


def unknown_constants(names: Mapping[str, object], where: str) -> list[str]:
    """Return a line for each constant of a config file that is probably meant as a setting, but is not read.

    Args:
        names: What the file defines, by name.
        where: The name of the file, for messages.
    """
    constants = sorted(name for name in names.keys() - IN_FILES if name.isupper() and isinstance(names[name], PLAIN))
    fixes = ((name, _near(name, IN_FILES)) for name in constants)
    return [f"{where}: {show(name)}: is no setting, did you mean {near!r}?" for name, near in fixes if near]


def _fix(name: str, known: frozenset[str]) -> str | None:
    """Return which variable was meant, an empty string if that is not clear; None if it is of another program."""
    if near := _near(name, known):
        return f", did you mean {near!r}?"
    return "" if _PREFIX.match(name) else None


def _near(name: str, known: frozenset[str]) -> str | None:
    from difflib import get_close_matches  # noqa: PLC0415  only for those who make a mistake

    plain = {one.replace("_", ""): one for one in sorted(known)}
    near = get_close_matches(name.upper().replace("_", ""), plain, n=1, cutoff=NEAR)
    return plain[near[0]] if near else None
