"""Some inputs of each target in every run of the suite; `make fuzz` tries millions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from verification.fuzzing import endpoints, parsers, stores

if TYPE_CHECKING:
    from collections.abc import Callable

PARSERS = (parsers.schedule, parsers.toml, parsers.mapping, parsers.settings, parsers.arguments)
ENDPOINTS = (endpoints.call_trigger, endpoints.call_health, endpoints.visit_dashboard, endpoints.knock_at_dashboard)
STORES = (stores.rows, stores.hashes)


@pytest.mark.parametrize("target", [*PARSERS, *STORES, *ENDPOINTS], ids=lambda target: target.__name__)
def test_whatever_comes_in_gets_an_answer_or_one_line(target: Callable[[bytes], None]) -> None:
    @settings(max_examples=10 if target is stores.rows else 40, deadline=None, database=None)
    @given(some.binary(min_size=8, max_size=200))
    def tried(data: bytes) -> None:
        target(data)

    tried()
