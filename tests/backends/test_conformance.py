"""Every store fulfils the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backends.stores import STORES
from pseudocron.testing.conformance import SharedStore, Suite

if TYPE_CHECKING:
    from pathlib import Path


class TestConformance(Suite):
    @pytest.fixture(params=STORES)
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> SharedStore:
        try:
            return STORES[request.param](tmp_path)
        except ImportError as error:
            pytest.skip(f"{request.param}: {error}")


def test_no_test_of_the_suite_hides_another() -> None:
    names = [name for topic in Suite.__bases__ for name in vars(topic) if name.startswith("test_")]
    assert len(names) == len(set(names))
    assert max(map(len, names)) <= 72 + len("test_")


def test_the_help_for_applications_needs_no_pytest() -> None:
    import subprocess
    import sys

    code = "import sys, pseudocron.testing; assert not {'pytest', '_pytest'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
