"""Imports point down only; the picture of the house in docs/explanation/design.md is true.

What is beside the package is in layers too: `harness`, then `benchmarks` and `verification`, then `tests`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pseudocron

ROOT = Path(pseudocron.__file__).parent
TESTS = Path(__file__).parent

FLOORS = (
    (
        "errors",
        "dataclass",
        "log",
        "host",
        "context",
        "targets",
        "schedule",
        "lockfile",
        "truncation",
        "response_state",
    ),
    (
        "backends.contract",
        "backends.model",
        "backends.rules",
        "backends.legible",
        "backends.usage",
    ),
    ("backends", "config", "cron", "crons", "jobs", "executors", "hooks", "instrumentation"),
    ("worker", "hooks.dispatcher", "hooks.metrics", "polling"),
    ("runtime", "process"),
    ("lifespan", "report", "why", "by_hand"),
    ("middleware", "endpoints", "testing", "pytest_plugin", "cli", "dashboard"),
    ("", "__main__"),
)


def floor(module: str) -> int:
    name = module.removeprefix("pseudocron").removeprefix(".")
    while name and not any(name in names for names in FLOORS):
        name = name.rpartition(".")[0]
    return next(index for index, names in enumerate(FLOORS) if name in names)


def modules() -> dict[str, Path]:
    paths = sorted(ROOT.rglob("*.py"))
    dotted = (".".join(("pseudocron", *path.relative_to(ROOT).with_suffix("").parts)) for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(dotted, paths, strict=True)}


def named(path: Path) -> set[str]:
    """All that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def imports(path: Path) -> set[str]:
    return {name for name in named(path) if name in modules()}


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_from_its_own_floor_and_below(module: str) -> None:
    upward = {name for name in imports(modules()[module]) if floor(name) > floor(module)}
    assert not upward


@pytest.mark.parametrize("module", [name for name in modules() if floor(name) < len(FLOORS) - 1])
def test_no_module_of_the_house_imports_the_front_page(module: str) -> None:
    assert "pseudocron" not in imports(modules()[module])


def test_no_entry_point_imports_another() -> None:
    entry_points = {
        f"pseudocron.{name}" for name in ("middleware", "cli", "endpoints.trigger", "endpoints.health", "dashboard")
    }
    assert all(not imports(modules()[one]) & (entry_points - {one}) for one in entry_points)


def test_the_worker_knows_no_backend_but_the_contract() -> None:
    contract = {f"pseudocron.backends.{part}" for part in ("contract", "model")}
    backends = {name for name in modules() if name.startswith("pseudocron.backends")} - contract
    for name in [name for name in modules() if name.startswith("pseudocron.worker")]:
        assert not imports(modules()[name]) & backends, name


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
