"""Crons: the collection of crons and tasks, from code, mappings and config files."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from pseudocron.config.entries import (
    Entry,
    check_parcel,
    check_surroundings,
    in_process,
    read_entry,
    read_options,
    spell_every,
)
from pseudocron.config.settings import Settings, gather
from pseudocron.config.values import cron_name
from pseudocron.cron import Cron
from pseudocron.errors import ConfigError, PseudoCronError, UnknownCronError, did_you_mean, show
from pseudocron.hooks import own_hooks
from pseudocron.hooks.registry import HookRegistry
from pseudocron.jobs.registry import TaskRegistry
from pseudocron.jobs.tasks import undecorated
from pseudocron.schedule import Interval, parse
from pseudocron.targets import describe, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pseudocron.backends import Durability, Store
    from pseudocron.config.entries import Options
    from pseudocron.hooks import Hooks

__all__ = ["Cron", "Crons"]

F = TypeVar("F", bound="Callable[..., Any]")


class Crons(TaskRegistry, HookRegistry):
    """The crons and tasks of an application, in order of definition, and its settings.

    A setting that is not given here comes from the environment, else from the config file, else it is the
    default; see `Settings`.

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
        cron_max_time: float | None = None,
        drain: float | None = None,
        concurrency: int | None = None,
        lease: float | None = None,
        history: int | None = None,
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
        }
        gather(self._given, environ={}, folder=Path())  # checked now; used later, with its real folder
        self._entries: dict[str, Entry] = {}
        self._settings: Settings | None = None
        self._crons: dict[str, Cron] = {}
        self._locate("")

    @classmethod
    def read(
        cls,
        entries: Mapping[Any, object],
        *,
        where: str,
        folder: Path | None = None,
        file: Mapping[str, object] | None = None,
    ) -> Crons:
        """Return crons from a mapping of names to entries.

        Args:
            entries: `(target, schedule)`, `(target, schedule, last_run)` or a mapping, by name.
            where: Name of the mapping, for messages.
            folder: Folder for relative backends and scripts; the working folder if None.
            file: Settings from the file of the mapping.

        Raises:
            ConfigError: An entry or one of its options is wrong.
        """
        crons = cls()
        crons._locate(where, folder=folder, file=file)
        for name, value in entries.items():
            with crons._naming(name):
                crons._define(name, read_entry(value))
        return crons

    def _locate(self, where: str, *, folder: Path | None = None, file: Mapping[str, object] | None = None) -> None:
        """Set the name for messages, the folder and the settings of the file that defines these crons."""
        self._where, self._folder, self._file = where, folder, file
        self._settings = None
        self._manager.settled = False
        self._crons.clear()

    def _pin(self, *, backend: Store, app: str, cron_max_time: float | None = None) -> None:
        """Stay with a store, and with a `CRON_MAX_TIME` if it is given, whatever the settings say of them."""
        settings = self.settings
        longest = settings.cron_max_time if cron_max_time is None else cron_max_time
        self._settings = replace(settings, backend=backend, app=app, cron_max_time=longest)
        self._manager.settled = False

    @property
    def settings(self) -> Settings:
        """The settings; the environment is read at first use."""
        if self._settings is None:
            self._settings = gather(self._given, file=self._file, where=self._where, folder=self._folder)
        return self._settings

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
            self._define(name, Entry(target=undecorated(target), schedule=schedule, options=checked))

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
            taken, other = (describe(one.target) for one in (self._entries[name], entry))
            raise ConfigError(f"names both {taken} and {other}, give one of them another name")
        self._entries[name] = entry
        self._version += 1
        if self._crons:
            self._at_once(name)

    def _at_once(self, name: str) -> None:
        """Resolve a cron that is added after the first read, so that `add` raises its errors, and not the next poll."""
        try:
            self._crons[name] = self._build(name, self._entries[name])
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
            raise UnknownCronError(f"there is no cron {show(name)}{known}")
        if name not in self._crons:
            with self._naming(name):
                self._crons[name] = self._build(name, self._entries[name])
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

    def _build(self, name: str, entry: Entry) -> Cron:
        options = dict(entry.options)
        schedule = parse(entry.schedule, options.pop("tz", None) or self.settings.tz)
        target = resolve(entry.target, folder=self.settings.folder, script=entry.script)
        process = in_process(options.pop("executor", None), target)
        options["cwd"] = check_surroundings(target, options, process=process, folder=self.settings.folder)
        hooks = own_hooks(self._hooks, name, options.get("ping"))
        cron = Cron(name=name, target=target, schedule=schedule, process=process, _hooks=hooks, **options)
        if cron.process:
            check_parcel(cron.args, cron.kwargs)
        if cron.last_run is not None and isinstance(schedule, Interval):
            return replace(cron, schedule=schedule.anchored(cron.last_run))
        return cron
