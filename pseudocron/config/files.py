"""Reading a config file: Python that is executed afresh, or TOML; what is wrong is said in one line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pseudocron.config.environment import unknown_constants
from pseudocron.config.settings import IN_FILES
from pseudocron.crons import Crons
from pseudocron.dataclass import dataclass
from pseudocron.errors import ConfigError, PseudoCronError, cause, did_you_mean, show
from pseudocron.log import logger
from pseudocron.targets import holds, import_fix

if TYPE_CHECKING:
    from types import TracebackType

MOST_BYTES = 500_000
"""How long a config file may be: to read so much takes half a second, and thousands of crons fit in."""

MOST_DOTS = 100
"""How many dots may be on a line of TOML: each makes its key deeper, and all that came before are looked at again."""

Signature = tuple[int, int, int]
"""What tells one version of a file from another: modified (nanoseconds), size, inode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a config file holds: its crons, and its settings by the name that stands there."""

    crons: Crons | Mapping[Any, object]
    settings: Mapping[str, object]


def signature(path: Path) -> Signature | None:
    """Return what identifies the present version of a file, or None if there is no file."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def read_file(path: Path, where: str) -> Contents:
    """Read a `.py` or `.toml` file. Blocks, and executes a `.py` file.

    Args:
        path: The file.
        where: Its name, for messages.

    Raises:
        ConfigError: It can't be read, parsed or executed, or holds no crons.
    """
    if path.suffix not in {".py", ".toml"}:
        raise ConfigError(f"{where}: must end in .py or .toml")
    text = _text(path, where)
    return _toml(text, where) if path.suffix == ".toml" else _python(text, path, where)


def _text(path: Path, where: str) -> str:
    if holds(Path.is_dir, path):
        raise ConfigError(f"{where}: is a folder, must be a file")
    if not holds(Path.is_file, path):
        raise ConfigError(f"{where}: there is no such file in {path.parent}")
    try:
        with path.open("rb") as file:
            contents = file.read(MOST_BYTES + 1)
        if len(contents) > MOST_BYTES:
            raise ConfigError(f"{where}: is longer than {MOST_BYTES} bytes, is it a config file?")
        text = contents.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{where}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is not UTF-8 at byte {error.start}, save it as UTF-8") from error
    if "\0" in text:
        raise ConfigError(f"{where}: holds a NUL at character {text.index(chr(0))}, is it a text file?")
    return text


def _python(text: str, path: Path, where: str) -> Contents:
    names = _imported(path)
    if names is None:
        executed = _execute(text, path, where)
        names = _imported(path) or executed  # what it imports may import it
    if "crons" not in names:
        raise ConfigError(f"{where}: holds no 'crons'{did_you_mean('crons', names)}")
    crons = names["crons"]
    if not isinstance(crons, Mapping | Crons):
        raise ConfigError(f"{where}: crons: {show(crons)}: must be a mapping or a Crons")
    check_keys(text, "crons", path, where)
    for line in unknown_constants(names, where):
        logger.warning("%s", line)
    return Contents(crons=crons, settings={name: names[name] for name in IN_FILES & names.keys()})


def _imported(path: Path) -> dict[str, Any] | None:
    """Return the names of the module with a `Crons` that views have imported from this file, or None.

    Its tasks are those that the views defer.
    """
    for name, module in sys.modules.copy().items():  # at once: another thread may import
        names: dict[str, Any] = getattr(module, "__dict__", {})
        if name.startswith("<"):  # a config file that is being executed, perhaps in another thread
            continue
        if isinstance(names.get("crons"), Crons) and holds(path.samefile, Path(names.get("__file__") or "")):
            return names
    return None


def _execute(text: str, path: Path, where: str) -> dict[str, Any]:
    """Execute a Python file in a module that no other module can import, and return the names that it defines."""
    module = ModuleType(f"<{path.name}>")
    module.__file__ = str(path)
    name = _register(module)
    try:
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))  # noqa: S102 - it is the operator's code
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.filename == str(path) else ""
        raise ConfigError(f"{where}{line}: {type(error).__name__}: {error.msg}") from error
    except PseudoCronError as error:
        raise ConfigError(f"{where}{_line(error, path)}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{where}{_line(error, path)}: {cause(error)}{_fix(error)}") from error
    finally:
        sys.modules.pop(name, None)
    return vars(module)


def check_keys(text: str, variable: str, path: Path, where: str) -> None:
    """Raise `ConfigError` if a mapping that is assigned to a variable names a key twice: only the source shows it.

    Args:
        text: The source of a module that can be executed.
        variable: The variable; all mappings inside of its value are checked.
        path: The file, for the message.
        where: Its name, for the message.
    """
    import ast  # noqa: PLC0415  only for those who write Python

    try:
        statements = ast.parse(text).body
    except (MemoryError, RecursionError, SyntaxError, ValueError):  # it was executed, and may have changed since
        return
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if not any(isinstance(target, ast.Name) and target.id == variable for target in targets):
            continue
        for mapping in ast.walk(statement):
            keys = [key for key in getattr(mapping, "keys", ()) if isinstance(key, ast.Constant)]
            lines: dict[object, int] = {}
            for key in keys:
                if key.value in lines:
                    first = f"already defined at {path}:{lines[key.value]}"
                    raise ConfigError(f"{where}, line {key.lineno}: {show(key.value)}: {first}, keep one of them")
                lines[key.value] = key.lineno


def check_keys_of_module(ref: str) -> None:
    """Check the keys of the mapping that an import string names as `check_keys` does, if its source can be read."""
    module, _, variable = ref.partition(":")
    path = Path(getattr(sys.modules.get(module), "__file__", None) or "")
    try:
        text = _text(path, ref) if path.suffix == ".py" else ""
    except ConfigError:
        return
    check_keys(text, variable, path, ref)


def _fix(error: BaseException) -> str:
    return "" if isinstance(error, ModuleNotFoundError) else import_fix(error)


def _register(module: ModuleType) -> str:
    """Add a module to those of the process, where a dataclass looks its annotations up, and return its name there.

    Each has a name of its own: another file of this name, or this file, may be executed in another thread.
    """
    base = module.__name__.removesuffix(">")
    for number in count(2):
        if sys.modules.setdefault(module.__name__, module) is module:
            break
        module.__name__ = f"{base} {number}>"
    return module.__name__


def _line(error: BaseException, path: Path) -> str:
    """Return the innermost line of the file that an error came through, such as `, line 3`, or an empty string."""
    lines = [number for name, number in _frames(error.__traceback__) if name == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _frames(traceback: TracebackType | None) -> list[tuple[str, int]]:
    frames = []
    while traceback:
        frames.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return frames


def _toml(text: str, where: str) -> Contents:
    import tomllib  # noqa: PLC0415  only for those who write TOML

    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > MOST_DOTS:
            raise ConfigError(f"{where}, line {number}: has more than {MOST_DOTS} dots, write it on several lines")
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # an int of 5000 digits is a plain ValueError
        raise ConfigError(f"{where}: {error}") from error
    crons = found.pop("crons", None)
    known = {name for setting in IN_FILES for name in (setting.lower(), setting)}
    for key in found.keys() - known:
        raise ConfigError(f"{where}: unknown setting {show(key)}{did_you_mean(key, ('crons', *sorted(known)))}")
    if not isinstance(crons, Mapping):
        raise ConfigError(f"{where}: holds no table 'crons', write [crons.NAME] above each cron")
    return Contents(crons=crons, settings=found)
