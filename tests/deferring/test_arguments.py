"""Arguments through JSON: they come back as they were, or are refused by name when they are handed over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from functools import partial, wraps
from inspect import formatannotation
from pathlib import PurePath
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NewType, Optional
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pseudocron.errors import ArgumentError, show
from pseudocron.jobs.arguments import LIMIT, pack, revive, typed, unpack

if TYPE_CHECKING:
    from pathlib import Path

ID = UUID("12345678-1234-5678-1234-567812345678")
EIGHT = datetime(2024, 5, 1, 8, tzinfo=timezone(timedelta(hours=8)))
Room = NewType("Room", str)


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


@dataclass(frozen=True)
class Price:
    amount: Decimal
    until: date | None = None


@dataclass
class Order:
    number: UUID
    prices: list[Price]
    notes: dict[str, datetime] = field(default_factory=dict)
    total: int = field(init=False, default=0)


def of(annotation: Any) -> Any:
    def task(value: Any) -> None: ...

    task.__annotations__["value"] = annotation
    return task


def through(annotation: Any, value: object) -> Any:
    function = of(annotation)
    return unpack(function, pack(function, (value,), {})).arguments["value"]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (datetime, EIGHT),
        (datetime, datetime(2024, 5, 1, 8, 0, 0, 1)),  # noqa: DTZ001 - a naive argument is the user's business
        (date, date(2024, 2, 29)),
        (time, time(23, 59, 59, 999999)),
        (timedelta, timedelta(days=-1, microseconds=1)),
        (UUID, ID),
        (Decimal, Decimal("0.10")),
        (Colour, Colour.BLUE),
        (Level, Level.HIGH),
        (Word, Word.YES),
        (Price, Price(Decimal(1), date(2024, 5, 1))),
        (Order, Order(ID, [Price(Decimal("9.90"))], {"paid": EIGHT})),
        (Optional[UUID], ID),  # noqa: UP045 - as it may be written
        (UUID | None, None),
        (datetime | date, date(2024, 5, 1)),
        (int | str, "B-204"),
        (list[datetime], [EIGHT, EIGHT]),
        (Sequence[UUID], [ID]),
        (tuple[int, UUID], (1, ID)),
        (tuple[Decimal, ...], (Decimal(1), Decimal(2))),
        (tuple, (1, 2)),
        pytest.param(set[Colour], {Colour.RED, Colour.BLUE}, id="set[Colour]-both"),
        (frozenset[str], frozenset({"a"})),
        (dict[str, Price], {"now": Price(Decimal(2))}),
        (Mapping[str, list[UUID]], {"all": [ID]}),
        (list[Price | None], [None, Price(Decimal(3))]),
        (Room, "B-204"),
        (float | None, 1),
        (Any | None, "text"),
        (Sized | UUID, "text"),
        (Literal["a"] | None, "a"),
        (list[datetime] | None, [EIGHT]),
        (Any, {"plain": [1, 1.5, True, None, "text"]}),
        (str, "Ünïcödé \u2028 \0 😀"),
        (int, 2**70),
    ],
    ids=show,
)
def test_it_comes_back_as_it_was(annotation: Any, value: object) -> None:
    came = through(annotation, value)
    assert came == value
    assert type(came) is type(value)


plain = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=12,
)
TYPED: dict[Any, Any] = {
    datetime: some.datetimes(
        timezones=some.sampled_from([None, UTC, ZoneInfo("Europe/Berlin")]), allow_imaginary=False
    ),
    timedelta: some.timedeltas(timedelta(days=-40000), timedelta(days=40000)),
    Decimal: some.decimals(allow_nan=False),
    UUID: some.uuids(),
    Colour: some.sampled_from(Colour),
    Price: some.builds(Price, some.decimals(allow_nan=False), some.none() | some.dates()),
}


@settings(max_examples=150, deadline=None)
@given(plain)
def test_whatever_json_knows_comes_back_without_annotations(value: object) -> None:
    assert through(Any, value) == value


@settings(max_examples=150, deadline=None)
@given(some.sampled_from(list(TYPED)), some.data())
def test_annotated_values_come_back_from_lists_and_mappings(kind: Any, data: Any) -> None:
    value = data.draw(some.lists(some.dictionaries(some.text(), TYPED[kind], max_size=2), max_size=2))
    came = through(list[dict[str, kind]], value)
    # In the hour that is repeated, the datetimes of two zones are never equal.
    assert [{key: str(item) for key, item in one.items()} for one in came] == [
        {key: str(item) for key, item in one.items()} for one in value
    ]
    assert [type(item) for one in came for item in one.values()] == [kind for one in value for _ in one]


def test_a_time_in_a_repeated_hour_stays_the_same_instant() -> None:
    for fold in (0, 1):
        twice = datetime(2024, 10, 27, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin"))
        assert through(datetime, twice).astimezone(UTC) == twice.astimezone(UTC)


@pytest.mark.parametrize(
    ("annotation", "value", "kind"),
    [
        (Any, EIGHT, "datetime"),
        (Any, ID, "UUID"),
        (Any, [ID], "list"),
        (Any, {"at": EIGHT}, "dict"),
        (Any, Colour.RED, "Colour"),
        (Any, [Word.YES], "list"),
        (Any, Level.HIGH, "Level"),
        (Any, (1, 2), "tuple"),
        (Any, {1: 2}, "dict"),
        (Any, {1, 2}, "set"),
        pytest.param(Any, object(), "object", id="Any-an object"),
        (Any, float("nan"), "float"),
        (Any, float("inf"), "float"),
        (Any, "half of a pair \ud800", "str"),
        (Any, type("Loud", (str,), {})("x"), "Loud"),
        (datetime, "2024-05-01", "str"),
        (datetime | None, "soon", "str"),
        (UUID | Decimal, "B-204", "str"),
        (int | str, 1.5, "float"),
        (list[datetime] | None, ["soon"], "list"),
        (Colour | Price | None, {"cost": 1}, "dict"),
        (UUID | datetime, None, "NoneType"),
        (date, EIGHT, "datetime"),
        (list[int], (1, 2), "tuple"),
        (tuple[int, int], (1, 2, 3), "tuple"),
        (Order, Price(Decimal(1)), "Price"),
        (str, 10**5000, "int"),
        (str, 5, "int"),
        (int, "5", "str"),
        (int, 5.0, "float"),
        (bool, 1, "int"),
        (list[int], "12", "str"),
        (dict[str, int], [], "list"),
        (Price, [], "list"),
        (PurePath, "here", "str"),
    ],
    ids=show,
)
def test_what_would_not_come_back_is_refused_with_the_name_of_the_argument(
    annotation: Any, value: object, kind: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        pack(of(annotation), (value,), {})
    line = str(caught.value)
    assert line.startswith("task(): argument 'value': ")
    assert f": of type {kind}, would not come back" in line
    fix = "annotate the parameter with its type, or pass text, numbers, lists and mappings"
    typed = f"pass a value of its annotation: {formatannotation(annotation)}"
    assert line.endswith(fix if annotation is Any else typed)
    assert "\n" not in line


class Pair(NamedTuple):
    left: int
    right: int


@pytest.mark.parametrize("inside", [lambda value: value, lambda value: [1, value], lambda value: {"a": [value]}])
@pytest.mark.parametrize(
    ("annotation", "value", "instead"),
    [
        (bytes, b"\x00", "pass text, such as base64.b64encode(value).decode()"),
        (Any, bytearray(b"x"), "pass text, such as base64.b64encode(value).decode()"),
        (PurePath, PurePath("here"), "pass str(path), to a parameter that is annotated as str"),
        (Pair, Pair(1, 2), "pass a dataclass, and annotate the parameter with it"),
    ],
)
def test_what_has_no_json_is_refused_with_what_to_pass(
    annotation: Any, value: object, instead: str, inside: Any
) -> None:
    for hint in (annotation, Any):
        with pytest.raises(ArgumentError) as caught:
            pack(of(hint), (inside(value),), {})
        assert str(caught.value).endswith(f", {instead}")


def test_a_parameter_whose_default_is_none_takes_none() -> None:
    def task(number: int = None, when: datetime = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert unpack(task, pack(task, (None,), {"when": None})).args == (None, None)
    assert unpack(task, pack(task, (5,), {"when": EIGHT})).args == (5, EIGHT)
    with pytest.raises(ArgumentError, match="argument 'number'"):
        pack(task, ("5",), {})


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ArgumentError, match="argument 'value'"):
        pack(of(Any), (endless,), {})


def test_an_annotation_for_type_checkers_only_spoils_no_other() -> None:
    def task(when: datetime, where: Path) -> None: ...

    assert pack(task, (EIGHT, "here"), {}) == '{"when":"2024-05-01T08:00:00+08:00","where":"here"}'
    with pytest.raises(
        ArgumentError, match=r"argument 'where': .* 'Path' can't be resolved .* outside of TYPE_CHECKING"
    ):
        pack(task, (EIGHT, ID), {})


# The signature


def every_kind(first: int, /, second: UUID, *rest: date, only: Decimal = Decimal(1), **more: timedelta) -> None:
    """A function of every kind of parameter."""


def test_parameters_of_every_kind_come_back() -> None:
    args, kwargs = (1, ID, date(2024, 5, 1), date(2024, 5, 2)), {"only": Decimal(2), "a": timedelta(1)}
    bound = unpack(every_kind, pack(every_kind, args, kwargs))
    assert (bound.args, bound.kwargs) == (args, kwargs)


def test_a_default_is_that_of_the_day_of_the_run() -> None:
    assert json.loads(pack(every_kind, (1, ID), {})).keys() == {"first", "second"}


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'classroom'"),
        (("B", 1, 2), {}, "too many positional arguments"),
        (("B",), {"clasroom": 1}, "has no parameter 'clasroom', did you mean 'classroom'?"),
        (("B",), {"classroom": "C"}, "multiple values for argument 'classroom'"),
    ],
)
def test_arguments_that_do_not_fit_the_function_are_refused(args: Any, kwargs: Any, words: str) -> None:
    def restore(classroom: str, retry: int = 0) -> None: ...

    with pytest.raises(ArgumentError) as caught:
        pack(restore, args, kwargs)
    assert str(caught.value) == f"restore(): {words}"


def test_256_kib_are_taken_and_a_byte_more_is_not() -> None:
    def note(short: str, long: str) -> None: ...

    rest = len(pack(note, ("", ""), {}))
    assert len(pack(note, ("", "ä" * ((LIMIT - rest) // 2)), {}).encode()) in {LIMIT - 1, LIMIT}
    with pytest.raises(ArgumentError, match=rf"note\(\): arguments of {LIMIT + 1} bytes, .* {LIMIT}: store 'long'"):
        pack(note, ("", "x" * (LIMIT - rest + 1)), {})
    with pytest.raises(ArgumentError, match="store 'long' elsewhere"):
        pack(note, ("x" * 1000, "x" * 2_000_000), {})


def test_annotations_of_wrapped_functions_partials_and_objects_are_read() -> None:
    def inner(when: datetime) -> None: ...

    def hollow(*args: Any, **kwargs: Any) -> None: ...

    outer = wraps(inner)(hollow)

    class Sender:
        def __call__(self, when: datetime) -> None: ...

    # As if it came from a module that does not know what `datetime` is.
    foreign = wraps(inner)(FunctionType(hollow.__code__, {}))
    for function in (outer, foreign, partial(inner), Sender()):
        assert unpack(function, pack(function, (EIGHT,), {})).args == (EIGHT,)


# What the store holds, after a deployment


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"room": "B"}, "has no parameter 'room' any more"),
        ({}, "missing a required argument: 'number'"),
        ({"number": "B-204"}, "argument 'number': 'B-204': ValueError: badly formed hexadecimal UUID string"),
        (
            {"number": str(ID), "colour": "green"},
            "argument 'colour': 'green': ValueError: 'green' is not a valid Colour",
        ),
        ({"number": str(ID), "until": "soon"}, "argument 'until': 'soon': TypeError: must be datetime.datetime | None"),
        ({"number": str(ID), "price": {"cost": 1}}, "argument 'price': {'cost': 1}: TypeError: "),
        ({"number": str(ID), "rest": 5}, "stored arguments do not fit: TypeError: "),
        ([1], r"stored arguments [1]: must be a mapping"),
        ({"number": str(ID), "count": [1]}, "argument 'count': [1]: TypeError: must be int"),
        ({"number": str(ID), "count": "1"}, "argument 'count': '1': TypeError: must be int"),
        ({"number": str(ID), "rest": ["1"]}, "argument 'rest': ('1',): TypeError: must be int"),
        ({"number": str(ID), "colours": "red"}, "argument 'colours': 'red': TypeError: must be list["),
    ],
)
def test_stored_arguments_that_do_not_fit_any_more_are_named(stored: object, words: str) -> None:
    def pay(
        number: UUID,
        *rest: int,
        count: int = 1,
        colour: Colour = Colour.RED,
        colours: list[Colour] = [],  # noqa: B006 - never changed
        until: datetime | None = None,
        price: Any = None,
    ) -> None: ...

    pay.__annotations__["price"] = "Price"
    pay.__annotations__["colours"] = list[Colour]
    with pytest.raises(ArgumentError) as caught:
        unpack(pay, json.dumps(stored))
    assert str(caught.value).startswith(f"pay(): {words}")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "NaN"])
def test_what_is_no_json_is_an_error_of_the_arguments(text: str) -> None:
    with pytest.raises(ArgumentError, match="stored arguments"):
        unpack(every_kind, text)


def test_a_child_process_makes_of_plain_arguments_what_the_annotations_say() -> None:
    bound = revive(every_kind, (1, str(ID), "2024-05-01"), {"only": "2.5", "a": 1.5})
    assert bound.args == (1, ID, date(2024, 5, 1))
    assert bound.kwargs == {"only": Decimal("2.5"), "a": timedelta(seconds=1.5)}


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "12345", "12345"),
        (str, "049151", "049151"),
        (str, "1.10", "1.10"),
        (str, "true", "true"),
        (str, '"quoted"', "quoted"),
        (str | None, "null", None),
        (str | None, "5", "5"),
        (int, "5", 5),
        (int | str, "5", 5),
        (int | str, "049151", "049151"),
        (float, "5", 5),
        (Decimal, "1.10", Decimal("1.10")),
        (Decimal, "0.1", Decimal("0.1")),
        (Decimal, "5", Decimal(5)),
        (Decimal | None, "1.10", Decimal("1.10")),
        (list[Decimal], '["1.10"]', [Decimal("1.10")]),
        (list[str], "[]", []),
        (Literal["5", "6"], "5", "5"),
        (Colour, "red", Colour.RED),
        (Colour, "2", Colour.BLUE),
        (datetime, "2024-05-01T08:00:00+08:00", EIGHT),
        (timedelta, "90", timedelta(seconds=90)),
        (UUID, str(ID), ID),
        (Any, "5", 5),
        (Any, "049151", "049151"),
        (Any, "text", "text"),
    ],
    ids=show,
)
def test_what_is_typed_means_what_its_annotation_says(annotation: Any, text: str, value: object) -> None:
    def more(**rest: Any) -> None: ...

    more.__annotations__["rest"] = annotation
    for function in (of(annotation), more):
        (came,) = typed(function, {"value": text}).kwargs.values() or typed(function, {"value": text}).args
        assert came == value
        assert type(came) is type(value)


@pytest.mark.parametrize(("annotation", "text"), [(int, "five"), (int, "5.0"), (bool, "1"), (list[int], "5")])
def test_what_is_typed_and_does_not_fit_is_named(annotation: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=rf"argument 'value': '{text}': TypeError: must be "):
        typed(of(annotation), {"value": text})
