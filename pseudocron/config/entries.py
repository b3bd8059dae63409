"""The forms of an entry and its options: one table that decorators, mappings and TOML share."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pseudocron.config.settings import checked
from pseudocron.config.values import (
    Check,
    above_zero,
    flag,
    folder,
    from_zero,
    instant,
    keywords,
    never_or,
    one_of,
    optional,
    past,
    several,
    variables,
    web_address,
    whole,
    zone,
)
from pseudocron.dataclass import dataclass
from pseudocron.errors import ConfigError, did_you_mean, show
from pseudocron.targets import Program, Script, Shell, describe

if TYPE_CHECKING:
    from datetime import datetime
    from os import PathLike
    from pathlib import Path

    from pseudocron.config.values import Duration
    from pseudocron.targets import Target


class Options(TypedDict, total=False):
    """What may be said of a cron besides its target and its schedule; `Cron` says what each means.

    `last_run` and `next_run` are aware ISO text, an aware `datetime` or epoch seconds; None, 0 and empty text mean
    never. `executor` is "async", "thread" or "process"; None chooses by the target.
    """

    last_run: str | datetime | float | None
    next_run: str | datetime | float | None
    timeout: Duration | None
    coalesce: bool
    misfire_grace_time: Duration | None
    max_instances: int
    jitter: Duration
    retries: int
    at_least_once: bool
    executor: Literal["async", "thread", "process"] | None
    tolerance: Duration | None
    enabled: bool
    ping: str | None
    env: Mapping[str, str]
    cwd: str | PathLike[str] | None
    args: list[Any] | tuple[Any, ...]
    kwargs: Mapping[str, Any]


OPTIONS: Mapping[str, Check] = {
    "tz": optional(zone),
    "last_run": never_or(past),
    "next_run": never_or(instant),
    "timeout": optional(above_zero),
    "coalesce": flag,
    "misfire_grace_time": optional(above_zero),
    "max_instances": whole(1),
    "jitter": from_zero,
    "retries": whole(0),
    "at_least_once": flag,
    "executor": optional(one_of("async", "thread", "process")),
    "tolerance": optional(above_zero),
    "enabled": flag,
    "ping": optional(web_address),
    "env": variables,
    "cwd": optional(folder),
    "args": several,
    "kwargs": keywords,
}

_FORMS = "must be (target, schedule), (target, schedule, last_run) or a mapping with 'run' and 'schedule'"


_TARGETS = ("run", "script", "shell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry, its options checked; its target and its schedule are still as they were written.

    `place` is the line of the application that has defined it, if it was code.
    """

    target: object
    schedule: object
    script: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    place: str = ""


def read_entry(value: object) -> Entry:
    """Read an entry in any of its forms, or raise `ConfigError`, without the entry's name, if it is none of them."""
    if isinstance(value, Mapping):
        return _from_mapping(value)
    if not isinstance(value, list | tuple) or len(value) not in {2, 3}:
        raise ConfigError(f"{show(value)}: {_FORMS}")
    options = {"last_run": value[2]} if len(value) == 3 else {}
    return Entry(target=value[0], schedule=value[1], options=read_options(options))


def _from_mapping(value: Mapping[object, object]) -> Entry:
    named = [key for key in _TARGETS if key in value]
    if len(named) > 1:
        raise ConfigError(f"has both {named[0]!r} and {named[1]!r}, keep one of them")
    options = {key: item for key, item in value.items() if key not in {*_TARGETS, "schedule"}}
    entry = read_options(options, also=(*_TARGETS, "schedule"))
    if not named:
        raise ConfigError("has no 'run', name the script or the function to run")
    if "schedule" not in value:
        raise ConfigError("has no 'schedule', such as 60 or 'every day at 02:00'")
    target: Any = value[named[0]]
    if named == ["shell"]:
        target = Shell(target)
    return Entry(target=target, schedule=value["schedule"], script="script" in named, options=entry)


