"""An exception that raises when it is formatted still ends its run, and keeps its type."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from executors.executing import ended
from pseudocron.backends.model import State
from pseudocron.errors import cause, show
from pseudocron.executors.raised import encoded
from pseudocron.jobs.retries import is_retryable, requested

if TYPE_CHECKING:
    from collections.abc import Callable


class SilentError(Exception):
    def __str__(self) -> str:
        raise SystemExit

    def __repr__(self) -> str:
        raise RuntimeError


class OddSyntaxError(SyntaxError):
    @property
    def lineno(self) -> Any:  # type: ignore[override]
        raise ValueError


class OddNotesError(Exception):
    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        raise RuntimeError


class OddGroup(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise RuntimeError


ERRORS = [
    *(SilentError, OddSyntaxError, OddNotesError),
    functools.partial(OddGroup, "x", [ValueError()]),
]
"""Made in the tests: pytest shows its parameters."""


@pytest.mark.parametrize("make", ERRORS, ids=range(len(ERRORS)))
def test_it_keeps_its_type_in_whatever_is_made_of_it(make: Callable[[], Exception]) -> None:
    error = make()

    async def coroutine() -> None:
        raise error

    def plain() -> None:
        raise error

    for function in (coroutine, plain):
        end = ended(function)
        assert end.outcome is State.FAILED
        assert type(error).__name__ in (end.error or "")
        assert "test_unformattable.py" in (end.error or "")
        assert is_retryable(end.raised, (Exception,))
        assert not is_retryable(end.raised, (KeyError,))
        assert requested(end.raised) is None
    assert cause(error).startswith(type(error).__name__)
    assert type(error).__name__ in show(error)


@pytest.mark.parametrize("make", ERRORS, ids=range(len(ERRORS)))
def test_a_child_reports_its_type(make: Callable[[], Exception]) -> None:
    error = make()
    assert type(error).__name__.encode() in encoded(error)
