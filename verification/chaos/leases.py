"""Which leases were living for certain, whatever the store and the processes did between what was seen of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING

from verification.chaos.history import asked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from verification.chaos.history import Event, History

Span = tuple[float, float]
Held = tuple[str, int]


def too_many(history: History, claims: Iterable[Event], most: int, whose: str) -> Iterator[str]:
    """Return the moments at which more than so many of these claims had a living lease."""
    spans = _spans(history)
    edges: list[tuple[float, int, Held]] = []
    for claim in claims:
        held = _held(claim)
        for begin, end in _merged(spans[held]):
            edges += [(begin, 1, held), (end, -1, held)]
    living: set[Held] = set()
    for at, step, held in sorted(edges):
        if step < 0:
            living.discard(held)
            continue
        living.add(held)
        if len(living) > most:
            yield f"{whose}: {sorted(living)} at {at:.3f}"


def _held(claim: Event) -> Held:
    return claim.get("job") or claim["run"], claim["fence"]


@lru_cache(maxsize=1)
def _spans(history: History) -> dict[Held, list[Span]]:
    """Return the spans of leases: from the answer that grants a lease until its length after the request, or its end.

    That is a result that somebody begins to record, the end of the store's memory, or a step of its clock. In a folder
    others see that a process is gone, and do not wait for its leases: these live until its last sign of life.
    """
    (store,) = history.of("store")
    finishing: dict[Held, float] = {}
    for event in reversed(history.of("finishing")):
        finishing |= dict.fromkeys([(identity, fence) for identity, fence in event["runs"]], float(event["at"]))
    breaks = sorted(map(asked, history.of("wipe", "clock")))
    signs = {pid: (at,) for pid, at in history.last_signs.items()} if store["kind"] == "file" else {}
    spans: dict[Held, list[Span]] = defaultdict(list)
    for event in history.of("claim", "renew"):
        runs = [_held(event)] if event["what"] == "claim" else event["runs"]
        following = bisect_left(breaks, event["asked"])
        end = min([event["asked"] + store["lease"], *breaks[following : following + 1], *signs.get(event["pid"], ())])
        for identity, fence in runs:
            until = min(end, finishing.get((identity, fence), end))
            if until > event["at"]:
                spans[identity, fence].append((event["at"], until))
    return spans


def _merged(spans: list[Span]) -> Iterator[Span]:
    """Merge the spans that overlap."""
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return iter(merged)
