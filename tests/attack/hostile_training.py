"""Careless and hostile calls of sources, learners, nets, and of what trains and judges them."""

import inspect
import typing
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import mapwise as mw
from hostile_values import Call, X, Y, finite
from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.nets import NETS
from mapwise.core.learner import Learner
from mapwise.core.source import TaskShape

_ARRAYS = "a column too many, a cube, a tensor with a graph, a frame of two columns of one name"
_NAMES = "beyond int64, beyond float, empty texts, newlines, surrogates"


@lru_cache(maxsize=1)
def rows() -> mw.LabelledRows:
    values = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    return mw.LabelledRows.of(values, np.repeat(np.arange(12), 5))


def episodes(**settings: Any) -> mw.Episodes:
    return mw.Episodes(**{"rows": rows(), "ways": 2, "shots": 1, "tasks": 2, **settings})


def _batch(make: Callable[..., Any], **settings: Any) -> Any:
    """The first batch of a source with these settings."""
    return make(**settings)(0)


def _has_finite_rows(batch: Any) -> bool:
    return finite(batch.support.x) and finite(batch.query.y) and batch.support.x.shape[0] > 0


_SEQUENCES = {"tasks": "whole", "seed": "whole", "part": "choice"}


def _curves(source: Any, **kinds: str) -> Call:
    kinds = {"queries": "whole", "tasks": "whole", "seed": "whole", "part": "choice", "device": "choice", **kinds}
    return Call(
        source.__name__,
        partial(_batch, source),
        kinds,
        {"shots": "zero" if source is mw.GaussianProcess else ""},
        _has_finite_rows,
    )


def sources(folder: Path) -> list[Call]:
    """Calls of the sources of tasks, and of what they are made of."""
    return [
        _curves(mw.Sinusoid, shots="span", noise="real"),
        _curves(mw.Lines, shots="span", noise="real"),
        _curves(mw.GaussianProcess, shots="span", noise="real", length="real", kernel="choice"),
        Call(
            "Copy",
            partial(_batch, mw.Copy),
            {
                "tasks": "whole",
                "seed": "whole",
                "part": "choice",
                "device": "choice",
                "length": "choice",
                "width": "whole",
            },
            {"length": "a number"},
            _has_finite_rows,
        ),
        Call(
            "AssociativeRecall",
            partial(_batch, mw.AssociativeRecall),
            {**_SEQUENCES, "items": "choice", "vectors": "whole", "width": "whole"},
            {"items": "a number"},
            _has_finite_rows,
        ),
        Call(
            "RepeatCopy",
            partial(_batch, mw.RepeatCopy),
            {**_SEQUENCES, "length": "choice", "repeats": "choice", "width": "whole"},
            {"length": "a number", "repeats": "a number"},
            _has_finite_rows,
        ),
        Call(
            "PrioritySort",
            partial(_batch, mw.PrioritySort),
            {**_SEQUENCES, "items": "choice", "highest": "whole", "width": "whole"},
            {"items": "a number"},
            _has_finite_rows,
        ),
        Call(
            "Episodes",
            lambda **settings: episodes(**settings)(0),
            {
                "rows": "thing",
                "ways": "span",
                "shots": "span",
                "queries": "whole",
                "tasks": "whole",
                "seed": "whole",
                "part": "choice",
                "augment": "function",
                "shuffle_labels": "flag",
                "device": "choice",
            },
            {"queries": "none", "augment": "none"},
            _has_finite_rows,
        ),
        Call(
            "Stream",
            lambda **settings: mw.Stream(**{"rows": rows(), "ways": 2, "tasks": 2, "length": 4, **settings})(0),
            {"rows": "thing", "ways": "span", "tasks": "whole", "seed": "whole", "length": "whole"},
            {},
            _has_finite_rows,
        ),
        *(
            Call(f"{source.__class__.__name__}(step)", source, {"step": "whole"}, {}, _has_finite_rows)
            for source in (
                episodes(),
                mw.Sinusoid(),
                mw.GaussianProcess(),
                mw.Copy(),
                mw.Stream(rows(), ways=2, tasks=2, length=4),
            )
        ),
        *(
            Call(f"{source.__class__.__name__}.split", source.split, {"name": "choice"})
            for source in (episodes(), mw.Sinusoid(), mw.Copy())
        ),
        Call(
            "with_",
            lambda **changes: mw.Sinusoid().with_(**changes)(0),
            {"tasks": "whole", "shots": "whole", "colour": "whole"},
        ),
        Call(
            "LabelledRows.of",
            lambda x=X, labels=Y, splits=None, seed=0: mw.LabelledRows.of(x, labels, splits=splits, seed=seed).x,
            {"x": "rows", "labels": "labels", "splits": "thing", "seed": "whole"},
            {"x": _ARRAYS, "labels": f"halves, infinity, {_NAMES}", "splits": "none, a dict"},
            finite,
        ),
        Call(
            "examples",
            lambda X=X, labels=Y, classes=None: mw.examples(X, labels, classes)[0].x,
            {"X": "rows", "labels": "labels", "classes": "labels"},
            {
                "X": _ARRAYS,
                "labels": f"one class, halves, a matrix, truths and numbers, {_NAMES}",
                "classes": "none, a dict",
            },
            finite,
        ),
        Call(
            "Spec",
            lambda shape=(3,), dtype="int64", vocabulary=None: mw.Spec(shape, dtype, vocabulary),
            {"shape": "span", "dtype": "choice", "vocabulary": "whole"},
            {
                "shape": "no ends, one end, backwards, three ends, ends beyond, a list, an empty list",
                "vocabulary": "none, beyond int64",
            },
        ),
    ]


