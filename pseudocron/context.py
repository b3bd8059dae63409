"""What a run may know of itself: `current_run()`, in a coroutine, a thread or a child process."""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pseudocron.dataclass import dataclass
from pseudocron.errors import NoRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Flag:
    """Whether a run has lost its claim; may be asked in a coroutine and in a thread. Once set it stays set.

    Args:
        _asked: Returns whether the claim is lost.
    """

    _asked: Callable[[], bool] = lambda: False

    def is_set(self) -> bool:
        """Whether it is."""
        return self._asked()

    __bool__ = is_set


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRun:
    """The run that the calling code belongs to.

    Args:
        name: The cron's name.
        slot: The scheduled instant that this run is for, aware UTC. `f"{name}:{slot.isoformat()}"` is the
            idempotency key to hand on.
        fence: An integer that grows with every claim of this cron; a store can refuse a lower one.
        attempt: Counts the tries of this slot, from 1.
        run_id: The identity of the run in the history.
        deadline: When the timeout is over, aware UTC; None without a timeout.
        is_job: Whether it is an attempt of a job: `name` is the task's then, `slot` is when it was due.
        state: The application's lifespan state (`scope["state"]`), empty in a child process.
        context: What the job carries from where it was deferred, empty in a child process.
        cancelled: Set when the lease of this run could not be renewed in time, so that its slot or job may run
            elsewhere: stop, and write nothing more. A child process can't see it: it has its fence and its deadline.
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

    def _environ(self) -> dict[str, str]:
        """The same for a child process, as environment variables."""
        return {
            "PSEUDOCRON_NAME": self.name,
            "PSEUDOCRON_SLOT": self.slot.isoformat(),
            "PSEUDOCRON_FENCE": str(self.fence),
            "PSEUDOCRON_ATTEMPT": str(self.attempt),
            "PSEUDOCRON_RUN_ID": self.run_id,
            "PSEUDOCRON_DEADLINE": self.deadline.isoformat() if self.deadline else "",
            "PSEUDOCRON_IS_JOB": "1" if self.is_job else "",
        }


running: ContextVar[CurrentRun] = ContextVar("pseudocron_run")


def current_run() -> CurrentRun:
    """The run that this code belongs to; `NoRunError`, a `LookupError`, outside of one."""
    run = running.get(None) or _from_environ(os.environ)
    if run is None:
        raise NoRunError("current_run() was called outside of a run")
    return run


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
