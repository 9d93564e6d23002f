"""Bad values by the kind of argument, and a call with every value of the kinds of its arguments."""

import datetime
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import nn

from mapwise.core import tree
from outcomes import Case

BEYOND = 2**70
HUGE = 10**400
X = [[0.0, 5.0], [1.0, 5.0], [0.0, 4.0], [9.0, 0.0], [8.0, 1.0], [9.0, 1.0]]
Y = list("aaabbb")
TARGETS = [0.0, 1.0, 2.0, 9.0, 8.0, 7.0]

_NO_NUMBERS: dict[str, Any] = {
    "nan": math.nan,
    "a text": "3",
    "an empty text": "",
    "none": None,
    "an empty list": [],
    "a list": [1, 2],
    "a dict": {},
    "an object": object(),
    "bytes": b"1",
    "complex": 1j,
    "an array": np.asarray([1, 2]),
    "a tensor": torch.tensor([1.0, math.nan]),
    "a class": int,
}
KINDS: dict[str, dict[str, Any]] = {
    "whole": {
        **_NO_NUMBERS,
        "minus one": -1,
        "beyond int64": BEYOND,
        "a half": 0.5,
        "infinity": math.inf,
        "true": True,
    },
    "real": {**_NO_NUMBERS, "infinity": math.inf, "minus infinity": -math.inf, "beyond float": HUGE, "true": True},
    "flag": {"a text": "yes", "two": 2, "none": None, "a list": [], "nan": math.nan, "an array": np.ones(2)},
    "choice": {
        "another": "another",
        "empty": "",
        "a number": 3,
        "none": None,
        "a list": ["mean"],
        "a dict": {},
        "an object": object(),
        "bytes": b"mean",
        "nan": math.nan,
        "a letter 5,000 times": "x" * 5000,
        "NUL": "a\0b",
    },
    "thing": {
        "none": None,
        "a number": 3,
        "a text": "x",
        "an empty list": [],
        "a dict": {},
        "an object": object(),
        "nan": math.nan,
        "a class": nn.Linear,
        "an array": np.ones((2, 2)),
        "a function without arguments": lambda: None,
    },
    "path": {
        "none": None,
        "a number": 3,
        "nothing": "",
        "NUL": "a\0b",
        "too long": "x" * 5000,
        "a folder": ".",
        "in a file": "a-file/within",
        "a pipe": "a-pipe",
        "a list": [],
        "bytes": b"\xff",
        "an object": object(),
    },
    "name": {
        "none": None,
        "nan": math.nan,
        "empty": "",
        "a newline": "a\nb",
        "too long": "x" * 5000,
        "a list": ["a"],
        "a dict": {},
        "a number": 3,
        "true": True,
        "NUL": "\0",
        "blank": "   ",
        "an object": object(),
        "bytes": b"a",
    },
    "rows": {
        "none": None,
        "a number": 3,
        "a text": "x",
        "an empty list": [],
        "rows without columns": [[], []],
        "an empty array": np.zeros((0, 2)),
        "no columns": np.zeros((6, 0)),
        "one row": [0.0, 1.0],
        "a column too many": [[0.0, 1.0, 2.0]] * 6,
        "ragged": [[0.0, 1.0], [2.0]] * 3,
        "a cube": np.zeros((2, 2, 2, 2, 2)),
        "infinity": [[math.inf, 1.0]] * 6,
        "beyond float": [[HUGE, 1]] * 6,
        "near the end of float": np.full((6, 2), 1e308),
        "complex": np.ones((6, 2)) * 1j,
        "dates": np.full((6, 2), np.datetime64("2020-01-01")),
        "objects": [[object(), 1.0]] * 6,
        "dicts": [{"a": 1}] * 6,
        "a dict": {"a": [1]},
        "a generator": (row for row in X),
        "a set": {1, 2},
        "bytes": b"abc",
        "NaN alone": np.full((6, 2), math.nan),
        "texts": ["one", "two", "three", "four", "five", "six"],
        "an empty text": ["", "a", "b", "c", "d", "e"],
        "surrogates": ["\ud800"] * 6,
        "paths that are not there": ["nowhere.png"] * 6,
        "texts and numbers": ["a", 1, None, 2.0, "b", b"c"],
        "a frame without columns": pd.DataFrame(index=range(6)),
        "a frame of dates": pd.DataFrame({"a": pd.date_range("2020", periods=6), "b": range(6)}),
        "a frame of two columns of one name": pd.DataFrame(X, columns=["a", "a"]),
        "a frame of lists": pd.DataFrame({"a": [[1]] * 6, "b": range(6)}),
        "a sparse matrix": sparse.csr_matrix(np.asarray(X)),
        "a masked array": np.ma.masked_all((6, 2)),
        "a tensor with a graph": torch.zeros(6, 2, requires_grad=True),
        "a tensor of complex numbers": torch.zeros(6, 2, dtype=torch.complex64),
        "a tensor of no storage": torch.zeros(6, 2, device="meta"),
        "fractions": [[Fraction(1, 3), Fraction(2, 3)]] * 6,
        "structured": np.zeros(6, dtype=[("a", "f8"), ("b", "f8")]),
        "an object": object(),
        "a class": list,
    },
    "labels": {
        "none": None,
        "a number": 3,
        "a text": "aaabbb",
        "empty": [],
        "too few": Y[:5],
        "too many": [*Y, "a"],
        "one class": ["a"] * 6,
        "a missing one": [*Y[:5], None],
        "NaN": [*Y[:5], math.nan],
        "numbers and texts": [1, 1, 1, "1", "1", "1"],
        "truths and numbers": [True, True, True, 1, 1, 1],
        "halves": [0.5, 0.5, 0.5, 1.5, 1.5, 1.5],
        "lists": [["a"]] * 6,
        "a matrix": np.zeros((6, 2)),
        "dicts": [{}] * 6,
        "objects": [object()] * 6,
        "complex": np.ones(6) * 1j,
        "dates": [datetime.date(2020, 1, 1)] * 3 + [datetime.date(2021, 1, 1)] * 3,
        "empty texts": [""] * 3 + ["b"] * 3,
        "newlines": ["a\nb"] * 3 + ["c"] * 3,
        "surrogates": ["\ud800"] * 3 + ["b"] * 3,
        "a generator": (label for label in Y),
        "a dict": dict.fromkeys(Y),
        "infinity": [math.inf] * 3 + [1.0] * 3,
        "beyond int64": [BEYOND] * 3 + [1] * 3,
        "beyond float": [HUGE] * 3 + [1] * 3,
        "bytes": [b"a"] * 3 + [b"b"] * 3,
        "a missing one of pandas": pd.Series([*Y[:5], pd.NA]),
        "an object": object(),
    },
    "weights": {
        "a text": "x",
        "texts": ["x"] * 6,
        "negative": [-1.0] * 6,
        "NaN": [math.nan] * 6,
        "infinity": [math.inf] * 6,
        "beyond float": [HUGE] * 6,
        "all zero": [0.0] * 6,
        "one class alone": [1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        "too few": [1.0] * 5,
        "too many": [1.0] * 7,
        "a matrix": np.ones((6, 6)),
        "complex": np.ones(6) * 1j,
        "dates": np.full(6, np.datetime64("2020-01-01")),
        "an object": object(),
        "a dict": {},
        "nothing": [],
        "lists of several lengths": [[1.0], [1.0, 2.0]] * 3,
        "tiny": [5e-324] * 6,
        "far apart": [1e-300, 1.0, 1.0, 1e300, 1.0, 1.0],
    },
    "budget": {
        "nothing": "",
        "a word": "soon",
        "minus": -1,
        "zero": 0,
        "nan": math.nan,
        "infinity": math.inf,
        "an unknown unit": "3y",
        "none": None,
        "a list": [],
        "beyond float": HUGE,
        "endless digits": "9" * 5000 + "s",
        "true": True,
        "an object": object(),
    },
    "span": {
        **{name: value for name, value in _NO_NUMBERS.items() if name not in ("none",)},
        "minus one": -1,
        "zero": 0,
        "beyond int64": BEYOND,
        "a half": 1.5,
        "true": True,
        "backwards": (3, 2),
        "one end": (2,),
        "three ends": (1, 2, 3),
        "ends in words": ("a", "b"),
        "ends beyond": (1, BEYOND),
        "an end of NaN": (1, math.nan),
        "no ends": (),
    },
}
"""Bad values by the kind of argument, each with a name."""
KINDS["function"] = {name: value for name, value in KINDS["thing"].items() if not callable(value)}


@dataclass(frozen=True)
class Call:
    """One call, and the kinds of its arguments.

    name:      what is called.
    function:  takes the arguments by name; each call makes anew whatever it changes.
    arguments: the kind of each.
    fine:      by argument, the bad values that may be taken after all.
    right:     whether an answer is right.
    """

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, str]
    fine: Mapping[str, str] = field(default_factory=dict)
    right: Callable[[Any], bool] = lambda answer: True

    def cases(self) -> Iterator[Case]:
        """A case for every argument and bad value."""
        for argument, kind in self.arguments.items():
            fine = {part.strip() for part in self.fine.get(argument, "").split(",")}
            for value_name, value in KINDS[kind].items():
                yield Case(
                    f"{self.name}: {argument} is {value_name}",
                    partial(self.function, **{argument: value}),
                    partial(self._is_right, value_name in fine),
                )

    def _is_right(self, fine: bool, answer: Any) -> bool:
        return fine and self.right(answer)


def probabilities(answers: Any) -> bool:
    """Whether these are rows of probabilities."""
    return bool(len(answers) and np.isfinite(answers).all() and np.allclose(answers.sum(1), 1))


def finite(answers: Any) -> bool:
    """Whether all numbers, of a tree of tensors or an array, are finite."""
    leaves = tree.flatten(answers).values() if isinstance(answers, dict) else [torch.as_tensor(answers)]
    return all(bool(torch.isfinite(leaf).all()) for leaf in leaves)
