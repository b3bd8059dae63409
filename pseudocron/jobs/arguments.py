"""Arguments of jobs: JSON in the store, and in the call values of the types of the annotations."""

from __future__ import annotations

import inspect
import json
import types
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pseudocron.dataclass import dataclass
from pseudocron.errors import ArgumentError, cause, did_you_mean, show
from pseudocron.jobs.codecs import LISTS, PLAIN, decode, encode, same

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 256 * 1024
"""Maximum bytes of JSON of the arguments of one job."""

FEW = 20
"""How many items of a list or mapping are searched for one that can't be stored."""

_written = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode  # `dumps` makes one a call


@dataclass(frozen=True, slots=True)
class _Shape:
    """The parameters of a function, and their annotations; `unread` are the annotations that can't be resolved.

    `needed` are the parameters without a default; None if some can't be given by name.
    """

    signature: inspect.Signature
    hints: Mapping[str, Any]
    unread: Mapping[str, str]
    needed: frozenset[str] | None


def pack(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the arguments of a call as JSON, after they are checked against the function.

    Each argument must be the same after decoding. What JSON does not have (`datetime`, `date`, `time`, `timedelta`,
    `UUID`, `Decimal`, an `Enum`, a dataclass, a tuple, a set) is decoded by the annotation of the parameter. An aware
    `datetime` keeps its offset from UTC, but not the name of its zone.

    Raises:
        ArgumentError: The arguments do not fit the function, are too long, or one of them can't be stored.
    """
    if not isinstance(kwargs, Mapping):
        raise ArgumentError(f"{_name(function)}: arguments {show(kwargs)}: must be a mapping of names to values")
    bound, items = _bind(function, args, kwargs), []
    for name, value in bound.arguments.items():
        items.append(f"{_written(name)}:{_json(function, name, value)}")
    text = "{" + ",".join(items) + "}"
    size = len(text.encode())
    if size > LIMIT:
        largest = max(zip(items, bound.arguments, strict=True), key=lambda item: len(item[0]))[1]
        words = f"arguments of {size} bytes, must be at most {LIMIT}: store {largest!r} elsewhere and pass its name"
        raise ArgumentError(f"{_name(function)}: {words}")
    return text


def unpack(function: Callable[..., Any], text: str) -> inspect.BoundArguments:
    """Return the arguments that `pack` has stored, decoded by the annotations, as `.args` and `.kwargs`.

    Raises:
        ArgumentError: They no longer fit the function.
    """
    bound, hints = plain(function, text), _shape(function).hints
    for name, value in bound.arguments.items():
        hint = hints[name]
        if type(value) is hint and hint in PLAIN:
            continue
        try:
            bound.arguments[name] = decode(value, hint)
        except Exception as error:  # noqa: BLE001 - a dataclass or an Enum of the user's may raise anything
            raise ArgumentError(f"{_name(function)}: argument {name!r}: {show(value)}: {cause(error)}") from None
    return bound


def plain(function: Callable[..., Any], text: str) -> inspect.BoundArguments:
    """Return stored arguments as JSON values, for a child process; errors are those of `unpack`."""
    shape, stored = _shape(function), _stored(function, text)
    signature = shape.signature
    unknown = stored.keys() - signature.parameters.keys()
    if unknown:
        raise ArgumentError(f"{_name(function)}: has no parameter {show(min(unknown))} any more")
    bound = inspect.BoundArguments(signature, OrderedDict(stored))
    if shape.needed is not None and shape.needed <= stored.keys():
        return bound  # as for nearly every job; binding takes longer than the rest of this function
    try:
        args, kwargs = bound.args, bound.kwargs
    except (TypeError, ValueError) as error:  # what is stored for `*args` is not a list
        raise ArgumentError(f"{_name(function)}: stored arguments do not fit: {cause(error)}") from None
    return _bind(function, args, kwargs)


def revive(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    """Return decoded arguments in the child process; errors are those of `unpack`."""
    return unpack(function, json.dumps(_bind(function, args, kwargs).arguments))


def typed(function: Callable[..., Any], texts: Mapping[str, str]) -> inspect.BoundArguments:
    """Return arguments that were typed in a shell, each of them JSON if that fits its annotation, else the text.

    So `5` is text to a `str`, and `1.10` is an exact `Decimal`. Errors are those of `unpack`.
    """
    bound = _bind(function, (), texts)
    hints = _shape(function).hints
    names = {name: hints[name] for name in bound.arguments}
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            names |= dict.fromkeys(texts.keys() - hints.keys(), get_args(hints[name])[1])
    return revive(function, (), {name: _of_text(text, names[name]) for name, text in texts.items()})


def _of_text(text: str, hint: Any) -> Any:
    try:
        value = json.loads(text)
        decode(value, hint)
    except Exception:  # noqa: BLE001 - a dataclass or an Enum of the user's may raise anything
        return text
    return value


def _stored(function: Callable[..., Any], text: str) -> dict[str, Any]:
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{_name(function)}: stored arguments can't be read: {cause(error)}") from None
    if not isinstance(stored, dict):
        raise ArgumentError(f"{_name(function)}: stored arguments {show(stored)}: must be a mapping")
    return stored


def _bind(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    try:
        return _shape(function).signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"{_name(function)}: {_unknown(function, kwargs) or error}") from None


def _unknown(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return what is wrong if an argument has a name that no parameter has."""
    parameters = _shape(function).signature.parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    unknown = [name for name in kwargs if name not in parameters and not takes_all]
    return f"has no parameter {show(unknown[0])}{did_you_mean(unknown[0], parameters)}" if unknown else None


@lru_cache(maxsize=1024)
def _shape(function: Callable[..., Any]) -> _Shape:
    signature, names = inspect.signature(function), _globals(function)
    hints: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for name, parameter in signature.parameters.items():
        hint = Any if parameter.annotation is parameter.empty else parameter.annotation
        try:
            # One by one: a name that only a type checker can resolve must not affect the other parameters.
            annotated = types.SimpleNamespace(__annotations__={"hint": hint})
            hint = get_type_hints(annotated, globalns=names)["hint"]
            hash(hint)
        except Exception:  # noqa: BLE001 - an annotation is the user's own expression
            unread[name], hint = str(hint), Any
        hints[name] = _of_all(parameter, hint if parameter.default is not None else hint | None)
    return _Shape(signature, hints, unread, _needed(signature))


def _needed(signature: inspect.Signature) -> frozenset[str] | None:
    parameters = signature.parameters.values()
    if any(one.kind not in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY} for one in parameters):
        return None
    return frozenset(one.name for one in parameters if one.default is one.empty)


