"""What an entry runs: a script's path, a command line, or a callable that is at hand or named by an import string."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudocron.dataclass import dataclass
from pseudocron.errors import TargetError, cause, did_you_mean, show

if TYPE_CHECKING:
    from collections.abc import Callable


_MAIN_THREAD = ("signal only works in main thread", "no current event loop in thread")
"""What `signal.signal` and `asyncio.get_event_loop` say in another thread than the main one."""


@dataclass(frozen=True, slots=True)
class Script:
    """A file that runs in a child process."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Shell:
    """A command line that `/bin/sh` runs in a child process, as in a crontab."""

    line: str

    def __post_init__(self) -> None:
        line: object = self.line
        if not isinstance(line, str) or not line.strip() or "\0" in line:
            raise TargetError(f"{show(self.line)}: must be a command line, such as 'pg_dump shop | gzip > shop.gz'")

    def __str__(self) -> str:
        return self.line


Program = (Script, Shell)
"""The kinds of targets that are no Python functions: they run in a child process in any case."""


@dataclass(frozen=True, slots=True)
class Function:
    """A callable, and the import string `package.module:function` by which a child process finds it.

    Attributes:
        is_async: Whether it is a coroutine function, or an object whose `__call__` is one.
    """

    call: Callable[..., Any]
    ref: str
    is_async: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Found out once: that takes longer than a whole run.
        is_async = inspect.iscoroutinefunction(self.call) or inspect.iscoroutinefunction(
            getattr(self.call, "__call__", None)  # noqa: B004 - what it is, not whether it is there
        )
        object.__setattr__(self, "is_async", is_async)

    def __str__(self) -> str:
        return self.ref

    @property
    def importable(self) -> bool:
        """Whether a child process that imports `ref` finds this callable."""
        module, _, path = self.ref.partition(":")
        found: object = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        return module != "__main__" and callable(found) and inspect.unwrap(found) is inspect.unwrap(self.call)


_HEAD = 4096  # bytes of a program, by which a text is told from a binary


Target = Script | Shell | Function

_FEW = 10
"""How many words of a command line are repeated in a message."""


def needs_thread(target: Target, *, process: bool) -> bool:
    """Return whether a run of this has a thread of its own, which can't be killed.

    Args:
        target: What is run.
        process: Whether it runs in a child process.
    """
    return not (process or isinstance(target, Program) or target.is_async)


def resolve(value: object, *, folder: Path, script: bool = False) -> Target:
    """Return what a value of the configuration names. Imports it if it is an import string.

    Args:
        value: A callable, a `Shell`, an import string, or the path of a script: it ends in `.py`, holds a separator
            of folders, or is there.
        folder: What a relative path counts from.
        script: It is a path, whatever it looks like.

    Raises:
        TargetError: There is no such thing; says why in one line.
    """
    if isinstance(value, Shell):
        return value
    if isinstance(value, os.PathLike) or (isinstance(value, str) and (script or is_path(value, folder, ".py"))):
        return _script(value, folder)
    if callable(value) and not script:
        return _function(value, _ref(value))
    if isinstance(value, str) and (fix := _arguments(value, folder)):
        raise TargetError(f"{show(value)}: {fix}")
    if not isinstance(value, str):
        kinds = "" if script else ", an import string 'package.module:function' or a callable"
        raise TargetError(f"{show(value)}: must be a script's path{kinds}")
    call = load(value)
    if not callable(call):
        raise TargetError(f"{show(value)}: is of type {type(call).__name__}, must be callable")
    return _function(call, value)


def _function(call: Callable[..., Any], ref: str) -> Function:
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise TargetError(f"{show(ref)}: is a generator, whose body would never run: it must not yield")
    return Function(call, ref)


def is_path(text: str, folder: Path, *suffixes: str) -> bool:
    """Return whether a text is meant as a path, rather than as an import string."""
    return text.endswith(suffixes) or "/" in text or os.sep in text or holds(Path.is_file, folder / text)


def holds(test: Callable[[Path], bool], path: Path) -> bool:
    """Return whether a test of a path holds, or False if the path is too long or has a NUL in it."""
    try:
        return test(path)
    except (OSError, ValueError):
        return False


