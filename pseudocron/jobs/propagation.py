"""What a job carries besides its arguments: a few words of who deferred it, such as the trace that it belongs to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = '{"@pseudocron":'
"""How stored arguments begin that carry something; no parameter has such a name, and no store needs to know."""

MOST = 8 * 1024
"""Characters that a job carries at most; more is left behind."""

_decoder = json.JSONDecoder()


def attach(arguments: str, context: Mapping[str, str]) -> str:
    """Stored arguments that carry this besides."""
    text = json.dumps(dict(context))
    if not context or len(text) > MOST:
        return arguments
    rest = arguments[1:]
    return f"{_KEY}{text}{'' if rest == '}' else ','}{rest}"


def without_context(stored: str) -> str:
    """The arguments, for people to read."""
    return detach(stored)[0]


def detach(stored: str) -> tuple[str, Mapping[str, str]]:
    """The arguments, and what they carry; what can't be read is left to who reads the arguments."""
    if not stored.startswith(_KEY):
        return stored, {}
    try:
        context, end = _decoder.raw_decode(stored, len(_KEY))
    except (ValueError, RecursionError):
        return stored, {}
    words = context.items() if isinstance(context, dict) else ()
    return "{" + stored[end:].removeprefix(","), {key: value for key, value in words if isinstance(value, str)}
