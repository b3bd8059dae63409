"""The conformance suite of backends: what the contract says, as tests that the author of a backend runs.

    from pseudocron.testing.conformance import SharedStore, Suite

    class TestMyBackend(Suite):
        @pytest.fixture
        def store(self, tmp_path):
            return SharedStore(lambda host: MyBackend(tmp_path / "store", host=host))

It needs pytest, and no plugin.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in ("gate", "law", "process")))

from pseudocron.testing.conformance.cluster import Cluster, SharedStore  # noqa: E402 - after the line above
from pseudocron.testing.conformance.gate import GateTests  # noqa: E402
from pseudocron.testing.conformance.law import Law  # noqa: E402
from pseudocron.testing.conformance.process import Process  # noqa: E402

__all__ = ["Cluster", "Law", "Process", "SharedStore", "Suite"]


class Suite(GateTests):
    """All tests of the contract. A subclass overrides the fixture `store`."""
