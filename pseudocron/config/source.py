"""Where a configuration comes from, and reading it again when its file changes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudocron.backends import named
from pseudocron.config.files import check_keys_of_module, read_file, signature
from pseudocron.config.imported import Imported
from pseudocron.config.origin import Origin, origin_in
from pseudocron.config.reading import Reading, told_if_slow
from pseudocron.config.settings import IN_FILES
from pseudocron.crons import Crons
from pseudocron.errors import ConfigError, PseudoCronError, TargetError, cause, show
from pseudocron.log import logger
from pseudocron.targets import is_path, load, loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from pseudocron.config.awaited import Awaited
    from pseudocron.config.files import Signature
    from pseudocron.config.settings import Settings

READ_WITHIN = 1.0
"""Seconds for which a poll waits for an edit to be read."""

_KINDS = "must be a path (.py or .toml), an import string 'package.module:crons', a mapping or a Crons"


def open_source(ref: object) -> Source:
    """Return the source that a reference names: a path, an import string, a mapping or a `Crons`.

    Never raises: what is wrong with the reference, `load` says.
    """
    if isinstance(ref, Crons):
        return Source("crons", lambda: ref)
    if isinstance(ref, Mapping):
        return Source("crons", lambda: Crons.read(ref, where="crons"))
    if isinstance(ref, PathLike) or (isinstance(ref, str) and is_path(ref, Path(), ".py", ".toml")):
        return FileSource(Path(ref))
    if isinstance(ref, str):
        return Source(ref, lambda: _imported(ref))
    return Source("crons", lambda: _refuse(ref))


class Source:
    """A configuration that is read once.

    Args:
        where: Its name, for messages.
        read: Makes the crons; blocks; raises `PseudoCronError`.

    Attributes:
        error: Why the latest edit was not taken over, in one line; None if there is nothing to tell.
        may_change: Whether `reload` may return other crons than `load`, and blocks.
    """

    may_change = False

    def __init__(self, where: str, read: Callable[[], Crons]) -> None:
        self.where = where
        self.error: str | None = None
        self._read = read
        self._crons: Crons | None = None

    def load(self) -> Crons:
        """Return the crons, all of them checked; they are read at the first call that succeeds. Blocks.

        Raises:
            ConfigError: The source, a setting or an entry is wrong.
            ScheduleError: A schedule is.
            TargetError: What an entry should run is not there.
        """
        if self._crons is None:
            with told_if_slow(logger.warning, self.where, None):
                self._crons = _checked(self._read())
        return self._crons

    def reload(self) -> Crons:
        """Return the crons as they are now, or the last good ones if an edit was bad. Blocks."""
        return self.load()


class FileSource(Source):
    """A configuration file. One that holds a mapping is read again when it changes.

    Args:
        path: The file, as it was named.
    """

    def __init__(self, path: Path) -> None:
        # Not resolved: where a symlink is swapped, the new file is the configuration.
        self._path = path.absolute()
        self._seen: Signature | None = None
        self._awaited: Awaited | None = None
        self._reading: Reading[Crons] | None = None
        self._lock = threading.Lock()
        self._imported = Imported()
        self.may_change = True
        super().__init__(str(path), self._read_file)

    def load(self) -> Crons:
        """See `Source.load`."""
        if self._crons is None:
            self._crons = self._read_new(logger.warning)
            self._imported.changed(cron.target for cron in self._crons)
        return self._crons

    def reload(self) -> Crons:
        """Return the crons as they are now, or after a second the last good ones, while an edit is still being read.

        A bad edit is executed and logged once, and stays in `error` until a good one, or until a file that it has
        failed in or missed has changed.
        """
        before = self.load()
        if not self.may_change:
            return before
        with self._lock:
            reading = self._reading = self._reading_of(signature(self._path))
        if reading is None or not reading.ends_within(READ_WITHIN):
            return before
        with self._lock:
            if self._reading is reading:  # no other thread was quicker
                self._reading = None
                self._crons = self._taken_over(reading, before)
        return self.load()

    def _reading_of(self, version: Signature | None) -> Reading[Crons] | None:
        """Return the read of the present version that is under way or begins now; None if it was read before."""
        if self._reading is not None and self._reading.version == version:
            return self._reading
        if version == self._seen and self._reading is None and not (self._awaited and self._awaited.has_changed):
            return None
        try:
            return Reading(lambda: self._read_new(self._tell), version)
        except RuntimeError:  # no thread is to be had
            return None

    def _read_new(self, tell: Callable[[str], None]) -> Crons:
        with told_if_slow(tell, self.where, str(self._path)):
            return _checked(self._read())

    def _tell(self, line: str) -> None:
        self.error = line
        logger.error("%s (the last good configuration stays)", line)

    def _taken_over(self, reading: Reading[Crons], before: Crons) -> Crons:
        try:
            after = reading.result()
        except Exception as error:  # noqa: BLE001 - what runs must go on
            from pseudocron.config.awaited import Awaited  # noqa: PLC0415  only after a bad edit

            self._awaited = Awaited(error)
            line = str(error) if isinstance(error, PseudoCronError) else f"{self.where}: {cause(error)}"
            if line != self.error:
                self._tell(line)
            return before
        self.error = self._awaited = None
        logger.info("%s: read again, crons: %d", self.where, len(after))
        if changed := self._imported.changed(cron.target for cron in after):
            names = ", ".join(changed)
            logger.warning("%s: not read again, though changed: %s; restart to run the new code", self.where, names)
        self._keep_store(before.settings, after)
        return after

    def _read_file(self) -> Crons:
        # Before the contents: an edit in between is then read again.
        self._seen = signature(self._path)
        contents = read_file(self._path, self.where)
        if self._crons is None:
            self.may_change = not isinstance(contents.crons, Crons)
        crons = contents.crons
        if not isinstance(crons, Crons):
            return Crons.read(crons, where=self.where, origin=Origin(self._path), file=contents.settings)
        _refuse_elsewhere(crons, contents.settings, self.where)
        crons._locate(self.where)
        return crons

    def _keep_store(self, before: Settings, after: Crons) -> None:
        """Keep the store, which is open, and log that another one needs a restart."""
        for setting in ("backend", "app"):
            old, new = _comparable(getattr(before, setting)), _comparable(getattr(after.settings, setting))
            if old != new:
                logger.warning("%s: %s: %r: needs a restart, %r stays", self.where, setting, new, old)
        after._pin(backend=before.backend, app=before.app, named=before.named)


def _comparable(value: Any) -> str:
    """Return a setting as text: a backend or a function that is made each time the file is read is the same to us."""
    return value if isinstance(value, str) else named(value)


def _checked(crons: Crons) -> Crons:
    """Read all crons and tasks once, so that what is wrong is raised now, and return the same crons."""
    _ = crons.settings, tuple(crons), crons.tasks
    return crons


def _refuse_elsewhere(crons: Crons, settings: Mapping[str, object], where: str) -> None:
    """Raise `ConfigError` for settings beside a `Crons` from another file, as only this path would lead to them."""
    there = crons._origin
    for name, value in settings.items():
        if name not in there.names or there.names[name] is not value:
            raise ConfigError(f"{where}: {name}: has no effect here; set it in {there.file}, or by Crons(...)")


def _imported(ref: str) -> Crons:
    if ":" not in ref and loads(f"{ref}:crons"):
        raise ConfigError(f"{show(ref)}: {_KINDS}, did you mean {f'{ref}:crons'!r}?")
    try:
        found = load(ref)
    except TargetError as error:
        mend = "" if ":" in ref else f"; {_KINDS}"
        raise ConfigError(f"{error}{mend}") from error
    if isinstance(found, Crons):
        found._locate(ref)
        return found
    if isinstance(found, Mapping):
        check_keys_of_module(ref)
        origin = origin_in(vars(sys.modules[ref.partition(":")[0]]))
        return Crons.read(found, where=ref, origin=origin, file=origin.constants(IN_FILES))
    raise ConfigError(f"{ref}: is of type {type(found).__name__}, must be a mapping or a Crons")


def _refuse(ref: object) -> Crons:
    raise ConfigError(f"crons: {show(ref)}: {_KINDS}")
