"""What has to change before a failed read of a configuration is worth another one."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from pseudocron.config.files import signature

if TYPE_CHECKING:
    from collections.abc import Iterator

_PSEUDOCRON = str(Path(__file__).parents[1])
_STDLIB = os.path.dirname(os.__file__)  # noqa: PTH120 - compared with names of files as text


class Awaited:
    """The files that an error came from, and what it has missed.

    Args:
        error: Why the read failed.
    """

    def __init__(self, error: BaseException) -> None:
        causes = list(_causes(error))
        self._files = sorted({file for cause in causes for file in _files(cause)})
        self._modules = sorted(
            {cause.name for cause in causes if isinstance(cause, ModuleNotFoundError) and cause.name}
        )
        self._before = self._state()

    @property
    def has_changed(self) -> bool:
        """Whether any of it is another one now. Reads the disk, and executes nothing."""
        return self._state() != self._before

    def _state(self) -> tuple[object, ...]:
        if self._modules:
            importlib.invalidate_caches()
        return (*(signature(Path(file)) for file in self._files), *map(_is_there, self._modules))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _files(error: BaseException) -> Iterator[str]:
    """Yield the files that an error came through or names."""
    if isinstance(error, SyntaxError) and error.filename:
        yield error.filename
    if isinstance(error, ImportError) and error.path:
        yield error.path
    traceback = error.__traceback__
    while traceback:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith((_PSEUDOCRON, _STDLIB)):
            yield file
        traceback = traceback.tb_next


def _is_there(name: str) -> bool:
    """Return whether a module can be found by now; its package must have been imported."""
    package = name.rpartition(".")[0]
    if not package:
        return PathFinder.find_spec(name) is not None
    path = getattr(sys.modules.get(package), "__path__", None)
    return path is not None and PathFinder.find_spec(name, path) is not None
