"""What a fork must wait for: a connection must not be open across it, nor a lock be held by a thread that is gone."""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


class Parkable(Protocol):
    """What can wait for its transactions to end, and begin again on both sides of a fork."""

    def park(self) -> None:
        """Wait for the transactions of this process to end before a fork, and let none begin."""

    def unpark(self, *, is_child: bool) -> None:
        """Allow transactions again after a fork, on both sides."""


parkable: WeakSet[Parkable] = WeakSet()
"""All that has to be parked."""

_parked: list[Parkable] = []
_forking = threading.Lock()


def _park_all() -> None:
    _forking.acquire()
    _parked.extend(parkable)
    for one in _parked:
        one.park()


def _unpark_all(*, is_child: bool) -> None:
    while _parked:
        _parked.pop().unpark(is_child=is_child)
    _forking.release()


os.register_at_fork(
    before=_park_all,
    after_in_parent=lambda: _unpark_all(is_child=False),
    after_in_child=lambda: _unpark_all(is_child=True),
)