# -- learners --------------------------------------------------------------------------------------------------------

SHAPE = {
    "classification": TaskShape("classification", mw.Spec((3,)), 2),
    "regression": TaskShape("regression", mw.Spec((1,)), 1),
    "multilabel": TaskShape("multilabel", mw.Spec((10,)), 8),
    "spans": TaskShape(
        "spans",
        {"pieces": mw.Spec((6,), "int64", 9), "cases": mw.Spec((6,), "int64", 7), "starts": mw.Spec((6,), "int64", 2)},
        5,
    ),
}


PIECES = {
    "pieces": mw.Spec((6,), "int64", 30_522),
    "cases": mw.Spec((6,), "int64", 7),
    "starts": mw.Spec((6,), "int64", 2),
}


class Reader(nn.Module):
    """A vector for each piece."""

    output_shape = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)

    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        vectors: torch.Tensor = self.table(x["pieces"])
        return vectors


def _make(name: str, **fields: Any) -> Learner:
    row = LEARNERS[name]
    problem = next(problem for problem in SHAPE if row.takes(problem))
    shape = SHAPE[problem]
    net = None
    if row.blueprint is not None:
        outputs = shape.outputs if row.blueprint == "net" else None
        net = Reader() if isinstance(shape.inputs, dict) else NETS["mlp"](shape.inputs.shape, outputs, hidden=(4,))
    given = {**row.fields_for(problem), **row.sizes(shape), **fields}
    if row.blueprint is not None and row.blueprint in given:
        return row.make(**given)
    return row.build(net, given)


def _kind(hint: Any) -> str:
    args = typing.get_args(hint)
    options = [part for part in args if part is not type(None)] if args else [hint]
    if typing.get_origin(hint) is typing.Literal or str in options:
        return "choice"
    for kind, name in ((bool, "flag"), (int, "whole"), (float, "real")):
        if kind in options:
            return name
    return "thing"


