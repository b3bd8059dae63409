"""Hostile inputs made of bytes, so that hypothesis, atheris and plain chance can all make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

ODD = ("", "\0", "\n", "\r\n", "\ud800", "\u202e", "٣", "İ", "ß", "🦀", "\u2028", "%", ":" * 50, "@", "'", '"', "\\")
NUMBERS = (
    *("0", "1", "-1", "5", "7", "29", "31", "59", "60", "9999", "1e308", "-0.0", "nan", "inf", "0x1f", "1_0"),
    *("9" * 19, "9" * 400, "9" * 5000, "0" * 300, "0.0001", "253402300799", "9223372036854775808"),
)
WHOLES = (0, 1, -1, 10**6, 2**31, 2**53, 2**63 - 1, -(2**63), 253_402_300_799_999_999, -62_135_596_800_000_000)
FLOATS = (0.0, -0.0, 1.5, 1e-9, 1e308, float("inf"), float("nan"))


class Bytes:
    """Draws from bytes, as long as there are any; then always the first of what there is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def one(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    @property
    def left(self) -> int:
        return max(0, len(self._data) - self._at)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[(self.one() if len(choices) < 256 else self.one() * 256 + self.one()) % len(choices)]

    def rest(self) -> bytes:
        rest, self._at = self._data[self._at :], len(self._data)
        return rest

    def text(self, words: Sequence[str], most: int = 12) -> str:
        """Words of a language, with what does not belong there between them."""
        parts = []
        for _ in range(self.one() % (most + 1)):
            kind = self.one()
            if kind < 180:
                parts.append(self.pick(words))
            elif kind < 215:
                parts.append(self.pick(NUMBERS))
            elif kind < 235:
                parts.append(self.pick(ODD))
            elif kind < 250:
                parts.append(chr(self.one() * 256 + self.one()))
            else:
                parts.append(self.pick(words) * self.pick((2, 40, 700)))
        return self.pick((" ", "", ",", ".")).join(parts)

    def value(self, words: Sequence[str], depth: int = 3) -> Any:
        """Return a value that a mapping, TOML or JSON may hold."""
        kind = self.one() % (9 if depth else 6)
        if kind < 2:
            return self.text(words, 6)
        if kind < 6:
            return (None, True, self.pick(WHOLES), self.pick(FLOATS))[kind - 2]
        items = [self.value(words, depth - 1) for _ in range(self.one() % 4)]
        if kind == 6:
            return items
        if kind == 7:
            return tuple(items)
        return {self.text(words, 1): item for item in items}

    def column(self, words: Sequence[str]) -> object:
        """Return a value that a column of SQLite may hold, whatever type it declares."""
        kind = self.one() % 6
        said = self.text(words, 4).encode(errors="replace")
        return (None, self.pick(WHOLES), self.pick(FLOATS), said, said.decode(errors="replace"), "x" * 100_000)[kind]
