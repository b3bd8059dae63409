"""The settings that all processes of an application must agree on, and where each of them comes from."""

from __future__ import annotations

import os
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pseudocron.backends import Durability, Store, located, wrong_with
from pseudocron.backends.contract import Backend
from pseudocron.config.values import Check, above_zero, application, flag, from_zero, one_of, text, whole, zone
from pseudocron.dataclass import dataclass
from pseudocron.errors import ConfigError, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pseudocron.config.origin import Origin

DAY = 86400
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all processes that share a store must agree on.

    Args:
        cron_max_time: Seconds between two looks when nothing is due sooner.
        backend: The URL of the store, a `Backend`, or what makes a Redis client. A relative `file:FOLDER` counts from
            `folder`.
        durability: What a change outlives once it is stored: "power" a power cut, "process" any death of a process.
        app: The name under which everything in the store is kept.
        tz: The IANA time zone of the crons that name none.
        drain: Seconds that runs have to end in at shutdown.
        concurrency: How many runs one process has going at once.
        lease: Seconds after which a claim is void unless renewed.
        history: How many runs of each cron are kept.
        retention: Seconds for which jobs are kept after their end.
        retention_failed: The same of jobs that failed, timed out, were interrupted or lost.
        enabled: False switches everything off: nothing runs, and deferred jobs are kept in the process.
        folder: What relative backends and scripts count from: that of `Crons`, else that of the file that defines the
            crons, else the working one.
        origin: What defines the crons; None if `Crons` names a folder.
        named: Whether `app` was set, and is not the default.
    """

    cron_max_time: float = 60
    backend: Store = "file:.pseudocron"
    durability: Durability = "power"
    app: str = "pseudocron"
    tz: str = "UTC"
    drain: float = 5
    concurrency: int = 10
    lease: float = 30
    history: int = 20
    retention: float = 7 * DAY
    retention_failed: float = 30 * DAY
    enabled: bool = True
    folder: Path = field(default_factory=Path.cwd)
    origin: Origin | None = field(default=None, repr=False, compare=False)
    named: bool = field(default=False, repr=False, compare=False)

    @property
    def store(self) -> str:
        """What to call the store for people: a folder by its absolute path, never a password."""
        return located(self.backend, app=self.app, folder=self.folder)


def _number(said: str) -> object:
    for kind in (int, float):
        try:
            return kind(said)
        except ValueError:
            continue
    return said


def _word(said: str) -> object:
    words: dict[str, object] = {"0": False, "false": False, "no": False, "off": False}
    words |= {"1": True, "true": True, "yes": True, "on": True}
    return words.get(said.strip().lower(), said)


def _store(value: object) -> Store:
    store: Store = value if isinstance(value, Backend) or callable(value) else text(value)
    if why := wrong_with(store):
        raise ValueError(why)
    return store


def is_switched_off() -> bool:
    """Return whether `PSEUDOCRON_ENABLED` says that nothing runs and nothing is stored."""
    return _word(os.environ.get("PSEUDOCRON_ENABLED", "1")) is False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """One line of the table: how a setting is checked, and how the environment's text is read."""

    name: str
    check: Check
    read: Callable[[str], object] = _number
    variables: tuple[str, ...] = ()
    in_files: bool = True

    @property
    def all_variables(self) -> tuple[str, ...]:
        """The names of its variables, the one that counts first."""
        return (f"PSEUDOCRON_{self.name.upper()}", *self.variables)

    def sources(
        self, given: Mapping[str, object], environ: Mapping[str, str], file: Mapping[str, object], where: str
    ) -> Iterator[tuple[str, object]]:
        """Yield each value given for this setting with its origin for messages, the strongest first."""
        if given.get(self.name) is not None:
            yield f"Crons: {self.name}", given[self.name]
        for variable in self.all_variables:
            if variable in environ:
                yield f"${variable}", self.read(environ[variable])
        for written in (self.name.upper(), self.name):
            if written in file:
                yield f"{where}: {written}", file[written]


_SETTINGS = (
    _Setting(name="cron_max_time", check=above_zero, variables=("CRON_MAX_TIME",)),
    _Setting(name="backend", check=_store, read=str),
    _Setting(name="durability", check=one_of(*get_args(Durability)), read=str),
    _Setting(name="app", check=application, read=str),
    _Setting(name="tz", check=zone, read=str),
    _Setting(name="drain", check=from_zero),
    _Setting(name="concurrency", check=whole(1)),
    _Setting(name="lease", check=above_zero),
    _Setting(name="history", check=whole(1)),
    _Setting(name="retention", check=from_zero),
    _Setting(name="retention_failed", check=from_zero),
    _Setting(name="enabled", check=flag, read=_word, in_files=False),
)

IN_FILES = frozenset(setting.name.upper() for setting in _SETTINGS if setting.in_files)
"""The names that a config file may set; TOML may write them in lower case too."""

VARIABLES = frozenset(variable for setting in _SETTINGS for variable in setting.all_variables)
"""The variables of the environment that are read."""


def gather(
    given: Mapping[str, object],
    *,
    file: Mapping[str, object] | None = None,
    where: str = "",
    folder: Path | None = None,
    origin: Origin | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Take each setting from the first that has it: what is given, the environment, the config file, the default.

    Args:
        given: The arguments of `Crons(...)`; None means not given.
        file: What the config file says, by upper- or lower-case name; of the names in `IN_FILES`.
        where: The config file's name, for messages.
        folder: What relative paths count from; the working folder if None.
        origin: What defines the crons, if that decides on the folder.
        environ: The environment; that of this process if None.

    Raises:
        ConfigError: A value is wrong; only the value that counts is looked at.
    """
    environ = os.environ if environ is None else environ
    chosen: dict[str, Any] = {}
    for setting in _SETTINGS:
        for source, value in setting.sources(given, environ, file or {}, where):
            chosen[setting.name] = checked(setting.check, value, source)
            break
    return Settings(**chosen, folder=folder or Path.cwd(), origin=origin, named="app" in chosen)


def checked(check: Check, value: object, origin: str) -> Any:
    """Return what a value means, or raise a `ConfigError` that begins with its origin."""
    try:
        return check(value)
    except ValueError as error:
        raise ConfigError(f"{origin}: {show(value)}: {error}") from None
