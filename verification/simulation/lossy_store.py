"""The store as one simulated process sees it: behind a way that takes its time and loses what it should bring."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from pseudocron.errors import BackendError, PseudoCronError
from verification.simulation.shared_store import Tear, at_once, tear

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from random import Random

    from pseudocron.backends.questions import Poll
    from verification.simulation.event_loops import Agenda, Loop
    from verification.simulation.machine import Machine
    from verification.simulation.shared_store import SharedStore

LOST = 0.3
"""The part of what is asked, and of what is answered, that is lost where something is."""

PATIENCE = 2.0
"""Seconds until who asks believes that nobody answers."""


class LossyStore:
    """A backend of one process. Each verb happens at one moment, somewhere between the question and the answer.

    What was on its way when the process died happens all the same. One whose answer is lost has happened, and raises.

    Args:
        store: The store itself, by its own clock.
        cron_max_time: The `CRON_MAX_TIME` of the process.
        machine: Where the process is, how its line is, and its clock.
        agenda: When the store does what.
        net: On which loop; it is never paused.
        chance: How long it takes, and what is lost.
        tell: Told of each verb: its name, what it was given, and what it gave or raised.
        alive: Whether the process still is.

    Attributes:
        on_poll: Called when the process begins to poll.
        on_torn: Set if the process is to die in the middle of its next poll: what kills it.
    """

    durable = False
    has_own_clock = True

    def __init__(
        self,
        store: SharedStore,
        *,
        cron_max_time: float,
        machine: Machine,
        agenda: Agenda,
        net: Loop,
        chance: Random,
        tell: Callable[[str, tuple[Any, ...], Any], None],
        alive: Callable[[], bool],
    ) -> None:
        self._store = store
        self._backend = store.backend(cron_max_time)
        self._machine = machine
        self._agenda = agenda
        self._net = net
        self._chance = chance
        self._tell = tell
        self._alive = alive
        self._read: tuple[datetime, float] | None = None
        self._is_open = False
        self.on_poll: Callable[[], None] = lambda: None
        self.on_torn: Callable[[], None] | None = None

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_"):
            raise AttributeError(verb)
        return partial(self._ask, verb)

    @property
    def ahead(self) -> timedelta:
        """A step of the host's clock changes it at once; one of the store's is read with the next answer."""
        if self._read is None:
            return timedelta()
        clock, at = self._read
        return clock + timedelta(seconds=self._agenda.now - at) - self._machine.now()

    @property
    def cron_max_time(self) -> float:
        return self._backend.cron_max_time

    @cron_max_time.setter
    def cron_max_time(self, seconds: float) -> None:
        self._backend.cron_max_time = seconds

    async def open(self) -> None:
        if not self._is_open:
            await self._ask("open")
            self._is_open = True

    async def close(self) -> None:
        """Close the store, for which no connection is needed."""
        self._is_open = False

    async def advice(self) -> Sequence[str]:
        return ()

    async def stale_in(self) -> float:
        self.on_poll()
        seconds: float = await self._ask("stale_in")
        return seconds

    def renew(self, claims: Sequence[Any], lease: float) -> Collection[str]:
        fate = self._fate()
        if fate == "unasked":
            raise BackendError("the store can't be reached")
        living: Collection[str] = self._backend.renew(claims, lease)
        self._tell("renew", (tuple(claims), lease), tuple(sorted(living)))
        if fate == "unanswered":
            raise BackendError("the answer is lost")
        return living

    async def _ask(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        if not self._alive():  # the dead ask nothing, and hear nothing of it
            raise asyncio.CancelledError
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        fate = self._fate()
        if fate == "unasked":
            self._later(answer, PATIENCE, BackendError("the store can't be reached"))
        else:
            self._net.call_later(self._latency(), self._do, answer, fate, verb, args, kwargs)
        result, self._read = await answer
        return result

    def _do(self, answer: asyncio.Future[Any], fate: str, verb: str, args: Any, kwargs: Any) -> None:
        """Do a verb, at the moment in which it happens."""
        if verb == "poll" and self.on_torn and self._alive():
            self._tear(args[0])
            return
        read = self._store.clock(), self._agenda.now
        try:
            result = at_once(getattr(self._backend, verb)(*args, **kwargs))
        except PseudoCronError as error:
            self._tell(verb, (*args, *kwargs.values()), error)
            self._later(answer, self._latency(), error)
            return
        self._tell(verb, (*args, *kwargs.values()), result)
        if fate == "unanswered":
            self._later(answer, PATIENCE, BackendError("the answer is lost"))
        else:
            self._later(answer, self._latency(), (result, read))

    def _tear(self, poll: Poll) -> None:
        polled = tear(self._backend, poll, self._chance.choice(list(Tear)))
        self._tell("torn", (poll,), polled)
        on_torn, self.on_torn = self.on_torn, None
        assert on_torn is not None
        on_torn()

    def _later(self, answer: asyncio.Future[Any], seconds: float, said: Any) -> None:
        answer.get_loop().call_later(seconds, _settle, answer, said)

    def _latency(self) -> float:
        slow = self._agenda.now < self._machine.slow_until
        return self._chance.random() * (2.0 if slow else 0.005)

    def _fate(self) -> str:
        now = self._agenda.now
        if not self._alive() or now < self._machine.cut_until:
            return "unasked"
        if now < self._machine.lossy_until and self._chance.random() < LOST:
            return self._chance.choice(("unasked", "unanswered"))
        return "well"


def _settle(answer: asyncio.Future[Any], said: Any) -> None:
    if answer.done():  # nobody waits any more
        return
    if isinstance(said, Exception):
        answer.set_exception(said)
    else:
        answer.set_result(said)
