"""The store as one simulated process sees it: behind a way that takes its time and loses what it should bring."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from pseudocron.backends.memory import Memory
from pseudocron.errors import BackendError, PseudoCronError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence
    from random import Random

    from verification.simulation.event_loops import Agenda, Loop
    from verification.simulation.simulated_process import Machine

LOST = 0.3
"""The part of what is asked, and of what is answered, that is lost where something is."""

PATIENCE = 2.0
"""Seconds until who asks believes that nobody answers."""


class LossyStore:
    """A backend of one process. Each verb happens at one moment, somewhere between the question and the answer.

    What was on its way when the process died happens all the same. One whose answer is lost has happened, and raises.

    Args:
        memory: The store itself, by its own clock.
        machine: Where the process is, how its line is, and its clock.
        agenda: When the store does what.
        net: On which loop; it is never paused.
        chance: How long it takes, and what is lost.
        tell: Told of each verb: its name, what it was given, and what it gave or raised.
        alive: Whether the process still is.
    """

    durable = Memory.durable
    precision = Memory.precision
    lost_at_most = Memory.lost_at_most

    def __init__(
        self,
        memory: Memory,
        *,
        machine: Machine,
        agenda: Agenda,
        net: Loop,
        chance: Random,
        tell: Callable[[str, tuple[Any, ...], Any], None],
        alive: Callable[[], bool],
    ) -> None:
        self._memory = memory
        self._machine = machine
        self._agenda = agenda
        self._net = net
        self._chance = chance
        self._tell = tell
        self._alive = alive
        self.ahead = timedelta()
        self._is_open = False

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_"):
            raise AttributeError(verb)
        return partial(self._ask, verb)

    @property
    def cron_max_time(self) -> float:
        return self._memory.cron_max_time

    @cron_max_time.setter
    def cron_max_time(self, seconds: float) -> None:
        self._memory.cron_max_time = seconds

    async def open(self) -> None:
        if not self._is_open:
            await self._ask("open")
            self._is_open = True

    async def close(self) -> None:
        """That needs no way to the store."""
        self._is_open = False

    def renew(self, claims: Sequence[Any], lease: float) -> Collection[str]:
        return self._renew("renew", claims, lease)

    def renew_jobs(self, claims: Sequence[Any], lease: float) -> Collection[str]:
        return self._renew("renew_jobs", claims, lease)

    def _renew(self, verb: str, claims: Sequence[Any], lease: float) -> Collection[str]:
        fate = self._fate()
        if fate == "unasked":
            raise BackendError("the store can't be reached")
        living: Collection[str] = getattr(self._memory, verb)(claims, lease)
        self._tell(verb, (tuple(claims), lease), tuple(sorted(living)))
        if fate == "unanswered":
            raise BackendError("the answer is lost")
        return living

    async def _ask(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        if not self._alive():  # the dead ask nothing, and hear nothing of it
            raise asyncio.CancelledError
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        fate = self._fate()
        if fate == "unasked":
            self._bound(answer, PATIENCE, BackendError("the store can't be reached"))
        else:
            self._net.call_later(self._latency(), self._do, answer, fate, verb, args, kwargs)
        result, clock = await answer
        if verb in {"open", "states"}:
            self.ahead = clock - self._machine.now()
        return result

    def _do(self, answer: asyncio.Future[Any], fate: str, verb: str, args: Any, kwargs: Any) -> None:
        """The moment in which a verb happens."""
        clock = self._memory._now()
        try:
            result = at_once(getattr(self._memory, verb)(*args, **kwargs))
        except PseudoCronError as error:
            self._tell(verb, (*args, *kwargs.values()), error)
            self._bound(answer, self._latency(), error)
            return
        self._tell(verb, (*args, *kwargs.values()), result)
        if fate == "unanswered":
            self._bound(answer, PATIENCE, BackendError("the answer is lost"))
        else:
            self._bound(answer, self._latency(), (result, clock))

    def _bound(self, answer: asyncio.Future[Any], seconds: float, said: Any) -> None:
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


def at_once(verb: Coroutine[Any, Any, Any]) -> Any:
    """What a verb of the memory gives: it never waits for anything."""
    try:
        verb.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError(f"{verb} waits")