def _script(value: str | os.PathLike[Any], folder: Path) -> Script:
    # Not resolved: a deployment that swaps a symlink swaps the script.
    path = (folder / _file_name(os.fsdecode(value))).absolute()
    if holds(Path.is_dir, path):
        raise TargetError(f"{show(value)}: is a folder, must be a script")
    if not holds(Path.is_file, path):
        fix = _arguments(value, folder) if isinstance(value, str) else ""
        raise TargetError(f"{show(value)}: {fix or f'there is no such script in {folder}'}", path=str(path))
    if path.suffix != ".py" and (why := _wrong_with(path)):
        raise TargetError(f"{show(value)}: {why}")
    return Script(path)


def _arguments(text: str, folder: Path) -> str:
    """Return the fix for a script that is named with its arguments, such as `backup.sh --full`, or an empty string."""
    script, *arguments = text.split()[:_FEW] or [""]
    if not arguments or not (Path(script).suffix or holds(Path.is_file, folder / script)):
        return ""
    return f"must be the script alone, its arguments go into the option 'args': {show(script)} with args={arguments!r}"


def _wrong_with(program: Path) -> str | None:
    """Return why a file can't be started, or None. One that can't be read may be a program none the less."""
    from shlex import quote  # noqa: PLC0415 - most crons are functions

    if not os.access(program, os.X_OK):
        return f"is not executable: it must be a .py, or executable; run: chmod +x {quote(str(program))}"
    try:
        with program.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    first, _, _ = head.partition(b"\n")
    if not first.startswith(b"#!"):
        is_text = b"\0" not in head
        return "names no interpreter: it must begin with a line such as #!/bin/sh, or be a .py" if is_text else None
    words = first[2:].split()
    interpreter = os.fsdecode(words[0]) if words else ""
    return None if os.access(interpreter, os.X_OK) else f"its interpreter can't be started: {show(interpreter)}"


def _file_name(text: str) -> str:
    """Return the name of a file as the locale has it; one that the locale can't write is UTF-8 on the disk."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode(errors="replace"))
    return text


def load(ref: str) -> object:
    """Import the object that `package.module:attribute` names. The attribute may be dotted.

    Raises:
        TargetError: It is not an import string, the import fails, or the attribute is not there.
    """
    module, colon, path = ref.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise TargetError(f"{show(ref)}: must be an import string 'package.module:function'{_colon(ref)}")
    found: object = _import(ref, module)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            mend = did_you_mean(part, (name for name in dir(found) if not name.startswith("__")))
            raise TargetError(f"{show(ref)}: {show(module)} has no {show(part)}{mend}") from None
    return found


def _colon(ref: str) -> str:
    """Return the fix for an import string such as `shop.mail.send`, or an empty string."""
    module, dot, function = ref.rpartition(".")
    meant = f"{module}:{function}"
    return f", did you mean {meant!r}?" if dot and ":" not in ref and len(ref) < 80 and loads(meant) else ""


def loads(ref: str) -> bool:
    """Return whether an import string names something. Imports its module."""
    try:
        load(ref)
    except TargetError:
        return False
    return True


def _import(ref: str, module: str) -> object:
    importlib.invalidate_caches()  # an edit may name a module that is just as new
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise TargetError(f"{show(ref)}: can't import {show(module)}: {cause(error)}{import_fix(error)}") from error


def import_fix(error: BaseException) -> str:
    """Return the fix for an import that has failed, or an empty string."""
    if isinstance(error, ModuleNotFoundError):
        return ", is its folder on the import path?"
    if any(words in str(error) for words in _MAIN_THREAD):
        return "; servers read the configuration in another thread: import the module in the application, at its start"
    return ""


def describe(value: object) -> str:
    """Return what was named as a target, for messages."""
    return _ref(value) if callable(value) else show(value.line if isinstance(value, Shell) else value)


def _ref(call: Callable[..., Any]) -> str:
    """Return how a child process would import a callable. An object or a partial goes by its type's name."""
    owner = call if hasattr(call, "__qualname__") else type(call)
    return f"{call.__module__}:{owner.__qualname__}"


def caller() -> str:
    """Return the line of the application that has called into this package, such as `/srv/shop/crons.py:12`."""
    frame = sys._getframe(1)  # noqa: SLF001 - what `inspect` calls; the stack of all frames would read their sources
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
