"""The store on a Redis server fulfils the contract."""

from __future__ import annotations

from uuid import uuid4

import pytest
from redis_server import shared

from pseudocron.backends.redis.backend import Redis
from pseudocron.backends.redis.client import from_url
from pseudocron.backends.redis.codec import micros
from pseudocron.host import Host
from pseudocron.testing.conformance import SharedStore, Suite


class TestRedis(Suite):
    @pytest.fixture
    def store(self) -> SharedStore:
        app = uuid4().hex

        def make(host: Host) -> Redis:
            return Redis(from_url(shared().url), name="Redis", app=app, host=host, clock=lambda: micros(host.now()))

        return SharedStore(make)
