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

_MODULES = (
    "cluster ends forward gate jobs keys law leases lists manual people process retries skips slots takeovers together"
)
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _MODULES.split()))

# isort: off - only after the lines above
from pseudocron.testing.conformance.cluster import Cluster, SharedStore  # noqa: E402
from pseudocron.testing.conformance.ends import EndTests  # noqa: E402
from pseudocron.testing.conformance.forward import ForwardTests  # noqa: E402
from pseudocron.testing.conformance.gate import GateTests  # noqa: E402
from pseudocron.testing.conformance.jobs import JobTests  # noqa: E402
from pseudocron.testing.conformance.keys import KeyTests  # noqa: E402
from pseudocron.testing.conformance.law import Law  # noqa: E402
from pseudocron.testing.conformance.leases import LeaseTests  # noqa: E402
from pseudocron.testing.conformance.lists import ListTests  # noqa: E402
from pseudocron.testing.conformance.manual import ManualTests  # noqa: E402
from pseudocron.testing.conformance.people import PeopleTests  # noqa: E402
from pseudocron.testing.conformance.process import Process  # noqa: E402
from pseudocron.testing.conformance.retries import RetryTests  # noqa: E402
from pseudocron.testing.conformance.skips import SkipTests  # noqa: E402
from pseudocron.testing.conformance.slots import SlotTests  # noqa: E402
from pseudocron.testing.conformance.takeovers import TakeoverTests  # noqa: E402
from pseudocron.testing.conformance.together import TogetherTests  # noqa: E402

__all__ = ["Cluster", "Law", "Process", "SharedStore", "Suite"]


class Suite(
    GateTests,
    ForwardTests,
    SlotTests,
    SkipTests,
    JobTests,
    KeyTests,
    EndTests,
    RetryTests,
    LeaseTests,
    ManualTests,
    PeopleTests,
    ListTests,
    TakeoverTests,
    TogetherTests,
):
    """All tests of the contract. A subclass overrides the fixture `store`."""