def _globals(function: Any) -> dict[str, Any]:
    """Return the names that the annotations of a function can use."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    called = function if hasattr(function, "__globals__") else getattr(type(function), "__call__", None)  # noqa: B004 - what it is
    return getattr(called, "__globals__", {})


def _of_all(parameter: inspect.Parameter, hint: Any) -> Any:
    """Return the annotation of what is stored for a parameter: of `*args` a tuple, of `**kwargs` a mapping."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return tuple[hint, ...]
    if parameter.kind is parameter.VAR_KEYWORD:
        return dict[str, hint]
    return hint


def _json(function: Callable[..., Any], name: str, value: object) -> str:
    """Return one argument as JSON, if it is the same after decoding."""
    kind, hint = type(value), _shape(function).hints[name]
    is_plain = kind in PLAIN and (hint is kind or hint is Any)
    try:
        stored = value if is_plain else encode(value)
        text = _written(stored)
        text.encode()  # half of a surrogate pair can't be
        came_back = is_plain or same(value, decode(stored, hint))
    except Exception:  # noqa: BLE001 - what a dataclass or an Enum of the user's raises
        came_back = False
    if not came_back:
        raise ArgumentError(_misfit(function, name, value))
    return text


def _misfit(function: Callable[..., Any], name: str, value: object) -> str:
    unread = _shape(function).unread.get(name)
    hint = _shape(function).hints[name]
    if instead := _instead(value):
        fix = f"pass {instead}"
    elif unread:
        fix = f"its annotation {unread!r} can't be resolved at run time, import what it names outside of TYPE_CHECKING"
    elif hint is Any:
        fix = "annotate the parameter with its type, or pass text, numbers, lists and mappings"
    else:
        fix = f"pass a value of its annotation: {inspect.formatannotation(hint)}"
    problem = f"of type {type(value).__name__}, would not come back from the store as it is"
    return f"{_name(function)}: argument {name!r}: {show(value)}: {problem}, {fix}"


def _instead(value: Any, depth: int = 3) -> str | None:
    """Return what to pass for a value of a type that has no JSON, or for the first such value in a list or mapping."""
    if isinstance(value, bytes | bytearray | memoryview):
        return "text, such as base64.b64encode(value).decode()"
    if isinstance(value, PurePath):
        return "str(path), to a parameter that is annotated as str"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return "a dataclass, and annotate the parameter with it"
    if depth == 0 or type(value) not in {dict, *LISTS}:
        return None
    items = islice(value.values() if isinstance(value, dict) else value, FEW)
    return next((found for item in items if (found := _instead(item, depth - 1))), None)


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__name__', 'task')}()"
