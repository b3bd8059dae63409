"""Context of the current run: `current_run()`, in a coroutine, a thread or a child process."""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from pseudocron.dataclass import dataclass
from pseudocron.errors import NoRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Flag:
    """Whether a run has lost its claim; can be read in a coroutine and in a thread. Once set it stays set.

    Args:
        _asked: Returns whether the claim is lost.
    """

    _asked: Callable[[], bool] = lambda: False

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._asked()

    __bool__ = is_set


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRun:
    """The run that the calling code belongs to.

    Args:
        name: Name of the cron, or of the task.
        slot: Scheduled instant of this run, or when the job was due, aware UTC. `f"{name}:{slot.isoformat()}"` is the
            idempotency key of a run of a cron.
        fence: Integer that grows with every claim of this cron or job; a store can refuse a lower one.
        attempt: Number of the attempt, from 1.
        run_id: Identity of the run in the history, or of the job.
        deadline: When the timeout is over, aware UTC; None without a timeout.
        is_job: Whether this is an attempt of a job, and not a run of a cron.
        state: Lifespan state of the application (`scope["state"]`); empty in a child process.
        context: Context that was stored with the job by `defer`; empty in a child process.
        cancelled: Set when the lease of this run could not be renewed in time, so that its slot or job may run in
            another process: stop, and write nothing more. It is not available in a child process, which has its fence
            and its deadline.
    """

    name: str
    slot: datetime
    fence: int
    attempt: int
    run_id: str
    deadline: datetime | None = None
    is_job: bool = False
    state: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)
    cancelled: Flag = field(default=Flag(), compare=False, repr=False)

    def _current(self) -> CurrentRun:
        """Return the run: it is a `RunContext` itself."""
        return self

    def _write(self, text: str) -> None:
        """Keep nothing of what is printed and logged: this is no run of a worker."""

    def _environ(self) -> dict[str, str]:
        """Return the context for a child process, as environment variables."""
        return {
            "PSEUDOCRON_NAME": self.name,
            "PSEUDOCRON_SLOT": self.slot.isoformat(),
            "PSEUDOCRON_FENCE": str(self.fence),
            "PSEUDOCRON_ATTEMPT": str(self.attempt),
            "PSEUDOCRON_RUN_ID": self.run_id,
            "PSEUDOCRON_DEADLINE": self.deadline.isoformat() if self.deadline else "",
            "PSEUDOCRON_IS_JOB": "1" if self.is_job else "",
        }


class RunContext(Protocol):
    """What makes the `CurrentRun` of the code that runs, when it asks: most code does not."""

    @property
    def name(self) -> str:
        """The name of the cron, or of the task."""

    def _current(self) -> CurrentRun:
        """Return the run."""

    def _write(self, text: str) -> None:
        """Keep what its code prints or logs; from any thread."""


running: ContextVar[RunContext] = ContextVar("pseudocron_run")


def current_run() -> CurrentRun:
    """Return the run that this code belongs to; raise `NoRunError`, a `LookupError`, outside of a run."""
    context = running.get(None)
    run = _from_environ(_environ()) if context is None else context._current()
    if run is None:
        raise NoRunError("current_run() was called outside of a run")
    return run


def _environ() -> dict[str, str]:
    """Return our variables of the environment, which are UTF-8 in any locale."""
    ours = ((name, value) for name, value in os.environb.items() if name.startswith(b"PSEUDOCRON_"))
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in ours}


def _from_environ(env: Mapping[str, str]) -> CurrentRun | None:
    if "PSEUDOCRON_RUN_ID" not in env:
        return None
    deadline = env.get("PSEUDOCRON_DEADLINE")
    return CurrentRun(
        name=env["PSEUDOCRON_NAME"],
        slot=datetime.fromisoformat(env["PSEUDOCRON_SLOT"]),
        fence=int(env["PSEUDOCRON_FENCE"]),
        attempt=int(env["PSEUDOCRON_ATTEMPT"]),
        run_id=env["PSEUDOCRON_RUN_ID"],
        deadline=datetime.fromisoformat(deadline) if deadline else None,
        is_job=bool(env.get("PSEUDOCRON_IS_JOB")),
    )
