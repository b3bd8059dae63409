"""The stores that have to fulfil the contract; each is made on a folder that is empty."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from pseudocron.testing.conformance import SharedStore
from verification.oracle import Oracle, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pseudocron.backends.contract import Backend
    from pseudocron.host import Host


def found(package: str, name: str) -> Callable[..., Backend]:
    """The class of a backend; not all branches have all of them."""
    backend: Callable[..., Backend] = getattr(import_module(f"pseudocron.backends.{package}.backend"), name)
    return backend


def oracle(_folder: Path) -> SharedStore:
    store = Store()
    return SharedStore(lambda host: Oracle(store, host=host))


class OfOneProcess:
    """What another process would have of a store in memory, which only one can have: the same backend.

    It has a `CRON_MAX_TIME` of its own, and its end is not that of the others.
    """

    def __init__(self, backend: Backend, *, is_first: bool) -> None:
        self.backend = backend
        self.is_first = is_first
        self.cron_max_time = 60.0

    async def close(self) -> None:
        if self.is_first:
            await self.backend.close()

    def __getattr__(self, name: str) -> Any:
        self.backend.cron_max_time = self.cron_max_time
        return getattr(self.backend, name)


def memory(_folder: Path) -> SharedStore:
    make = found("file", "Memory")
    backends: list[Backend] = []

    def view(host: Host) -> Backend:
        backends.append(backends[0] if backends else make(host=host))
        return cast("Backend", OfOneProcess(backends[0], is_first=len(backends) == 1))

    return SharedStore(view)


def file(folder: Path) -> SharedStore:
    make = found("file", "File")
    return SharedStore(lambda host: make(folder / "store", host=host))


def redis(_folder: Path) -> SharedStore:
    from redis_rights import PASSWORD, give
    from redis_server import shared

    make, micros = found("redis", "Redis"), import_module("pseudocron.backends.redis.codec").micros
    app, server = uuid4().hex, shared()
    give(server, app)

    def client() -> Any:
        return server.client(username=app, password=PASSWORD)

    return SharedStore(lambda host: make(client, name="Redis", app=app, host=host, clock=lambda: micros(host.now())))


def example(folder: Path) -> SharedStore:
    from json_store import JsonFile

    return SharedStore(lambda host: JsonFile(folder / "crons.json", host=host))


STORES: dict[str, Callable[[Path], SharedStore]] = {
    "oracle": oracle,
    "memory": memory,
    "file": file,
    "redis": redis,
    "example": example,
}
