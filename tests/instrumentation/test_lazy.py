"""Nobody pays for what he does not use."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from pseudocron import instrumentation

IMPORTS = """
import sys
from pseudocron import Crons, PseudoCronMiddleware
from pseudocron import instrumentation, process, runtime

crons = Crons(backend="memory:")
crons.add("fine", print, 60)
_ = crons["fine"]
heavy = {"prometheus_client", "opentelemetry", "sentry_sdk", "urllib.request", "pseudocron.instrumentation.ping"}
heavy |= {f"pseudocron.{part}" for part in ("report", "endpoints.health", "endpoints.trigger", "dashboard.auth")}
sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)
"""


def test_no_instrumentation_is_imported_unless_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", instrumentation.__all__)
def test_each_is_a_module_of_its_own(name: str) -> None:
    assert import_module(f"pseudocron.instrumentation.{name}").__doc__
    assert instrumentation.__all__ == sorted(instrumentation.__all__)


@pytest.mark.parametrize("module", ["pseudocron", "pseudocron.dashboard"])
def test_what_is_imported_later_is_there_and_what_is_not_there_is_not(module: str) -> None:
    page = import_module(module)
    assert all(getattr(page, name) for name in page.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'helth'"):
        _ = page.helth
