"""Whether a folder may be gone, or another one, after the next deployment or restart."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pseudocron.backends.file.mounts import mounted_type

if TYPE_CHECKING:
    from collections.abc import Iterator

RELEASES = frozenset({"releases", "versions", "deploys", "deployments"})
"""Folders with a folder for each release."""

CURRENT = ("current", "live", "latest", "active", "production")
"""Links to the release that is in use, beside the releases or beside the folder with them."""

LAYERS = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs", "squashfs"})
"""The types of the file systems of images. What a container writes there ends with it."""

IN_MEMORY = frozenset({"tmpfs", "ramfs"})

TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  nothing is written there

_NUMBERED = re.compile(r"v?\d[\w.-]*|[0-9a-f]{7,40}", re.IGNORECASE)
"""A number, a version, a moment or a commit."""

FIX = "set Crons(folder=...) or PSEUDOCRON_BACKEND=file:/FOLDER to a folder that stays, such as /var/lib/shop"


def risks(folder: Path, table: Path | None = None) -> list[str]:
    """Return why a store in a folder may be lost, a line each, with the fix. Blocks.

    Args:
        folder: The folder, absolute; it need not be there.
        table: What is mounted where, as for `network_type`.
    """
    return [f"store '{folder}': {risk}; {FIX}" for risk in _risks(folder.resolve(), table)]


def _risks(place: Path, table: Path | None) -> Iterator[str]:
    release = next(filter(_is_release, (place, *place.parents)), None)
    if release is not None:
        yield f"is inside of the release '{release}', so each release starts with an empty store"
    temporary = {Path(name).resolve() for name in (tempfile.gettempdir(), *TEMPORARY)}
    kind = mounted_type(next(one for one in (place, *place.parents) if one.is_dir()), table)
    if any(map(place.is_relative_to, temporary)) or kind in IN_MEMORY:
        yield "is in a temporary folder, which is emptied at times"
    elif kind in LAYERS:
        yield f"is in the layer of an image ({kind}), and ends with the container; mount a volume"


def _is_release(folder: Path) -> bool:
    """Return whether a folder looks like one release of several."""
    if folder.parent.name in RELEASES and _NUMBERED.fullmatch(folder.name):
        return True
    links = (above / name for above in (folder.parent, folder.parent.parent) for name in CURRENT)
    targets = [Path(os.path.realpath(link)) for link in links if link.is_symlink()]
    return any(target.parent == folder.parent and target.is_dir() for target in targets)
