"""The cheap dataclasses are the standard ones, in all that a reader of them can see."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from pseudocron.dataclass import dataclass as ours

if TYPE_CHECKING:
    from collections.abc import Callable

MAKERS = (dataclasses.dataclass, ours)
both = pytest.mark.parametrize("dataclass", MAKERS, ids=["standard", "ours"])


def paper(dataclass: Callable[..., Any], **options: bool) -> Any:
    class Paper:
        """A paper."""

        SIZES: ClassVar[int] = 3
        name: str
        pages: int = 1
        notes: list[str] = field(default_factory=list)
        hidden: str = field(default="", repr=False, compare=False)

        def twice(self) -> int:
            return 2 * self.pages

    return dataclass(**({"frozen": True, "slots": True} | options))(Paper)


@both
def test_an_instance_has_what_it_was_given_and_defaults(dataclass: Any) -> None:
    made = paper(dataclass)("a", notes=["x"])
    assert (made.name, made.pages, made.notes, made.hidden, made.twice()) == ("a", 1, ["x"], "", 2)
    assert paper(dataclass)("a").notes is not paper(dataclass)("a").notes
    assert not hasattr(made, "__dict__")
    assert (made.SIZES, made.__doc__) == (3, "A paper.")


@both
def test_it_says_what_it_is_but_what_is_hidden(dataclass: Any) -> None:
    assert repr(paper(dataclass)("a", hidden="b")).endswith("Paper(name='a', pages=1, notes=[])")


@both
def test_instances_are_equal_and_hash_by_what_is_compared(dataclass: Any) -> None:
    kind, other = paper(dataclass), paper(dataclass)
    assert kind("a", notes=(), hidden="b") == kind("a", notes=(), hidden="c")
    assert hash(kind("a", notes=(), hidden="b")) == hash(kind("a", notes=()))
    assert kind("a") != kind("b")
    assert kind("a") != other("a")


@both
def test_without_equality_each_is_its_own(dataclass: Any) -> None:
    kind = paper(dataclass, eq=False)
    one = kind("a")
    assert one != kind("a")
    assert len({one, one, kind("a")}) == 2


@both
def test_one_that_is_not_frozen_may_be_changed_and_not_hashed(dataclass: Any) -> None:
    made = paper(dataclass, frozen=False)("a")
    made.name = "b"
    assert made == type(made)("b")
    with pytest.raises(TypeError, match="unhashable"):
        hash(made)


@both
@pytest.mark.parametrize("name", ["name", "hidden"])
def test_a_frozen_one_refuses_to_be_changed(dataclass: Any, name: str) -> None:
    made = paper(dataclass)("a")
    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(made, name, "b")
    with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(made, name)


@both
@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing .*argument.*'name'"),
        (("a",), {"pagse": 2}, "unexpected .*'pagse'"),
        (("a",), {"name": "b"}, "'name'"),
        (("a", 1, [], "", 5), {}, "takes .* positional arguments"),
    ],
)
def test_arguments_that_do_not_fit_are_named(dataclass: Any, args: Any, kwargs: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        paper(dataclass)(*args, **kwargs)


@both
def test_keyword_only_fields_take_nothing_by_position(dataclass: Any) -> None:
    kind = paper(dataclass, kw_only=True)
    assert kind(name="a").pages == 1
    assert kind.__match_args__ == ()
    with pytest.raises(TypeError, match="positional"):
        kind("a")


@both
def test_the_standard_functions_know_it(dataclass: Any) -> None:
    kind = paper(dataclass)
    made = kind("a", 2, ["x"], "b")
    assert all(map(is_dataclass, [kind, made]))
    assert [one.name for one in fields(made)] == ["name", "pages", "notes", "hidden"] == [*kind.__match_args__]
    assert asdict(made) == {"name": "a", "pages": 2, "notes": ["x"], "hidden": "b"}
    assert replace(made, pages=3) == kind("a", 3, ["x"], "b")
    assert copy.copy(made) == made == copy.deepcopy(made)
    assert str(inspect.signature(kind)) == str(inspect.signature(paper(dataclasses.dataclass)))


@both
def test_a_class_may_compute_what_it_is_not_given(dataclass: Any) -> None:
    class Doubled:
        """A number, and twice that."""

        number: int
        twice: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.number)

    made = dataclass(frozen=True, slots=True)(Doubled)(4)
    assert made.twice == 8
    assert replace(made, number=5).twice == 10


@both
def test_a_user_may_inherit_from_it(dataclass: Any) -> None:
    @dataclasses.dataclass(frozen=True)
    class Longer(paper(dataclass)):  # type: ignore[misc]
        more: int = 0

    assert asdict(Longer("a", more=2)) == {"name": "a", "pages": 1, "notes": [], "hidden": "", "more": 2}


@ours(frozen=True, slots=True)
class Kept:
    """What can be pickled has a name in its module."""

    name: str
    pages: int = 1


def test_one_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Kept("a", 2))) == Kept("a", 2)  # noqa: S301 - our own


def test_what_this_decorator_can_not_do_it_refuses() -> None:
    with pytest.raises(TypeError, match="slots: must be True"):
        paper(ours, slots=False)
    with pytest.raises(TypeError, match="must not inherit fields"):
        ours(frozen=True, slots=True)(type("Child", (Kept,), {"__annotations__": {"more": "int"}}))
