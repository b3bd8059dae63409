"""The conformance suite on the example: pytest examples/backend"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from json_store import JsonFile

from pseudocron.testing.conformance import SharedStore, Suite

if TYPE_CHECKING:
    from pathlib import Path


class TestJsonFile(Suite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> SharedStore:
        return SharedStore(lambda host: JsonFile(tmp_path / "crons.json", host=host))
