"""Every store fulfils the contract: the conformance suite on each."""

from __future__ import annotations

import pytest

from pseudocron.testing.conformance import SharedStore, Suite
from verification.oracle import Oracle, Store


class TestOracle(Suite):
    @pytest.fixture
    def store(self) -> SharedStore:
        store = Store()
        return SharedStore(lambda host: Oracle(store, host=host))