def read_options(
    options: Mapping[Any, object], *, also: tuple[str, ...] = (), known: Mapping[str, Check] = OPTIONS
) -> dict[str, Any]:
    """Return checked options by name, or raise `ConfigError` for one that is unknown or wrong.

    Args:
        options: What was written.
        also: Further names that a misspelt one may have meant.
        known: The options that there are.
    """
    for key in options:
        if key not in known:
            mend = did_you_mean(str(key), (*known, *also))
            raise ConfigError(f"unknown option {show(key)}{mend}")
    return {key: checked(known[key], value, key) for key, value in options.items()}


def in_process(executor: str | None, target: Target) -> bool:
    """Return whether a target goes to a child process, or raise `ConfigError` if the executor can't run it."""
    if isinstance(target, Program):
        if executor not in {None, "process"}:
            kind = "a script" if isinstance(target, Script) else "a command line"
            raise ConfigError(f"executor: {executor!r}: {kind} runs in a process of its own, leave it out")
        return False
    own = "async" if target.is_async else "thread"
    if executor not in {None, own, "process"}:
        kind = "a coroutine function" if target.is_async else "a plain function"
        raise ConfigError(f"executor: {executor!r}: {target} is {kind}, must be {own!r} or 'process'")
    if executor == "process" and not target.importable:
        raise ConfigError(f"executor: 'process': no child process can import {target}, define it in a module")
    return executor == "process"


def check_call(target: Target, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if a function can't be called with these arguments."""
    if isinstance(target, Program):
        return
    try:
        # Of the function itself: a decorator may add arguments to those that are given.
        signature = inspect.signature(target.call, follow_wrapped=False)
    except (TypeError, ValueError):  # that of a builtin may not be known
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ConfigError(f"{target}: {error}; its arguments are the options 'args' and 'kwargs'") from None


def check_surroundings(target: Target, options: Mapping[str, Any], *, process: bool, folder: Path) -> Path | None:
    """Return the working folder of a cron, or raise `ConfigError` if its options do not fit its target.

    Args:
        target: What it runs.
        options: Its options.
        process: Whether a function runs in a child process.
        folder: What a relative `cwd` counts from.
    """
    if isinstance(target, Shell) and (options.get("args") or options.get("kwargs")):
        raise ConfigError("args: a command line takes no arguments, write them into it")
    cwd = options.get("cwd")
    for name in ("env", "cwd"):
        if options.get(name) and not (process or isinstance(target, Program)):
            raise ConfigError(f"{name}: {target} does not run in a child process: add executor='process'")
    path = None if cwd is None else (folder / cwd).absolute()
    if path is not None and not path.is_dir():
        raise ConfigError(f"cwd: {show(cwd)}: there is no such folder in {folder}")
    return path


def check_parcel(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if the arguments of a function in a child process are not JSON."""
    for key, value in (("args", args), ("kwargs", kwargs)):
        try:
            json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            raise ConfigError(f"{key}: {show(value)}: must be JSON for a child process") from None


def defined(place: str, taken: object, other: object) -> str:
    """Return a message about a name that two targets have, the first of them defined at a line of the application."""
    at = f"already defined at {place}" if place else "already defined"
    return f"{at} for {describe(taken)}, give {describe(other)} another name"


def spell_every(schedule: object, units: Mapping[str, float]) -> object:
    """Return the schedule that `every` was given, as `parse` takes it, or raise `ConfigError` if it is none or two."""
    given = {unit: value for unit, value in units.items() if value != 0}
    if (schedule is None) == (not given) or callable(schedule):
        raise ConfigError("every() needs one schedule, such as every(300), every('5 minutes') or every(minutes=5)")
    if given:
        try:
            return timedelta(**given)
        except (TypeError, ValueError, OverflowError):
            written = ", ".join(f"{unit}={show(value)}" for unit, value in given.items())
            raise ConfigError(f"every({written}): must be numbers that make a time span") from None
    if isinstance(schedule, str) and schedule.strip()[:1].isalpha():
        return schedule if schedule.split()[0].lower() == "every" else f"every {schedule.strip()}"
    return schedule
