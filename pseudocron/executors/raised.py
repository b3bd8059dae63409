"""What a function raised in a child process, as it is brought to the server: names of classes, no objects."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudocron.config.values import span
from pseudocron.truncation import LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence


class RaisedInChild(Exception):  # noqa: N818 - it stands for any exception
    """An exception of a child process.

    Args:
        names: Those of its class and of all bases, see `name_of`.
        after: How long a `Retry` asks to wait, None for another exception.
        members: Of an exception group; each only once of those that are alike.
    """

    def __init__(self, names: frozenset[str], after: timedelta | None, members: Sequence[RaisedInChild]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names
        self.after = after
        self.members = members


def name_of(cls: type) -> str:
    """Return `module:qualname`, the same in each process.

    The main module goes by the name under which others import it: what is `__main__` in the server is not in a child.
    """
    module = _main_name() if cls.__module__ in {"__main__", "__mp_main__"} else cls.__module__
    return f"{module}:{cls.__qualname__}"


def _main_name() -> str:
    main = sys.modules["__main__"]
    return main.__spec__.name if main.__spec__ else Path(getattr(main, "__file__", None) or "__main__").stem


def encoded(error: BaseException) -> bytes:
    """Return what is reported of an exception; nothing if that is too long."""
    data = json.dumps(_tree(error)).encode()
    return data if len(data) <= LIMIT else b""


def _tree(error: BaseException) -> dict[str, Any]:
    after = getattr(error, "after", None)
    members: list[dict[str, Any]] = []
    for member in members_of(error):
        if (tree := _tree(member)) not in members:
            members.append(tree)
    return {
        "names": [name_of(cls) for cls in type(error).__mro__],
        "after": after.total_seconds() if isinstance(after, timedelta) else None,
        "members": members,
    }


def members_of(error: BaseException) -> Sequence[BaseException]:
    """Return the members of an exception group, of another exception none."""
    try:
        return error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    except Exception:  # noqa: BLE001 - a subclass of the user's may raise anything
        return ()


def decoded(report: str) -> RaisedInChild | None:
    """Return what a child has reported; None if that is nothing, or malformed: a descendant may write anything."""
    try:
        return _raised(json.loads(report))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _raised(tree: dict[str, Any]) -> RaisedInChild:
    after = None if tree["after"] is None else span(tree["after"])
    return RaisedInChild(frozenset(map(str, tree["names"])), after, [_raised(member) for member in tree["members"]])
