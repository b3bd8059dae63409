"""A file whose mtime says when somebody last entered, and that only one process at a time may date anew."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from contextlib import contextmanager, suppress
from errno import EDQUOT, EIO, EMFILE, ENFILE, ENOSPC
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from pseudocron.clock import monotonic
from pseudocron.dataclass import dataclass
from pseudocron.errors import BackendAwayError, BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NANO = 1_000_000_000
PASSING = frozenset({ENOSPC, EDQUOT, EMFILE, ENFILE, EIO})
"""The errors after which the same call may succeed in a moment."""
REOPENINGS = 5
"""How often a file that somebody deletes under our hands is opened again."""
PATIENCE = 1.0
"""Seconds for which `lower` tries to get the lock."""
PAUSE = 0.002
"""Seconds between its tries."""

_LOCKER = "pseudocron._portalocker"
"""The name of the package as part of which the one module that is needed of portalocker is imported."""


@dataclass(frozen=True, slots=True)
class LockFile:
    """The file at `path`. It blocks, for microseconds; it is made when first checked or entered, and never deleted.

    Times are written explicitly: a plain touch stamps the kernel's coarse clock, up to 4 ms in the past, and
    the next process then finds the file stale that much too early.

    Args:
        path: Where the file is; its folder must exist.
        now_ns: The wall clock in nanoseconds since the Unix epoch, the same for all who share the file.

    Every method raises `BackendError` if the file can't be used.
    """

    path: Path
    now_ns: Callable[[], int] = time.time_ns

    def check(self) -> None:
        """See that the file can be used, making it where there is none, without entering."""
        with self._named():
            os.close(self._open(make=True))

    def fresh_for(self, max_age: float) -> float:
        """Return the seconds until the file turns stale, or 0 if it is stale.

        It is stale when it is missing, dated `max_age` seconds ago or longer, or dated in the future.
        """
        with self._named():
            try:
                status = self.path.stat()
            except FileNotFoundError:
                return 0.0
            _demand_file(status)
        # The clock is read after the mtime: the other way round, a file that somebody enters in between
        # would seem to be dated in the future.
        return _left(status.st_mtime_ns, self.now_ns(), max_age) / NANO

    def dated(self) -> int | None:
        """Return its mtime in nanoseconds; None if it is missing."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 - half the time of `Path.stat`, and asked with every verb
            _demand_file(status)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._wrong(error) from error
        return status.st_mtime_ns

    def date(self, mtime_ns: int) -> None:
        """Set its mtime, whoever has the lock; does nothing if it is missing."""
        with self._named(), suppress(FileNotFoundError):
            os.utime(self.path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    @contextmanager
    def tried(self) -> Iterator[bool]:
        """Try to hold the lock for as long as the context lasts, without waiting; yield whether that has succeeded."""
        with self._named():
            fd = self._lock(make=True)
        try:
            yield fd is not None
        finally:
            if fd is not None:
                with self._named():
                    _release(fd)

    def enter(self, max_age: float) -> bool:
        """Date the file now if it is stale; of any number that find it stale at once, exactly one gets True.

        Who can't get the lock does not enter: the one who has it does.
        """
        with self._named(), self._locked(make=True) as fd:
            if fd is None:
                return False
            mtime = os.fstat(fd).st_mtime_ns
            now = self.now_ns()
            if _left(mtime, now, max_age):
                return False
            os.utime(fd, ns=(now, now))
            return True

    def lower(self, due_ns: int, max_age: float) -> None:
        """Let the file turn stale at `due_ns` (since the Unix epoch) if that is sooner; never later.

        Waits up to a second for the lock: what is due must not be forgotten.
        """
        target = due_ns - round(max_age * NANO)
        deadline = monotonic() + PATIENCE
        with self._named():
            # One that is stale by then needs no lock: who enters it from now on has yet to look.
            while self._is_later(due_ns, target) and not self._lowered(due_ns, target):
                if monotonic() > deadline:
                    raise TimeoutError(0, f"locked by another process for over {PATIENCE:g} s")
                time.sleep(PAUSE)

    def _is_later(self, due_ns: int, target: int) -> bool:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        _demand_file(status)
        return self._would_help(status.st_mtime_ns, due_ns, target)

    def _would_help(self, mtime: int, due_ns: int, target: int) -> bool:
        # A date in the future is stale now, and fresh when the clock has come to it. It gives way to what is due now
        # only: dated by anything later the file would be fresh at once.
        now = self.now_ns()
        return target < mtime and (mtime <= now or due_ns <= now)

    def _lowered(self, due_ns: int, target: int) -> bool:
        """Date the file earlier if that helps; return False only if the lock is taken."""
        try:
            with self._locked(make=False) as fd:
                if fd is None:
                    return False
                if self._would_help(os.fstat(fd).st_mtime_ns, due_ns, target):
                    os.utime(fd, ns=(target, target))
                return True
        except FileNotFoundError:
            return True

    @contextmanager
    def _locked(self, *, make: bool) -> Iterator[int | None]:
        """Yield a descriptor of the file at `path`, locked, or None if the lock is taken."""
        fd = self._lock(make=make)
        try:
            yield fd
        finally:
            if fd is not None:
                _release(fd)

    def _lock(self, *, make: bool) -> int | None:
        for _ in range(REOPENINGS):
            fd = self._open(make=make)
            try:
                locked = _try_lock(fd)
                if locked and self._is_at_path(fd):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            if not locked:
                break
        return None

    def _open(self, *, make: bool) -> int:
        if make and not self.path.exists():
            self._make()
        fd = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            _demand_file(os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _make(self) -> None:
        """Make the file, dated 1970.

        It is dated before it gets its name: dated by its making it would be fresh, though nobody entered.
        """
        unnamed = self.path.with_name(f"{self.path.name}.{os.getpid()}.{threading.get_ident()}")
        fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(fd, 0o600)  # whatever the umask took away
            os.utime(fd, ns=(0, 0))
            with suppress(FileExistsError):
                os.link(unnamed, self.path)
        finally:
            os.close(fd)
            unnamed.unlink()

    def _is_at_path(self, fd: int) -> bool:
        """Return whether the file we locked is still the one that the others will find."""
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file in whatever goes wrong with it."""
        try:
            yield
        except OSError as error:
            raise self._wrong(error) from error

    def _wrong(self, error: OSError) -> BackendError:
        why = error.strerror or error
        kind = BackendAwayError if isinstance(error, TimeoutError) or error.errno in PASSING else BackendError
        return kind(f"can't use the lock file '{self.path}': {why}; mend its path or mode")


def _left(mtime: int, now: int, max_age: float) -> int:
    """Return the nanoseconds until a file dated `mtime` turns stale, or 0 if it is stale."""
    return 0 if mtime > now else max(0, mtime + round(max_age * NANO) - now)


def _demand_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a file")


def _release(fd: int) -> None:
    # Closing is not enough: a child forked meanwhile has a copy, and would keep the lock.
    try:
        _portalocker().unlock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    portalocker = _portalocker()
    try:
        portalocker.lock(fd, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.exceptions.AlreadyLocked:
        return False
    except portalocker.exceptions.LockException as error:
        raise OSError(0, error.strerror or str(error)) from error
    return True


@cache
def _portalocker() -> ModuleType:
    """Return the module of portalocker that locks; imported when first needed, and without its package.

    The package imports its Redis lock, and by that all of `redis` where it is installed: 300 modules, 9 MiB. So the
    module is imported as part of a package of ours that has the same folder. The application's own
    `import portalocker` finds nothing changed.
    """
    spec = None if "portalocker" in sys.modules else find_spec("portalocker")
    if spec and spec.submodule_search_locations:
        package = ModuleType(_LOCKER)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules.setdefault(_LOCKER, package)
        # A portalocker whose modules need their package is imported with it.
        with suppress(ImportError):
            return import_module(f"{_LOCKER}.portalocker")
    from portalocker import portalocker  # noqa: PLC0415  rarely needed

    return portalocker
