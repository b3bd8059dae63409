"""Crons: the collection of crons and tasks, from code, mappings and config files."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from pseudocron.config.entries import (
    Entry,
    defined,
    read_entry,
    read_options,
    spell_every,
)
from pseudocron.config.origin import A_MAPPING, Origin, origin_of
from pseudocron.config.settings import IN_FILES, Settings, checked, gather
from pseudocron.config.values import cron_name, folder_path
from pseudocron.cron import Cron, build
from pseudocron.errors import ConfigError, PseudoCronError, UnknownCronError, did_you_mean, show
from pseudocron.hooks.registry import HookRegistry
from pseudocron.jobs.registry import TaskRegistry
from pseudocron.jobs.tasks import undecorated
from pseudocron.targets import caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike

    from pseudocron.backends import Durability, Store
    from pseudocron.config.entries import Options
    from pseudocron.config.values import Duration
    from pseudocron.hooks import Hooks

__all__ = ["Cron", "Crons"]

F = TypeVar("F", bound="Callable[..., Any]")


class Crons(TaskRegistry, HookRegistry):
    """The crons and tasks of an application, in order of definition, and its settings.

    A setting that is not given here comes from the environment, else from the config file, else it is the
    default; see `Settings`.

    A relative `backend`, and relative scripts, count from `folder`, by default the folder of the file that calls
    `Crons()`. A relative `folder` counts from there too.

    Targets and schedules are resolved when the crons are first read, so that a module can name its own functions while
    it is still being imported.

    Raises:
        ConfigError: A setting is wrong.
    """

    def __init__(
        self,
        *,
        backend: Store | None = None,
        durability: Durability | None = None,
        app: str | None = None,
        tz: str | None = None,
        cron_max_time: Duration | None = None,
        drain: Duration | None = None,
        concurrency: int | None = None,
        lease: Duration | None = None,
        history: int | None = None,
        retention: Duration | None = None,
        retention_failed: Duration | None = None,
        folder: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self._given: dict[str, object] = {
            "backend": backend,
            "durability": durability,
            "app": app,
            "tz": tz,
            "cron_max_time": cron_max_time,
            "drain": drain,
            "concurrency": concurrency,
            "lease": lease,
            "history": history,
            "retention": retention,
            "retention_failed": retention_failed,
        }
        gather(self._given, environ={}, folder=Path())  # checked now; used later, with its real folder
        self._given_folder = None if folder is None else checked(folder_path, folder, "Crons: folder")
        self._entries: dict[str, Entry] = {}
        self._settings: Settings | None = None
        self._crons: dict[str, Cron] = {}
        self._origin = origin_of(self)
        self._locate("")

    @classmethod
    def read(
        cls,
        entries: Mapping[Any, object],
        *,
        where: str,
        origin: Origin = Origin(without=A_MAPPING),  # noqa: B008  immutable
        file: Mapping[str, object] | None = None,
    ) -> Crons:
        """Return crons from a mapping of names to entries.

        Args:
            entries: `(target, schedule)`, `(target, schedule, last_run)` or a mapping, by name.
            where: Name of the mapping, for messages.
            origin: What defines the mapping.
            file: Settings from the file of the mapping.

        Raises:
            ConfigError: An entry or one of its options is wrong.
        """
        crons = cls()
        crons._locate(where, origin, file=file or {})
        for name, value in entries.items():
            with crons._naming(name):
                crons._define(name, read_entry(value))
        return crons

    def _locate(self, where: str, origin: Origin | None = None, *, file: Mapping[str, object] | None = None) -> None:
        """Set the name for messages, what defines these crons, and the settings in its file.

        Args:
            where: The name.
            origin: What defines them; None keeps what it is.
            file: The settings; None for the constants beside the crons.
        """
        self._where, self._file = where, file
        self._origin = origin or self._origin
        self._settings = None
        self._manager.settled = False
        self._crons.clear()

    def _pin(self, *, backend: Store, app: str, named: bool = True, cron_max_time: float | None = None) -> None:
        """Stay with a store, and with a `CRON_MAX_TIME` if it is given, whatever the settings say of them."""
        settings = self.settings
        longest = settings.cron_max_time if cron_max_time is None else cron_max_time
        self._settings = replace(settings, backend=backend, app=app, named=named, cron_max_time=longest)
        self._manager.settled = False

    @property
    def settings(self) -> Settings:
        """The settings; the environment is read at first use."""
        if self._settings is None:
            self._settings = self._gather()
        return self._settings

    def _gather(self) -> Settings:
        origin, given = self._origin, self._given_folder
        file = origin.constants(IN_FILES) if self._file is None else self._file
        where = self._where or str(origin.file)
        folder = (origin.folder or Path.cwd()) / (given or "")
        is_sure = given is not None and given.is_absolute()
        return gather(self._given, file=file, where=where, folder=folder, origin=None if is_sure else origin)

    def every(
        self,
        schedule: object = None,
        *,
        name: str | None = None,
        tz: str | None = None,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        **options: Unpack[Options],
    ) -> Callable[[F], F]:
        """Run the decorated function regularly: `every(300)`, `every("day at 02:00")`, `every(minutes=5)`.

        The function is returned unchanged.

        Args:
            schedule: Seconds, a `timedelta`, or words, with or without "every".
            name: Name of the cron; the name of the function if None.
            tz: IANA time zone of times of day; the setting `tz` if None.
            weeks: Part of an interval.
            days: Part of an interval, each of 24 hours.
            hours: Part of an interval.
            minutes: Part of an interval.
            seconds: Part of an interval.
            options: See `Cron`.

        Raises:
            ConfigError: An option or the interval is wrong, or the name is taken.
        """
        units = {"weeks": weeks, "days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
        return self._decorator(name, spell_every(schedule, units), tz, options)

    def cron(
        self,
        expression: str,
        *,
        name: str | None = None,
        tz: str | None = None,
        **options: Unpack[Options],
    ) -> Callable[[F], F]:
        """Run the decorated function by a cron expression: `cron("0 2 * * *", tz="Asia/Shanghai")`.

        Arguments and errors are those of `every`.
        """
        return self._decorator(name, expression, tz, options)

    def add(
        self,
        name: str,
        target: object,
        schedule: object,
        *,
        tz: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Add a cron whose target is a callable, an import string or the path of a script.

        Raises:
            ConfigError: An option is wrong, or the name is taken.
        """
        with self._naming(name):
            checked = read_options({**options, "tz": tz})
            target = undecorated(target)
            self._define(name, Entry(target=target, schedule=schedule, options=checked, place=caller()))

    def _decorator(self, name: str | None, schedule: object, tz: str | None, options: Options) -> Callable[[F], F]:
        def decorate(function: F) -> F:
            self.add(
                getattr(function, "__name__", "") if name is None else name,
                function,
                schedule,
                tz=tz,
                **options,
            )
            return function

        return decorate

    def _define(self, name: object, entry: Entry) -> None:
        try:
            name = cron_name(name)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if name in self._entries:
            raise ConfigError(defined(self._entries[name].place, self._entries[name].target, entry.target))
        self._entries[name] = entry
        self._version += 1
        if self._crons:
            self._at_once(name)

    def _at_once(self, name: str) -> None:
        """Resolve a cron that is added after the first read, so that `add` raises its errors, and not the next poll."""
        try:
            self._crons[name] = build(name, self._entries[name], self.settings, self._hooks)
        except PseudoCronError:
            del self._entries[name]
            raise

    @contextmanager
    def _naming(self, name: object) -> Iterator[None]:
        """Start the message of an error with the file and the entry."""
        try:
            yield
        except PseudoCronError as error:
            where = f"{self._where}: " if self._where else ""
            raise type(error)(f"{where}{show(name)}: {error}") from error

    def __getitem__(self, name: str) -> Cron:
        if name not in self._entries:
            known = did_you_mean(name, self._entries)
            if name in self._tasks:
                known = f": it is a task, which is run by a job: pseudocron defer {name}"
            raise UnknownCronError(f"there is no cron {show(name)}{known}")
        if name not in self._crons:
            with self._naming(name):
                self._crons[name] = build(name, self._entries[name], self.settings, self._hooks)
        return self._crons[name]

    def _hooks_of(self, name: str) -> Hooks:
        """Return the hooks of a cron, which may be gone from the configuration."""
        return self[name]._hooks if name in self else self._hooks

    def __iter__(self) -> Iterator[Cron]:
        is_read = len(self._crons) == len(self._entries)
        return map((self._crons if is_read else self).__getitem__, tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries
