"""Context propagation: values that `defer` stores with a job, such as the trace of the caller."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = '{"@pseudocron":'
"""Start of stored arguments that have a context; no parameter can have this name."""

MOST = 8 * 1024
"""Maximum characters of a context; a longer one is not stored."""

_decoder = json.JSONDecoder()


def attach(arguments: str, context: Mapping[str, str]) -> str:
    """Return stored arguments with a context."""
    if not context:
        return arguments
    text = json.dumps(dict(context))
    if len(text) > MOST:
        return arguments
    rest = arguments[1:]
    return f"{_KEY}{text}{'' if rest == '}' else ','}{rest}"


def without_context(stored: str) -> str:
    """Return stored arguments without their context."""
    return detach(stored)[0]


def detach(stored: str) -> tuple[str, Mapping[str, str]]:
    """Return the arguments and their context; a context that can't be read stays in the arguments."""
    if not stored.startswith(_KEY):
        return stored, {}
    try:
        context, end = _decoder.raw_decode(stored, len(_KEY))
    except (ValueError, RecursionError):
        return stored, {}
    items = context.items() if isinstance(context, dict) else ()
    return "{" + stored[end:].removeprefix(","), {key: value for key, value in items if isinstance(value, str)}
