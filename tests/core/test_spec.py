"""A source says what its rows are, and who can't read them refuses them in one sentence."""

from dataclasses import dataclass

import pytest

import mapwise as mw
from mapwise.core.source import Source, inputs_of
from mapwise.core.spec import Inputs, described, is_plain, plain_shape

TWO = {"picture": mw.Spec((1, 8, 8)), "words": mw.Spec((12,), "int64", 30)}
PLAIN = mw.Spec((4, 2))


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        (((-1,),), "give sizes from 0 up"),
        (((3,), "float"), "dtype is 'float'"),
        (((3,), "ids"), "dtype is 'ids'"),
        (((3,), "float32", 10), "token ids as int64"),
        (((3,), "int64", 0), "from 1 up"),
    ],
)
def test_what_no_row_can_be_is_refused(fields, answer):
    with pytest.raises(ValueError, match=answer) as refused:
        mw.Spec(*fields)
    assert "\n" not in str(refused.value)


def test_only_one_tensor_of_float32_is_plain():
    assert is_plain(mw.Spec((3,))) and plain_shape(mw.Spec((3, 4)), "a net") == (3, 4)
    for inputs in (mw.Spec((3,), "int64"), mw.Spec((3,), "float64"), TWO):
        assert not is_plain(inputs)
        with pytest.raises(ValueError, match=r"^a net takes rows of one float32 tensor and these are .* in Python$"):
            plain_shape(inputs, "a net")
    assert described(TWO) == "dicts of picture: float32 of shape (1, 8, 8), words: int64 of shape (12,), 30 token ids"


@dataclass(frozen=True)
class Earlier:
    """A source as version 0.1 asked for it."""

    input_shape: tuple[int, ...] = (4, 2)


@dataclass(frozen=True)
class Today(Source):
    inputs: Inputs = PLAIN


def test_a_source_with_the_shape_of_earlier_versions_works_with_a_warning():
    assert inputs_of(Today()) == PLAIN
    with pytest.warns(DeprecationWarning, match="Earlier has input_shape, which is deprecated: give it inputs"):
        assert inputs_of(Earlier()) == PLAIN
    with pytest.warns(DeprecationWarning, match="read inputs.shape"):
        assert Today().input_shape == (4, 2)
    with (
        pytest.warns(DeprecationWarning, match="read inputs.shape"),
        pytest.raises(ValueError, match="dicts of picture"),
    ):
        _ = Today(TWO).input_shape
