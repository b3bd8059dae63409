"""What an entry runs: a script's path, or a callable that is at hand or named by an import string."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Script:
    """A file that runs in a child process."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Function:
    """A callable, and the import string `package.module:function` by which a child process finds it."""

    call: Callable[..., Any]
    ref: str

    def __str__(self) -> str:
        return self.ref


Target = Script | Function
