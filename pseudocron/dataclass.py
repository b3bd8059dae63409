"""Dataclasses that are cheap to import: all share their methods, where each standard one compiles its own."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import MISSING, Field, FrozenInstanceError, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from dataclasses import dataclass  # to a type checker, these are the standard ones

__all__ = ["dataclass"]

_SOURCE = "__pseudocron_source__"
"""Where a class keeps what it was made of: the options of the decorator, and what stands behind its annotations."""


def _dataclass(
    cls: type | None = None, /, *, frozen: bool = False, slots: bool = False, kw_only: bool = False, eq: bool = True
) -> Any:
    """Return the class with the methods of a dataclass, as `dataclasses.dataclass` does.

    The standard decorator compiles source text, which takes a millisecond for each class; this one compiles nothing.
    What only `fields`, `replace`, `asdict` or `inspect.signature` need is made when one of them first asks for it.

    Args:
        cls: The class, where the decorator is used without arguments. It inherits no fields.
        frozen: Whether `FrozenInstanceError` is raised where an attribute is set or deleted.
        slots: Must be True.
        kw_only: Whether all fields are keyword-only.
        eq: Whether instances are equal, and if frozen hash alike, by their fields.

    Raises:
        TypeError: `slots` is not True, or the class inherits fields.
    """
    if not slots:
        raise TypeError("dataclass: slots: must be True")
    options = {"frozen": frozen, "kw_only": kw_only, "eq": eq}
    return _made(cls, options) if cls else lambda cls: _made(cls, options)


if not TYPE_CHECKING:
    dataclass = _dataclass


class _Standard:
    """An attribute that the standard decorator gives; it is asked when the attribute is first read."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> Any:
        home = next(one for one in owner.__mro__ if _SOURCE in vars(one))
        options, given = getattr(home, _SOURCE)
        names = {"__module__": home.__module__, "__doc__": home.__doc__, "__annotations__": home.__annotations__}
        twin: Any = dataclasses.dataclass(**options)(type(home.__name__, (), names | given))
        standard = {name: getattr(twin, name) for name in ("__dataclass_fields__", "__dataclass_params__")}
        for name, value in (standard | {"__signature__": inspect.signature(twin)}).items():
            setattr(home, name, value)
        return getattr(home, self.name)


_STANDARD = {name: _Standard(name) for name in ("__dataclass_fields__", "__dataclass_params__", "__signature__")}


def _made(cls: type, options: Mapping[str, bool]) -> Any:
    if any(_SOURCE in vars(base) for base in cls.__mro__):
        raise TypeError(f"dataclass: {cls.__qualname__}: must not inherit fields")
    namespace = dict(vars(cls))
    names = [name for name, hint in cls.__annotations__.items() if not str(hint).startswith("ClassVar")]
    given = {name: namespace.pop(name) for name in names if name in namespace}
    fields = {name: _field(given.get(name, MISSING)) for name in names}
    for name in ("__dict__", "__weakref__"):
        namespace.pop(name, None)
    namespace |= {"__slots__": tuple(names), _SOURCE: (options, given), **_STANDARD}
    made: Any = type(cls)(cls.__name__, cls.__bases__, _methods(fields, **options) | namespace)
    made.__qualname__ = cls.__qualname__
    made.__init__ = _initialiser(made, fields, made.__match_args__)
    return made


def _field(given: Any) -> Field[Any]:
    return given if isinstance(given, Field) else field(default=given)


def _methods(fields: Mapping[str, Field[Any]], *, frozen: bool, kw_only: bool, eq: bool) -> dict[str, Any]:
    names = tuple(fields)
    shown = [name for name, one in fields.items() if one.repr]

    def __repr__(self: Any) -> str:  # noqa: N807
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({said})"

    def __getstate__(self: Any) -> list[Any]:  # noqa: N807
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: Iterable[Any]) -> None:  # noqa: N807
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    methods: dict[str, Any] = {
        "__match_args__": () if kw_only else tuple(name for name, one in fields.items() if one.init),
        "__repr__": __repr__,
        "__replace__": dataclasses.replace,
        "__getstate__": __getstate__,
        "__setstate__": __setstate__,
    }
    if frozen:
        methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
    return methods | (_comparison(fields, hashable=frozen) if eq else {})


def _refuse_to_set(self: object, name: str, value: object) -> None:  # noqa: ARG001
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:  # noqa: ARG001
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _comparison(fields: Mapping[str, Field[Any]], *, hashable: bool) -> dict[str, Any]:
    values = attrgetter(*(name for name, one in fields.items() if one.compare))

    def __eq__(self: Any, other: object) -> Any:  # noqa: N807
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__ if hashable else None}


def _initialiser(cls: Any, fields: Mapping[str, Field[Any]], positional: tuple[str, ...]) -> Callable[..., None]:
    plan: list[tuple[str, Any, Any, Any]] = [
        # The descriptor of a slot sets it where the class itself refuses.
        (name, getattr(cls, name).__set__, one.default, one.default_factory)
        for name, one in fields.items()
        if one.init
    ]
    complete = getattr(cls, "__post_init__", None)

    def __init__(self: Any, /, *args: Any, **given: Any) -> None:  # noqa: N807
        if args:
            given = _named(cls, positional, args, given)
        for name, put, default, factory in plan:
            value = given.pop(name, default)
            if value is MISSING:
                if factory is MISSING:
                    raise TypeError(f"{cls.__qualname__}() missing the argument {name!r}")
                value = factory()
            put(self, value)
        if given:
            raise TypeError(f"{cls.__qualname__}() got an unexpected argument {min(given)!r}")
        if complete:
            complete(self)

    return __init__


def _named(cls: Any, positional: tuple[str, ...], args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, of those that are given by position and by name."""
    if len(args) > len(positional):
        raise TypeError(
            f"{cls.__qualname__}() takes {len(positional)} positional arguments, but {len(args)} were given"
        )
    named = dict(zip(positional, args, strict=False))
    if twice := named.keys() & given.keys():
        raise TypeError(f"{cls.__qualname__}() got two values for the argument {min(twice)!r}")
    return named | given
