"""What a process imports of us, and by us, is what it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

HEAVY = {"click", "cronsim", "difflib", "jinja2", "portalocker", "redis", "shelve", "sqlite3", "tomllib", "zoneinfo"}
"""What building a middleware must not import. Starlette itself imports `uuid`, `ssl`, `email` and others."""

PARTS = {
    "backends.file",
    "backends.redis",
    "cli",
    "endpoints",
    "jobs.arguments",
    "lockfile",
    "report",
    "why",
}
"""Our own parts that it must not import either."""

RUNNING = {"executors", "process", "runtime", "sysconfig", "worker"}
"""What only a middleware that was built needs."""

COUNT = """
import os
import sys
import starlette.applications

before = set(sys.modules)
"""
SAY = """
print(*sorted(set(sys.modules) - before))
"""

NAMED = """
import pseudocron
"""
USED = """
from pseudocron import Crons, PseudoCronMiddleware

crons = Crons(backend="file:store", folder=os.getcwd())
"""
BUILT = f"""{USED}
middleware = PseudoCronMiddleware(lambda scope, receive, send: None, crons=crons)
"""
POLLED = f"""{BUILT}
import asyncio
from pseudocron.polling import PollReason

async def poll():
    runtime = middleware._process.runtime()
    lifetime = await runtime.start(state=None, ticker=False, execute=True)
    await runtime.request_poll(PollReason.REQUEST, ticker=False)
    await runtime.stop(lifetime)

import logging
logging.disable()  # that only requests poll is a warning
crons.add("report", print, 3600)
asyncio.run(poll())
"""


def imported(code: str, folder: Path) -> set[str]:
    """The modules that code adds to those of Starlette, in an interpreter of its own."""
    command = [sys.executable, "-W", "error", "-c", COUNT + code + SAY]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    return set(done.stdout.splitlines()[-1].split())


def within(modules: set[str], names: set[str]) -> set[str]:
    """Those that are, or are in, one of these packages, each by its full name or by that inside of pseudocron."""
    prefixes = tuple(f"{name}." for name in (*names, *(f"pseudocron.{name}" for name in names)))
    return {module for module in modules if f"{module}.".startswith(prefixes)}


@pytest.mark.parametrize(
    ("code", "most", "unwanted"),
    [
        pytest.param(NAMED, 5, HEAVY | PARTS | RUNNING | {"crons", "middleware", "jobs"}, id="imported"),
        pytest.param(USED, 45, HEAVY | PARTS | RUNNING, id="used"),
        pytest.param(BUILT, 85, HEAVY | PARTS, id="built"),
    ],
)
def test_a_process_imports_only_what_it_uses(code: str, most: int, unwanted: set[str], tmp_path: Path) -> None:
    modules = imported(code, tmp_path)
    assert not within(modules, unwanted)
    assert len(modules) <= most, sorted(modules)


def test_a_file_store_imports_no_other_store_and_no_client(tmp_path: Path) -> None:
    modules = imported(POLLED, tmp_path)
    assert {"sqlite3", "pseudocron.backends.file", "pseudocron._portalocker.portalocker"} <= modules
    others = {"backends.memory", "backends.redis", "cli", "doors", "jobs.arguments", "report", "why"}
    assert not within(modules, (HEAVY - {"sqlite3"}) | others)
    assert len(modules) <= 125, sorted(modules)


def test_the_front_page_has_all_its_names_and_keeps_what_was_asked_for(tmp_path: Path) -> None:
    code = """
import pseudocron
assert set(pseudocron.__all__) <= set(dir(pseudocron))
from pseudocron import dashboard, Crons, trigger
from pseudocron.dashboard import BasicAuth
assert callable(pseudocron.dashboard) and pseudocron.dashboard is dashboard and vars(pseudocron)["Crons"] is Crons
assert all(getattr(pseudocron, name) for name in pseudocron.__all__)
"""
    assert "pseudocron.crons" in imported(code, tmp_path)
