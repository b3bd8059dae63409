"""Lines in which jobs wait: the first is at hand, any other may leave."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

Item = TypeVar("Item", bound=tuple[Any, ...])


class Line(Generic[Item]):
    """Items in their order; everything takes a time that grows with the logarithm of their number, over many.

    Whoever leaves is struck off, and thrown out when it comes to the front or most of the line is struck off.
    """

    def __init__(self) -> None:
        self._heap: list[Item] = []
        self._left: set[Item] = set()

    def join(self, item: Item) -> None:
        """Let one wait that does not wait yet."""
        if item in self._left:
            self._left.remove(item)
        else:
            heappush(self._heap, item)

    def leave(self, item: Item) -> None:
        """Let one that waits wait no more."""
        self._left.add(item)
        if 2 * len(self._left) > len(self._heap):
            self._heap = [waiting for waiting in self._heap if waiting not in self._left]
            heapify(self._heap)
            self._left.clear()

    @property
    def size(self) -> int:
        """How many wait."""
        return len(self._heap) - len(self._left)

    @property
    def first(self) -> Item | None:
        """The first in the line, None if nobody waits."""
        while self._heap and self._heap[0] in self._left:
            self._left.remove(heappop(self._heap))
        return self._heap[0] if self._heap else None

    def served(self) -> Iterator[Item]:
        """Each in its turn; it waits no more."""
        while (first := self.first) is not None:
            heappop(self._heap)
            yield first
