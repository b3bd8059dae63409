"""The stores on which the contract is tested, and a clock that the test owns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from redis_server import shared

from pseudocron.backends.file import File
from pseudocron.backends.memory import Memory, Store
from pseudocron.backends.records import Claim, Outcome, Proposal, Reason, Result, Skip
from pseudocron.backends.redis import Redis
from pseudocron.backends.redis.records import micros
from pseudocron.host import Host

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from pseudocron.backends.base import Backend
    from pseudocron.backends.records import Refusal, Run, State

T = TypeVar("T")

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
LEASE = 30.0
SECOND = timedelta(seconds=1)
KEEP = 3


@dataclass
class World:
    """Two backends on one store, as two processes have them, and the time of day."""

    make: Callable[[Host], Backend]
    runner: asyncio.Runner
    now: datetime = NOON
    backends: list[Backend] = field(default_factory=list)

    def do(self, verb: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(verb)

    def another(self) -> Backend:
        backend = self.make(Host(now=lambda: self.now))
        self.do(backend.open())
        self.backends.append(backend)
        return backend

    @property
    def backend(self) -> Backend:
        return self.backends[0]

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def ask(self, slot: datetime | None = None, name: str = "mail", **options: Any) -> Claim | Refusal:
        proposal = Proposal(name=name, slot=slot or self.now, worker="host:1", lease=LEASE, **options)
        return self.do(self.backend.claim(proposal))

    def claim(self, slot: datetime | None = None, name: str = "mail", **options: Any) -> Claim:
        claim = self.ask(slot, name, **options)
        assert isinstance(claim, Claim)
        return claim

    def finish(self, claim: Claim, outcome: Outcome = Outcome.SUCCEEDED, *, keep_lease: bool = False) -> bool:
        return self.do(self.backend.finish(claim, Result(outcome=outcome), keep_lease=keep_lease))

    def run(self, name: str = "mail") -> Claim:
        """A whole run of the next second's slot."""
        self.forward(1)
        claim = self.claim(name=name)
        assert self.finish(claim)
        return claim

    def skip(self, slot: datetime, reason: Reason = Reason.MISFIRE, *, slots: int = 1) -> None:
        self.do(self.backend.skip([Skip(name="mail", slot=slot, reason=reason, slots=slots)]))

    def state(self, name: str = "mail") -> State:
        return self.do(self.backend.states({name: self.now}))[name]

    def lines(self, name: str | None = "mail") -> list[Run]:
        return list(self.do(self.backend.history(name, limit=1000)))


def memory(_folder: Path) -> Callable[[Host], Backend]:
    store = Store()
    return lambda host: Memory(store=store, keep=KEEP, host=host)


def file(folder: Path) -> Callable[[Host], Backend]:
    return lambda host: File(folder / "store", keep=KEEP, host=host)


def redis(_folder: Path) -> Callable[[Host], Backend]:
    app, server = uuid4().hex, shared()
    return lambda host: Redis(
        server.client, name="redis", app=app, keep=KEEP, host=host, clock=lambda: micros(host.now())
    )


STORES = {"memory": memory, "file": file, "redis": redis}
