"""Where a configuration is defined: the file whose folder its store is in, unless that can't be a place for data."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

NO_FILE = "the crons are defined in no file"
A_MAPPING = "a mapping that is handed over is in no file"

_INSTALLED = frozenset({"site-packages", "dist-packages"})

PLAIN = (str, int, float)
"""The types of settings, but for `BACKEND`. `APP = FastAPI()` in the module of an application is none."""


class Origin(NamedTuple):
    """What defines a configuration.

    Args:
        file: The file, absolute, its links not resolved; None without one.
        names: What else is defined there, by name.
        without: Why there is no file, for messages.
    """

    file: Path | None = None
    names: Mapping[str, object] = {}
    without: str = NO_FILE

    @property
    def folder(self) -> Path | None:
        """The folder of the file."""
        return self.file and self.file.parent

    def constants(self, known: frozenset[str]) -> dict[str, object]:
        """Return the settings beside the crons, by name, of those that are known."""
        found = {name: self.names[name] for name in known & self.names.keys()}
        return {name: value for name, value in found.items() if name == "BACKEND" or isinstance(value, PLAIN)}

    def unfit(self) -> str | None:
        """Return why the folder can't be a place for data; None if it can. Blocks."""
        if self.file is None:
            return self.without
        if not self.file.is_file():
            inside = any(folder.is_file() for folder in self.file.parents)
            return f"'{self.file}' is {'inside of an archive' if inside else 'no file'}"
        if getattr(sys, "frozen", False) and any(map(self.file.is_relative_to, _frozen())):
            return f"'{self.file}' is part of a frozen program"
        if _INSTALLED & {*self.file.parts} or self.file.is_relative_to(Path(os.__file__).parent):
            return f"'{self.file}' is an installed package"
        return None


def _frozen() -> list[str]:
    """Return the folders that a frozen program is unpacked or installed in."""
    return [*filter(None, [getattr(sys, "_MEIPASS", None)]), str(Path(sys.executable).parent)]


def origin_of(made: object) -> Origin:
    """Return the origin of an object that is being made, by the first caller outside of pseudocron.

    The constructors of the object itself are passed over: those of subclasses, class methods and metaclasses.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  as `logging` and `warnings` do
    while frame is not None and (_is_ours(frame) or _constructs(frame, made)):
        frame = frame.f_back
    return origin_in(frame.f_globals) if frame else Origin()


def origin_in(names: Mapping[str, object]) -> Origin:
    """Return the origin of what is defined in a module.

    Args:
        names: The names of the module.
    """
    file = names.get("__file__")
    return Origin(Path(file).absolute() if isinstance(file, str) and file else None, names)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "pseudocron"


def _constructs(frame: FrameType, made: object) -> bool:
    """Return whether a frame is that of a method of the object, its class or its metaclass."""
    if not frame.f_code.co_argcount:
        return False
    first = frame.f_locals.get(frame.f_code.co_varnames[0])
    return first is made or (isinstance(first, type) and isinstance(made, first) and first is not object)
