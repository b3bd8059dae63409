"""Both backends on SQLite fulfil the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from pseudocron.backends.file.backend import File, Memory
from pseudocron.testing.conformance import SharedStore, Suite


class TestFile(Suite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> SharedStore:
        return SharedStore(lambda host: File(tmp_path / "store", host=host))


class TestMemory(Suite):
    @pytest.fixture
    def store(self) -> SharedStore:
        first = Memory()
        return SharedStore(lambda host: Memory(host=host, shared=first))
