"""The arguments of a job: JSON in the store, and in the call what the task's annotations say."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from pseudocron.errors import ArgumentError, cause, show

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 256 * 1024
"""Bytes of JSON that the arguments of one job may take."""

AS_TEXT: Mapping[type, Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    UUID: UUID,
    Decimal: Decimal,
}
"""What is stored as its text, and how that is read."""


def pack(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The arguments of a call as JSON, checked as if it were called.

    Each must come back as it was. What JSON does not know (`datetime`, `date`, `time`, `timedelta`, `UUID`,
    `Decimal`, an `Enum`, a dataclass) comes back by the parameter's annotation.

    Raises:
        ArgumentError: They do not fit the function, are too long, or one of them can't be stored; names it.
    """
    bound = _bind(function, args, kwargs)
    stored = {name: _plain(function, name, value) for name, value in bound.arguments.items()}
    text = json.dumps(stored, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    if size > LIMIT:
        raise ArgumentError(f"{_name(function)}: arguments of {size} bytes, at most {LIMIT} are allowed")
    again = unpack(function, text)
    for name, value in bound.arguments.items():
        if not _same(value, again.arguments[name]):
            raise ArgumentError(_misfit(function, name, value))
    return text


def unpack(function: Callable[..., Any], text: str) -> inspect.BoundArguments:
    """What `pack` has stored, by the function's annotations; call it with `.args` and `.kwargs`.

    Raises:
        ArgumentError: They do not fit the function any more.
    """
    stored: dict[str, Any] = json.loads(text)
    signature, hints = inspect.signature(function), _hints(function)
    unknown = stored.keys() - signature.parameters.keys()
    if unknown:
        raise ArgumentError(f"{_name(function)}: has no parameter {show(min(unknown))} any more")
    bound = signature.bind_partial()
    for name, value in stored.items():
        try:
            bound.arguments[name] = _meant(value, _annotation(signature.parameters[name], hints))
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise ArgumentError(f"{_name(function)}: argument {name!r}: {show(value)}: {cause(error)}") from None
    _bind(function, bound.args, bound.kwargs)
    return bound


def _bind(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    try:
        return inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"{_name(function)}: {error}") from None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError):  # an annotation that only a type checker can follow
        return {}


def _annotation(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    """The annotation of what is stored for a parameter: of `*args` a tuple, of `**kwargs` a mapping."""
    hint = hints.get(parameter.name, Any)
    if parameter.kind is parameter.VAR_POSITIONAL:
        return tuple[hint, ...]
    if parameter.kind is parameter.VAR_KEYWORD:
        return dict[str, hint]  # type: ignore[valid-type]
    return hint


def _plain(function: Callable[..., Any], name: str, value: object) -> Any:
    try:
        plain = _to_json(value)
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ArgumentError(_misfit(function, name, value)) from None
    return plain


def _to_json(value: Any) -> Any:
    if isinstance(value, Enum):
        return _to_json(value.value)
    if isinstance(value, tuple(AS_TEXT)):
        return value.isoformat() if isinstance(value, date | time) else str(value)
    if isinstance(value, timedelta):
        return value / timedelta(microseconds=1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_json(item) for item in value]
    return value


def _meant(value: Any, hint: Any) -> Any:
    """What a stored value means where this annotation stands."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return _first(value, parts)
    if origin in {tuple, list, set, frozenset, Sequence} and isinstance(value, list):
        return _several(value, origin, parts)
    if origin in {dict, Mapping} and isinstance(value, dict) and parts:
        return {key: _meant(item, parts[1]) for key, item in value.items()}
    if not isinstance(hint, type):
        return value
    return _instance(value, hint)


def _first(value: Any, hints: Sequence[Any]) -> Any:
    """What it means by the first annotation of a union that fits."""
    if value is None and type(None) in hints:
        return None
    for hint in hints:
        try:
            meant = _meant(value, hint)
        except (TypeError, ValueError, ArithmeticError, LookupError):
            continue
        if not isinstance(hint, type) or isinstance(meant, hint):
            return meant
    return value


def _several(value: list[Any], kind: Any, parts: Sequence[Any]) -> Any:
    kind = list if kind is Sequence else kind
    if kind is tuple and parts and parts[-1] is not Ellipsis:
        return tuple(_meant(item, part) for item, part in zip(value, parts, strict=True))
    return kind(_meant(item, parts[0] if parts else Any) for item in value)


def _instance(value: Any, kind: type) -> Any:
    if kind in AS_TEXT and isinstance(value, str):
        return AS_TEXT[kind](value)
    if kind is timedelta:
        return timedelta(microseconds=value)
    if issubclass(kind, Enum):
        return kind(value)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = _hints(kind)
        return kind(**{name: _meant(item, hints.get(name, Any)) for name, item in value.items()})
    if kind in {tuple, set, frozenset} and isinstance(value, list):
        return kind(value)
    return value


def _same(before: object, after: object) -> bool:
    return type(before) is type(after) and before == after


def _misfit(function: Callable[..., Any], name: str, value: object) -> str:
    kind = type(value).__name__
    return (
        f"{_name(function)}: argument {name!r}: {show(value)}: a {kind} can't be stored and come back as it is, "
        "annotate the parameter with its type or hand over text, numbers, lists and mappings"
    )


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__name__', 'task')}()"