def learners(folder: Path) -> list[Call]:
    """The fields of every learner, by their types; and its seeds."""
    calls = []
    classes = set()
    for name, row in LEARNERS.items():
        if row.learner in classes or row.of_runs:
            continue
        classes.add(row.learner)
        hints = row.types
        kinds = {field: _kind(hints[field]) for field in row.fields}
        fine = {field: "none" for field in row.fields if type(None) in typing.get_args(hints[field])}
        if row.blueprint:
            kinds[row.blueprint] = "thing"
        calls.append(Call(name, lambda name=name, **fields: _make(name, **fields).init(0), kinds, fine, finite))
        calls.append(
            Call(f"{name}.init", lambda seed, name=name: _make(name).init(seed), {"seed": "whole"}, {}, finite)
        )
    for name, net in NETS.items():
        of_pieces = "inputs" in inspect.signature(net).parameters
        kinds = {"inputs": "thing"} if of_pieces else {"input_shape": "span", "outputs": "whole"}
        for option, parameter in inspect.signature(net).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                kinds[option] = _kind(typing.get_type_hints(net.__init__)[option])
        image = {"inputs": PIECES} if of_pieces else {"input_shape": (1, 16, 16), "outputs": 2}
        calls.append(
            Call(
                name,
                lambda net=net, image=image, **options: net(**{**image, **options}),
                kinds,
                {
                    "outputs": "none",
                    "norm": "none" if name == "mlp" else "",
                    "input_shape": "one end, no ends, backwards, three ends" if name in ("mlp", "residual") else "",
                    "hidden": "a list, an empty list",
                    "filters": "a list, an empty list" if name == "resnet12" else "",
                },
            )
        )
    return calls


# -- training and evaluation -----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def maml() -> Learner:
    return _make("maml", inner_steps=1)


def _trained(**settings: Any) -> Any:
    usual = {"learner": maml(), "source": episodes(), "steps": 1, "validation_episodes": 2, "how": "vmap"}
    return mw.train(**{**usual, **settings}).params


def _judged(**settings: Any) -> Any:
    usual = {"learner": maml(), "params": maml().init(0), "source": episodes(), "episodes": 2}
    report = mw.evaluate(**{**usual, **settings})
    return [report.estimate.mean]


def _gradient(**settings: Any) -> Any:
    usual = {"learner": maml(), "params": maml().init(0), "tasks": episodes()(0), "how": "vmap"}
    return mw.meta_gradient(**{**usual, **settings})[0]


def _checked(**settings: Any) -> Any:
    usual = {"learner": maml(), "source": episodes(), "steps": 1}
    return mw.check(**{**usual, **settings})


def training(folder: Path) -> list[Call]:
    """Calls of train, evaluate, meta_gradient and check."""
    return [
        Call(
            "train",
            _trained,
            {
                "learner": "thing",
                "source": "thing",
                "steps": "whole",
                "optimizer": "choice",
                "schedule": "choice",
                "warmup": "whole",
                "clip": "real",
                "aggregate": "choice",
                "seed": "whole",
                "params": "thing",
                "validate_every": "whole",
                "validation": "thing",
                "validation_episodes": "whole",
                "patience": "whole",
                "select": "choice",
                "how": "choice",
                "compile": "flag",
                "remat": "flag",
                "precision": "choice",
                "out": "path",
                "run": "thing",
                "resume": "flag",
                "progress": "function",
                "ranks": "thing",
            },
            {
                "how": "a number",
                "schedule": "none",
                "clip": "none, infinity, beyond float",
                "params": "none",
                "validate_every": "none, beyond int64",
                "validation_episodes": "none",
                "validation": "none",
                "patience": "none, beyond int64",
                "out": "none, nothing, a folder",
                "run": "a text",
                "progress": "none",
            },
            finite,
        ),
        Call(
            "evaluate",
            _judged,
            {
                "learner": "thing",
                "params": "thing",
                "source": "thing",
                "episodes": "whole",
                "name": "thing",
                "command": "thing",
                "how": "choice",
                "temperature": "real",
            },
            {"how": "a number", "name": "a text", "command": "a text", "temperature": "none"},
            finite,
        ),
        Call(
            "meta_gradient",
            _gradient,
            {
                "learner": "thing",
                "params": "thing",
                "tasks": "thing",
                "how": "choice",
                "compile": "flag",
                "remat": "flag",
                "precision": "choice",
                "aggregate": "choice",
                "ranks": "thing",
            },
            {"how": "a number"},
            finite,
        ),
        Call(
            "check", _checked, {"learner": "thing", "source": "thing", "seed": "whole", "steps": "whole", "lr": "real"}
        ),
    ]
