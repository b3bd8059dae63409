"""What the runs of one process have in common, of crons and of jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pseudocron.backends.base import Backend
    from pseudocron.hooks.dispatcher import Dispatcher
    from pseudocron.host import Host
    from pseudocron.runner.pool import Lifetime, Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that claims and runs.

    Args:
        name: Which one, for people to read.
        backend: Where it claims, and where results are recorded.
        host: Time, sleep, chance and threads.
        pool: The places of its runs.
        post: Brings what happens to the hooks.
        lease: Seconds for which a claim holds unless renewed.
        lifetime: Of which application a run is that begins now.
    """

    name: str
    backend: Backend
    host: Host
    pool: Pool
    post: Dispatcher
    lease: float
    lifetime: Callable[[], Lifetime]
