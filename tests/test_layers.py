"""Imports point down only, and nothing but the factory of backends knows a store: see docs/explanation/design.md.

Every import of every module counts: at the top, in functions, and under `TYPE_CHECKING`. The folders beside the package
are in layers too: `harness`, then `benchmarks` and `verification`, then `tests`.

A module that grows takes a second subject: its lines are counted here as well.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TypeGuard

import pytest

import pseudocron

ROOT = Path(pseudocron.__file__).parent
TESTS = Path(__file__).parent

LAYERS = (
    (
        "errors",
        "application",
        "clock",
        "dataclass",
        "log",
        "host",
        "context",
        "targets",
        "schedule",
        "lockfile",
        "truncation",
        "response_state",
        "server_grace",
    ),
    (
        "backends.model",
        "backends.questions",
        "backends.contract",
        "backends.rules",
        "backends.legible",
        "backends.usage",
        "config.origin",
        "config.values",
    ),
    ("backends", "backends.file", "backends.redis", "hooks", "instrumentation.ping"),
    ("executors",),
    ("hooks.dispatcher", "config.settings", "config.entries", "cron", "jobs"),
    ("crons",),
    ("config",),
    ("worker", "polling", "hooks.metrics"),
    ("runtime", "process"),
    ("lifespan", "background", "report", "health_check", "by_hand", "why"),
    ("middleware", "wsgi", "endpoints", "cli", "dashboard", "instrumentation", "testing", "pytest_plugin"),
    ("", "__main__"),
)
"""The modules and packages of `pseudocron`, the lowest first; a module is in the layer of its longest name here."""

ENTRY_POINTS = ("middleware", "wsgi", "endpoints", "cli", "dashboard", "instrumentation", "testing")

CONTRACT = {"backends.contract", "backends.model", "backends.questions"}
"""What any module may import of the backends."""

FACTORY, USAGE = {"backends"}, {"backends.usage"}
BESIDE_THE_CONTRACT = {
    "config": FACTORY,
    "crons": FACTORY,
    "jobs": FACTORY | USAGE,
    "process": USAGE,
    "runtime": USAGE,
    "cli": FACTORY,
    "dashboard": FACTORY,
}
"""What some packages may import besides: the factory makes or names a store, `usage` keeps it open."""

LONGEST = 300
"""How many lines a module may have."""
LONGEST_NAME = 72
"""How many characters the name of a test may have."""


def modules() -> dict[str, Path]:
    """Return all modules by their names without `pseudocron`; that of the package itself is empty."""
    paths = sorted(ROOT.rglob("*.py"))
    dotted = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    names = (name.removesuffix("__init__").removesuffix(".") for name in dotted)
    return dict(zip(names, paths, strict=True))


MODULES = modules()


def named(path: Path) -> set[str]:
    """Return the absolute names of all that a file imports: of `from package import module` only the module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            assert node.module
            found |= {
                name if inside(name) in MODULES else node.module
                for name in (f"{node.module}.{alias.name}" for alias in node.names)
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def inside(name: str) -> str | None:
    """Return a name without `pseudocron`; None if it belongs to another package."""
    package, _, rest = name.partition(".")
    return rest if package == "pseudocron" else None


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a file imports."""
    found = {inside(name) for name in named(path)}
    unknown = found - MODULES.keys() - {None}
    assert not unknown, f"{path}: imports {unknown}"
    return {name for name in found if name is not None}


def layer(module: str) -> int:
    """Return the number of the layer of a module."""
    name = module
    while not any(name in names for names in LAYERS):
        assert "." in name, f"{module}: in no layer"
        name = name.rpartition(".")[0]
    return next(index for index, names in enumerate(LAYERS) if name in names)


def is_in(module: str, *packages: str) -> bool:
    """Return whether a module is one of these packages, or in one of them."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def wrong_backends(module: str, path: Path) -> set[str]:
    """Return what a module imports of the backends that it must not know."""
    found = {name for name in imports(path) if is_in(name, "backends")}
    if module == "backends":
        return set()
    if is_in(module, "backends.file", "backends.redis"):
        store = next(store for store in ("backends.file", "backends.redis") if is_in(module, store))
        other = {"backends.file", "backends.redis"} - {store}
        return {name for name in found if is_in(name, *other)}
    if is_in(module, "backends"):
        return {name for name in found if name == "backends" or is_in(name, "backends.file", "backends.redis")}
    return found - CONTRACT - BESIDE_THE_CONTRACT.get(module.partition(".")[0], set())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_own_layer_and_below(module: str) -> None:
    upward = {name for name in imports(MODULES[module]) if layer(name) > layer(module)}
    assert not upward


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_no_more_than_300_lines(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("name", [name for names in LAYERS for name in names])
def test_each_name_of_the_layers_is_a_module(name: str) -> None:
    assert name in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_knows_the_contract_and_no_store(module: str) -> None:
    assert not wrong_backends(module, MODULES[module])


@pytest.mark.parametrize("module", ["worker.pool", "runtime", "middleware", "cli.jobs", "testing.scheduler"])
@pytest.mark.parametrize(
    "line",
    [
        "from pseudocron.backends.file.backend import File",
        "from pseudocron.backends.redis import backend",
        "import pseudocron.backends.file.backend",
        "def late():\n    from pseudocron.backends.file.backend import File",
        "if TYPE_CHECKING:\n    from pseudocron.backends.redis.backend import Redis",
    ],
)
def test_an_import_of_a_store_would_be_found(module: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(f"{MODULES[module].read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    assert wrong_backends(module, path)


@pytest.mark.parametrize("name", ["connect", "Options"])
def test_an_import_of_the_factory_by_the_worker_would_be_found(name: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(f"from pseudocron.backends import {name}\n", encoding="utf-8")
    assert wrong_backends("worker.pool", path) == {"backends"}


@pytest.mark.parametrize("module", [name for name in MODULES if layer(name) < len(LAYERS) - 1])
def test_no_module_imports_the_package_itself(module: str) -> None:
    assert "" not in imports(MODULES[module])


@pytest.mark.parametrize("module", [name for name in MODULES if is_in(name, *ENTRY_POINTS)])
def test_no_entry_point_imports_another(module: str) -> None:
    others = [name for name in ENTRY_POINTS if not is_in(module, name)]
    assert not {name for name in imports(MODULES[module]) if is_in(name, *others)}


@pytest.mark.parametrize("module", [name for name in MODULES if is_in(name, "testing.conformance")])
def test_the_conformance_suite_knows_nothing_but_the_contract(module: str) -> None:
    known = ("testing.conformance", "errors", "host")
    assert not {name for name in imports(MODULES[module]) if not is_in(name, *known)} - CONTRACT


BESIDE = {"harness": {"harness"}, "benchmarks": {"benchmarks", "harness"}, "verification": {"verification", "harness"}}
OURS = {"harness", "benchmarks", "verification", "tests", *(path.stem for path in TESTS.iterdir())}


@pytest.mark.parametrize(
    "path",
    [path for package in BESIDE for path in sorted((TESTS.parent / package).rglob("*.py"))],
    ids=lambda path: str(path.relative_to(TESTS.parent)),
)
def test_tools_import_the_harness_and_no_test(path: Path) -> None:
    package = path.relative_to(TESTS.parent).parts[0]
    assert {name.partition(".")[0] for name in named(path)} & OURS <= BESIDE[package]


def test_the_names_of_tests_can_be_read_in_one_line() -> None:
    longest = max(
        (node.name for path in TESTS.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())) if is_test(node)),
        key=len,
    )
    assert len(longest) <= LONGEST_NAME, longest


def is_test(node: ast.AST) -> TypeGuard[ast.FunctionDef]:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
