"""Whether a folder lies on a network file system, where a lock may hold for one machine only."""

from __future__ import annotations

import re
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
"""What is mounted where; only Linux has it."""

NETWORK = frozenset(
    {
        *("afs", "beegfs", "ceph", "cifs", "coda", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"),
        *("gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"),
    }
)
"""The types of file systems that other machines may have mounted too.

9p is left out: by it sandboxes and virtual machines see the disk of their own host.
"""

_OCTAL = re.compile(r"\\([0-7]{3})")


def network_type(folder: Path, table: Path | None = None) -> str | None:
    """Return the type of the network file system that a folder is on, or None if it is on none or that is not known.

    Args:
        folder: A folder that is there.
        table: What is mounted where, in the form of `/proc/self/mountinfo`; None for that of this process.
    """
    found = mounted_type(folder, table)
    return found if found in NETWORK else None


def mounted_type(folder: Path, table: Path | None = None) -> str | None:
    """Return the type of the file system that a folder is on, or None if that is not known. Arguments as above."""
    try:
        lines = (table or TABLE).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, found = folder.resolve(), ""
    deepest = -1
    for line in lines:
        mount, _, kind = line.partition(" - ")
        point = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), mount.split()[4]))
        # Of several at one place the last one covers the others.
        if place.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, found = len(point.parts), kind.split()[0]
    return found or None
