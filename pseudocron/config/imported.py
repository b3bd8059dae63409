"""Which modules of targets have changed since they were imported: reading a file again does not import them again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pseudocron.config.files import signature
from pseudocron.targets import Function

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pseudocron.config.files import Signature
    from pseudocron.targets import Target


class Imported:
    """The modules that the targets of a config file are from, with the versions of their files."""

    def __init__(self) -> None:
        self._versions: dict[str, Signature | None] = {}

    def changed(self, targets: Iterable[Target]) -> list[str]:
        """Return the names of the modules whose files have changed since this saw them first; each version once."""
        changed = []
        for name, file in sorted(_modules(targets)):
            version = signature(Path(file))
            if self._versions.setdefault(name, version) != version:
                self._versions[name] = version
                changed.append(name)
        return changed


def _modules(targets: Iterable[Target]) -> set[tuple[str, str]]:
    """Return the names and files of modules that are imported; a config file itself is none."""
    functions = [target for target in targets if isinstance(target, Function)]
    names = {name for one in functions for name in (one.ref.partition(":")[0], getattr(one.call, "__module__", None))}
    files = {name: getattr(sys.modules.get(name or ""), "__file__", None) for name in names}
    return {(name, file) for name, file in files.items() if name and file and name != "__main__"}
