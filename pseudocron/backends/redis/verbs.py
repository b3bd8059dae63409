"""The base of the groups of verbs: each verb is one call of a script."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from pseudocron.backends.legible import ILLEGIBLE
from pseudocron.backends.redis.codec import micros_of
from pseudocron.backends.redis.connection import Targets
from pseudocron.errors import BackendError, PseudoCronError, cause
from pseudocron.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from datetime import datetime

    from pseudocron.backends.redis.connection import Connection

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V", bound="Verbs")

NO_TARGETS = Targets()


def reading(
    verb: Callable[Concatenate[V, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[V, P], Coroutine[Any, Any, T]]:
    """Decorate a verb that reads what the server answers: what can't be read of it is a `BackendError`."""

    @wraps(verb)
    async def read(self: V, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await verb(self, *args, **kwargs)
        except PseudoCronError:
            raise
        except ILLEGIBLE as error:
            fix = "remove it, or give the application another name with app="
            raise BackendError(f"{self.name} holds what can't be read ({cause(error)}): {fix}") from error

    return read


class Verbs:
    """What all verbs need.

    Args:
        connection: The connection to the server.
        keep: How many ended runs, and how many skips, are kept of each cron.
        cron_max_time: The `CRON_MAX_TIME` of this process in seconds.
    """

    cron_max_time: float

    def __init__(self, connection: Connection, *, keep: int, cron_max_time: float) -> None:
        self._connection = connection
        self._keep = keep
        self.cron_max_time = cron_max_time

    @property
    def name(self) -> str:
        """What to call the server in errors; without a password."""
        return self._connection.name

    async def _call(self, verb: str, targets: Targets = NO_TARGETS, **arguments: object) -> Any:
        return await self._connection.call(verb, targets, **self._settings(), **arguments)

    def _send(self, verb: str, answered: Callable[[Any], None], **arguments: object) -> None:
        self._connection.ask(verb, answered, **self._settings(), **arguments)

    def _call_blocking(self, verb: str, **arguments: object) -> Any:
        return self._connection.call_blocking(verb, **self._settings(), **arguments)

    def _settings(self) -> dict[str, object]:
        return {"keep": self._keep, "cron_max_time": micros_of(self.cron_max_time)}

    def _expected_time(self) -> tuple[int, int] | None:
        """Return what the server's clock shows if it was not stepped, and since when that counts, in microseconds."""
        raise NotImplementedError

    def _note_steps(self) -> None:
        """Note that a poll has dealt with steps of the server's clock so far."""
        raise NotImplementedError

    def _tell(self, answer: Mapping[str, Any]) -> None:
        """Log what the scripts have found gone or harmed, and dealt with."""
        for run_id, name, is_gone in answer.get("odd") or ():
            if is_gone:
                logger.error("%s: run %s of %s is no longer in the store: dropped", self.name, run_id, name)
            else:
                logger.error("%s: run %s of %s can't be read: set aside as failed", self.name, run_id, name)

    def _legible(self, read: Callable[[Any], T], stored: Iterable[Any]) -> list[T]:
        """Return the records that can be read, and log the others: one of them must not hold up the rest."""
        found = []
        for one in stored:
            try:
                found.append(read(one))
            except BackendError as error:
                run_id = one.get("run_id") if isinstance(one, dict) else None
                logger.warning("%s: run %s is left out: %s", self.name, run_id, error)
        return found

    def _server_time(self) -> datetime:
        """Return the server's time, as it was last read."""
        raise NotImplementedError
