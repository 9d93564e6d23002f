"""Settings and arguments are checked by their types, and an error is one line whatever was given."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

from mapwise.core.fields import check_arguments, check_fields, check_sizes, is_number, is_whole, quote


@dataclass(frozen=True)
class Settings:
    """One field of each type."""

    count: int = 1
    rate: float = 0.1
    flag: bool = False
    kind: Literal["a", "b"] | None = "a"
    sizes: Sequence[int] = (1, 2)
    span: tuple[int, int] | int = 3
    rule: str | Callable[..., Any] = "mean"
    off: float = math.inf

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    "values",
    [
        {"count": np.int64(3), "rate": 1, "flag": np.bool_(True)},
        {"kind": None, "sizes": [3], "span": (1, 2), "rule": max},
        {"rate": np.float32(0.5), "sizes": range(2), "off": math.inf},
    ],
)
def test_values_of_their_type_are_taken(values):
    Settings(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"count": True}, "count is True: give a whole number"),
        ({"count": 2**70}, "count is 1180591620717411303424: give a whole number"),
        ({"count": 1.0}, "count is 1.0: give a whole number"),
        ({"rate": math.nan}, "rate is nan: give a number"),
        ({"rate": 10**400}, "rate is 1000"),
        ({"flag": 1}, "flag is 1: give True or False"),
        ({"kind": "c"}, "kind is 'c': give 'a', 'b' or None"),
        ({"sizes": "12"}, "sizes is '12': give a list, each a whole number"),
        ({"sizes": [1, "2"]}, "sizes is"),
        ({"span": (1, 2, 3)}, r"give a tuple, each a whole number or a whole number"),
        ({"rule": None}, "rule is None: give a text or a function"),
        ({"rule": np.ones(3)}, "rule is of type ndarray"),
    ],
)
def test_any_other_value_is_refused_in_one_line(values, words):
    with pytest.raises(ValueError, match=words) as error:
        Settings(**values)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_a_type_that_only_a_type_checker_sees_is_passed_over():
    @dataclass
    class Own:
        thing: "Nowhere"

    check_fields(Own(3))


def test_arguments_are_checked_by_name():
    def function(count: int, other: str = "") -> None: ...

    check_arguments(function, {"count": 3, "unknown": None})
    with pytest.raises(ValueError, match="other is 3: give a text"):
        check_arguments(function, {"count": 3, "other": 3})


def test_sizes_are_looked_at_one_by_one():
    check_sizes(hidden=(1, 2), outputs=None)
    with pytest.raises(ValueError, match=r"hidden is \(1, 0\): give 1 or more"):
        check_sizes(hidden=(1, 0))


def test_what_a_number_is():
    assert is_whole(2**63 - 1) and not is_whole(2**63) and not is_whole(True)
    assert is_number(1) and not is_number(math.inf) and not is_number("1")


@pytest.mark.parametrize("value", ["x" * 5000, [1] * 9999, [10**5000], object(), int, np.ones(3), "a\nb"], ids=type)
def test_any_value_is_shown_on_one_short_line(value):
    assert "\n" not in quote(value) and len(quote(value)) < 100
