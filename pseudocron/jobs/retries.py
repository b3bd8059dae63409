"""Whether what a job raised lets it run again: of one exception, of a group, and of one in a child process."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pseudocron.errors import ArgumentError
from pseudocron.executors.raised import RaisedInChild, members_of, name_of
from pseudocron.jobs.tasks import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def requested(raised: BaseException | None) -> Retry | None:
    """Return the `Retry` that was raised; of those in a group, the one with the longest `after`."""
    retries = [_as_retry(leaf) for leaf in _leaves(raised) if _is(leaf, (Retry,))]
    return max(retries, key=lambda retry: retry.after or timedelta(), default=None)


def is_retryable(raised: BaseException | None, retry_for: tuple[type[BaseException], ...]) -> bool:
    """Return whether what was raised is in `retry_for`.

    A group is if it is an instance of these classes itself, or all that is in it is. What is not known (of a script,
    of a child process that was killed) is in it; arguments that do not fit the task never are.
    """
    if any(_is(leaf, (ArgumentError,)) for leaf in _leaves(raised)):
        return False
    left = [] if raised is None else [raised]
    while left:
        one = left.pop()
        if _is(one, retry_for):
            continue
        if not (members := _members(one)):
            return False
        left += members
    return True


def _is(raised: BaseException, classes: tuple[type[BaseException], ...]) -> bool:
    if isinstance(raised, RaisedInChild):
        return not raised.names.isdisjoint(map(name_of, classes))
    return isinstance(raised, classes)


def _as_retry(leaf: BaseException) -> Retry:
    return leaf if isinstance(leaf, Retry) else Retry(getattr(leaf, "after", None))


def _members(raised: BaseException) -> Sequence[BaseException]:
    if isinstance(raised, RaisedInChild):
        return raised.members
    return members_of(raised)


def _leaves(raised: BaseException | None) -> Iterator[BaseException]:
    left = [] if raised is None else [raised]
    while left:
        one = left.pop()
        members = _members(one)
        left += members
        if not members:
            yield one
