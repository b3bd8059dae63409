"""What both ways to a Redis server have in common: a request, and how it gets its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSES = (0.05, 0.2, 0.5)
"""Seconds between the attempts of one call."""

CLOSE_WITHIN = 1.0
"""Seconds within which a connection must be closed."""


def same(answer: Any) -> Any:
    """Return an answer as it is."""
    return answer


class Request(NamedTuple):
    """A command for the server.

    Attributes:
        words: The command and its arguments.
        instead: The same, in case that the server does not know the script that it names.
        read: Makes of the answer what the caller gets; called when the answer comes, in another thread.
    """

    words: tuple[str | int, ...]
    instead: tuple[str | int, ...] = ()
    read: Callable[[Any], Any] = same


class Calls(ABC):
    """The calls of one process, from any thread and event loop.

    A connection that breaks or is silent is given up, and its calls are repeated on another one.
    """

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether calls are taken."""

    @abstractmethod
    def start(self) -> None:
        """Start; connects for the first call only."""

    @abstractmethod
    def stop(self) -> None:
        """Disconnect; blocks. Calls that have no answer are told that it is closed."""

    @abstractmethod
    async def run(self, request: Request, within: float) -> Any:
        """Return the answer to a request, or the exception that is in its place.

        Args:
            request: What is asked. It is made although its caller is cancelled: it may have been made already.
            within: Seconds to wait for the answer.
        """

    @abstractmethod
    def block(self, request: Request, within: float) -> Any:
        """Return the answer to a request, or the exception that is in its place; blocks."""
