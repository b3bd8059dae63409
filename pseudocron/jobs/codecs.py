"""Codecs: values to JSON, and JSON back to values by their annotations."""

from __future__ import annotations

import inspect
import types
from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CODECS: Mapping[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    datetime: (datetime.isoformat, datetime.fromisoformat),
    date: (date.isoformat, date.fromisoformat),
    time: (time.isoformat, time.fromisoformat),
    timedelta: (timedelta.total_seconds, lambda seconds: timedelta(seconds=seconds)),
}
"""How a value of a type is encoded and decoded."""
BY_TEXT = frozenset({"decimal.Decimal", "uuid.UUID"})
"""Types that are encoded as their text; by name, so that they need not be imported."""

PLAIN = frozenset({str, int, float, bool, types.NoneType})
SCALARS: Mapping[Any, frozenset[type]] = {
    str: frozenset({str}),
    int: frozenset({int, bool}),
    float: frozenset({float, int, bool}),
    bool: frozenset({bool}),
    types.NoneType: frozenset({types.NoneType}),
}
"""Types of the values that a plain annotation takes, as type checkers have it."""
LISTS = frozenset({list, tuple, set, frozenset})
ABSTRACT: Mapping[Any, type] = {Sequence: list, Collection: list, Iterable: list, Mapping: dict, MutableMapping: dict}
"""Concrete types for abstract annotations."""


def encode(value: Any) -> Any:
    """Return a value in the types of JSON; `TypeError` if its type, or a subclass of a type, can't be decoded."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if codec := _codec(kind):
        return codec[0](value)
    if isinstance(value, Enum):
        return encode(value.value)
    if kind is dict and all(type(key) is str for key in value):
        return {key: encode(item) for key, item in value.items()}
    if kind in LISTS:
        return [encode(item) for item in value]
    if is_dataclass(kind):
        return {one.name: encode(getattr(value, one.name)) for one in fields(kind) if one.init}
    raise TypeError


def _codec(kind: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]] | None:
    return (str, kind) if f"{kind.__module__}.{kind.__qualname__}" in BY_TEXT else CODECS.get(kind)


def decode(value: Any, hint: Any) -> Any:
    """Return the value that is encoded, by its annotation; `TypeError` or `ValueError` if it is of another type."""
    if (kinds := SCALARS.get(hint)) is not None:
        return value if type(value) in kinds else _refuse(hint)
    if (meant := getattr(hint, "__supertype__", getattr(hint, "__value__", None))) is not None:
        return decode(value, meant)  # a NewType, a type alias
    origin = get_origin(hint) or hint
    if origin in {Union, types.UnionType}:
        return _first(value, hint)
    concrete = ABSTRACT.get(origin, origin)
    if concrete in LISTS or concrete is dict:
        return _container(value, concrete, hint)
    if origin is Literal and value not in map(encode, get_args(hint)):
        _refuse(hint)
    return _instance(value, hint) if isinstance(hint, type) else value


def _refuse(hint: Any) -> NoReturn:
    raise TypeError(f"must be {inspect.formatannotation(hint)}")


def _container(value: Any, kind: type, hint: Any) -> Any:
    parts = get_args(hint)
    if kind is dict:
        if not isinstance(value, dict):
            _refuse(hint)
        return {key: decode(item, parts[1]) for key, item in value.items()} if parts else value
    if isinstance(value, list | tuple):
        return _several(value, kind, parts)
    # Text is a sequence of text, where any kind of sequence is taken.
    return value if isinstance(value, str) and (get_origin(hint) or hint) in ABSTRACT else _refuse(hint)


def _first(value: Any, union: Any) -> Any:
    """Return the value by the member of a union that would be encoded the same way, else by the first that fits."""
    fitting = list(_fitting(value, get_args(union)))
    if not fitting:
        _refuse(union)
    return next((one for one in fitting if encode(one) == value), fitting[0])


def _fitting(value: Any, hints: Sequence[Any]) -> Iterator[Any]:
    for hint in hints:
        with suppress(Exception):  # then another member fits
            one = decode(value, hint)
            if _is_a(one, get_origin(hint) or hint):
                yield one


def _is_a(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type; True for types that can't be checked, such as a protocol or `Any`."""
    try:
        return isinstance(value, (float, int) if kind is float else kind)  # as for type checkers, an int is a float
    except TypeError:
        return True


def _several(value: Sequence[Any], kind: Any, parts: Sequence[Any]) -> Any:
    if kind is tuple and parts and parts[-1] is not Ellipsis:
        return tuple(decode(item, part) for item, part in zip(value, parts, strict=True))
    return kind(decode(item, parts[0] if parts else Any) for item in value)


def _instance(value: Any, kind: type) -> Any:
    if codec := _codec(kind):
        return codec[1](value) if isinstance(value, str) or kind is timedelta else _refuse(kind)
    if issubclass(kind, Enum):
        return kind(value)
    if is_dataclass(kind):
        if not isinstance(value, dict):
            _refuse(kind)
        hints = _hints(kind)
        return kind(**{name: decode(item, hints.get(name, Any)) for name, item in value.items()})
    return value if _is_a(value, kind) else _refuse(kind)


@lru_cache(maxsize=1024)
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def same(before: Any, after: Any) -> bool:
    """Return whether both are equal, and of the same types at every level."""
    kind = type(before)
    if kind is not type(after):
        return False
    if _codec(kind):
        # In the hour that is repeated, two datetimes of different zones are never equal; no NaN is.
        return bool(encode(before) == encode(after))
    if kind is dict:
        return same(list(before.items()), list(after.items()))
    if kind in {list, tuple}:
        return len(before) == len(after) and all(map(same, before, after))
    if is_dataclass(kind):
        return all(same(getattr(before, one.name), getattr(after, one.name)) for one in fields(kind))
    return bool(before == after)
