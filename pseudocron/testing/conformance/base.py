"""The fixtures of the suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pseudocron.testing.conformance.cluster import Cluster, SharedStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pseudocron.testing.conformance.process import Process


class Base:
    """What all tests of the suite need."""

    @pytest.fixture
    def store(self) -> SharedStore:
        """Return an empty store; the author of a backend overrides it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `store` that returns a SharedStore")

    @pytest.fixture
    def cluster(self, store: SharedStore) -> Iterator[Cluster]:
        """Return a cluster that has no process yet."""
        cluster = Cluster(store)
        cluster.forward(0)
        yield cluster
        cluster.close()

    @pytest.fixture
    def one(self, cluster: Cluster) -> Process:
        """Return a process."""
        return cluster.process()

    @pytest.fixture
    def two(self, cluster: Cluster, one: Process) -> Process:  # noqa: ARG002 - it is the second
        """Return another process."""
        return cluster.process()
