"""Imports point down only; the picture of the house in docs/explanation/design.md is true."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pseudocron

ROOT = Path(pseudocron.__file__).parent

FLOORS = (
    ("errors", "log", "host", "context", "targets", "schedule", "lockfile", "capture", "answer"),
    (
        "backends.contract",
        "backends.model",
        "backends.base",
        "backends.jobs",
        "backends.records",
        "backends.rules",
        "backends.job_rules",
        "backends.legible",
        "backends.usage",
    ),
    ("backends", "config", "cron", "crons", "jobs", "executors", "hooks", "instrumentation"),
    ("runner", "hooks.happenings", "hooks.telling"),
    ("hooks.observing",),
    ("polling", "scheduler"),
    ("runtime", "watch"),
    ("lifespan", "report", "why", "by_hand", "doors.calls", "doors.vitals"),
    ("middleware", "doors", "testing", "pytest_plugin", "cli", "dashboard"),
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


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in modules()}


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_from_its_own_floor_and_below(module: str) -> None:
    upward = {name for name in imports(modules()[module]) if floor(name) > floor(module)}
    assert not upward


@pytest.mark.parametrize("module", [name for name in modules() if floor(name) < len(FLOORS) - 1])
def test_no_module_of_the_house_imports_the_front_page(module: str) -> None:
    assert "pseudocron" not in imports(modules()[module])


def test_no_door_imports_another() -> None:
    doors = {f"pseudocron.{name}" for name in ("middleware", "cli", "doors.trigger", "doors.health", "dashboard")}
    assert all(not imports(modules()[door]) & (doors - {door}) for door in doors)


def test_the_runner_knows_no_backend() -> None:
    contract = {f"pseudocron.backends.{part}" for part in ("base", "jobs", "records")}
    backends = {name for name in modules() if name.startswith("pseudocron.backends.")} - contract
    assert not imports(modules()["pseudocron.runner"]) & backends
