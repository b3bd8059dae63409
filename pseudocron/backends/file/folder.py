"""The folder of a store: made for this user alone, refused where others could plant a store, named in messages."""

from __future__ import annotations

from errno import EACCES, EDQUOT, EIO, EMFILE, ENFILE, ENOSPC, ENOTDIR, EPERM, EROFS
from typing import TYPE_CHECKING

from pseudocron.backends.file.mounts import network_type
from pseudocron.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

GATE = "cron.lock"
"""The lock file beside the store."""

OTHERS = 0o022
"""The mode bits of those who may write besides the owner."""

MENDS = {
    ENOTDIR: "move it away or name another folder",
    EACCES: "let this user write to it or name another folder",
    EPERM: "let this user write to it or name another folder",
    EROFS: "name a folder that can be written to",
    ENOSPC: "make room on its disk",
    EDQUOT: "make room on its disk",
}

PASSING = frozenset({ENOSPC, EDQUOT, EMFILE, ENFILE, EIO})


def prepare(store: Path) -> None:
    """Make the folder of a store, and those above it that are missing, for this user alone.

    A symbolic link is followed, as a deployment may keep its store beside its releases; it is the folder that it
    leads to which counts. What stands above the folder is the operator's business: `/tmp` may be there.

    Raises:
        BackendError: Others may write to the folder, and so put another store in the place of ours; or it lies on a
            network file system, where another machine's lock may not be ours; or a file of the store is a link.
        OSError: It can't be made.
    """
    folder = store.parent
    _make(folder)
    mode = folder.stat().st_mode & 0o7777
    if mode & OTHERS:
        raise BackendError(
            f"{named(store)} can't be used: others may write to its folder (mode {mode:04o}), "
            f"run 'chmod go-w {folder}' or name a folder below it"
        )
    kind = network_type(folder)
    if kind is not None:
        raise BackendError(
            f"{named(store)} can't be used: its folder is on a network file system ({kind}), where locks can't be "
            "relied on: name a local folder, or for several machines a Redis server, redis://HOST"
        )
    _refuse_links(store)


def _refuse_links(store: Path) -> None:
    """Raise `BackendError` if a file of the store is a symbolic link: nothing outside of its folder is used."""
    for name in (*(f"{store.name}{end}" for end in ("", "-wal", "-shm", "-journal")), GATE):
        if (store.parent / name).is_symlink():
            raise BackendError(
                f"{named(store)} can't be used: '{store.parent / name}' is a symbolic link: remove it, "
                "or name the folder where the store is to be"
            )


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    _make(folder.parent)
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        if folder.is_dir():  # another process was quicker
            return
        raise NotADirectoryError(ENOTDIR, "Not a folder", str(folder)) from None
    folder.chmod(0o700)  # whatever the umask took away


def named(store: Path) -> str:
    """Return a store for messages, and where its folder leads if that is a symbolic link."""
    try:
        return f"store '{store}' (its folder is a link to '{store.parent.readlink()}')"
    except OSError:  # it is none
        return f"store '{store}'"


def is_passing(error: OSError) -> bool:
    """Return whether the same call may succeed in a moment."""
    return error.errno in PASSING


def complaint(error: OSError, store: Path) -> str:
    """Return the operating system's complaint about a store, with the fix."""
    mend = f", {MENDS[error.errno]}" if error.errno in MENDS else ""
    return f"can't be used: {error.strerror}: '{error.filename or store}'{mend}"
