"""What a predictor's file keeps of its classes, and what can't be that."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mapwise.catalog.heads import HEADS
from mapwise.predictors.descriptions.texts import Descriptions
from mapwise.predictors.evidence.belief import WEIGHTS, Belief
from mapwise.predictors.evidence.cross_fitting import Crossed

_CROSSED = "crossed/"
"""Before the names of what was said of rows."""
_DESCRIPTIONS = "descriptions"
_ROWS = "descriptions/rows"


def to_file(
    classes: Sequence[str], crossed: Crossed | None, descriptions: Descriptions | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a file keeps of the two: in its header, JSON-ready, and as arrays.

    The class and the weight of each description follow from the rest: they are there for those who read only arrays.
    """
    about: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    if crossed is not None:
        about["crossed"] = {"taught": crossed.training_share, "why": crossed.why}
        arrays |= {_CROSSED + name: array for name, array in crossed.arrays.items()}
    if descriptions is not None:
        texts, belief = [list(one) for one in descriptions.texts], list(descriptions.belief)
        about[_DESCRIPTIONS] = {"texts": texts, "names": descriptions.names, "belief": belief}
        arrays[_ROWS] = descriptions.rows
        arrays |= _derived(descriptions, classes)
    return about, arrays


def _derived(descriptions: Descriptions, classes: Sequence[str]) -> dict[str, np.ndarray]:
    weight = descriptions.examples(classes).weight.numpy() * descriptions.belief.weight
    return {f"{_DESCRIPTIONS}/columns": descriptions.columns(classes), f"{_DESCRIPTIONS}/weight": weight}


def classes_fault(about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """What is wrong with what a file keeps of classes; "" when nothing is."""
    classes, columns, rows = about["classes"], tensors["columns"], tensors["rows"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes) or not classes:
        return "its classes are no list of names"
    if len(set(classes)) < len(classes):
        return "it names a class twice"
    if columns.shape != (len(rows),) or columns.dtype != np.int64:
        return f"there are {len(rows)} rows, and classes of shape {columns.shape}"
    if len(columns) and (columns.min() < 0 or columns.max() >= len(classes)):
        return "a row is of a class that isn't there"
    optimism = about.get("optimism", 0.0)  # files of before have none
    if not isinstance(optimism, float) or not 0 <= optimism < 1:
        return f"the optimism of its accuracy is {optimism!r}"
    temperature = about.get("temperature", 1.0)
    if not isinstance(temperature, float) or not 0 < temperature < math.inf:
        return f"the temperature of its probabilities is {temperature!r}"
    head = about["head"]
    if ("crossed" in about) != (isinstance(head, str) and head in HEADS and HEADS[head].tunes):
        return "it says in two ways whether its encoder was tuned"
    crossed_of(about, tensors)  # raises
    descriptions_of(about, tensors)  # raises
    return ""


def crossed_of(about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Crossed | None:
    """What was said of rows; raises ValueError for what can't be that."""
    if "crossed" not in about:
        return None
    arrays = {name.removeprefix(_CROSSED): array for name, array in tensors.items() if name.startswith(_CROSSED)}
    return Crossed.of_file(about["crossed"], arrays, len(tensors["rows"]), len(about["classes"]))


def descriptions_of(about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Descriptions | None:
    """What is known of the classes beside their examples; raises ValueError for what can't be that."""
    if _DESCRIPTIONS not in about:
        return None
    held, rows = about[_DESCRIPTIONS], tensors[_ROWS]
    texts, (weight, agree, total, *more) = held["texts"], held["belief"]
    doubted = more[0] if more else []  # files of before have none
    for one in texts:
        if [type(part) for part in one] != [str, str, bool] or one[0] not in about["classes"] or not one[1].strip():
            raise ValueError(f"a description is {str(one)[:80]}")
    if rows.shape != (len(texts), *tensors["rows"].shape[1:]) or rows.dtype != tensors["rows"].dtype:
        raise ValueError(f"there are {len(texts)} descriptions, and rows {rows.dtype} of shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("a description's row holds NaN")
    if weight not in WEIGHTS or type(agree) is not int or type(total) is not int or not 0 <= agree <= total:
        raise ValueError(f"its descriptions are believed as {str(held['belief'])[:80]}")
    if len(more) > 1 or not all(type(place) is int and 0 <= place < len(texts) for place in doubted):
        raise ValueError(f"its doubted descriptions are {str(more)[:80]}")
    if type(held["names"]) is not bool:
        raise ValueError("whether names are descriptions isn't true or false")
    known = Descriptions(
        tuple(map(tuple, texts)), rows, held["names"], Belief(float(weight), agree, total, tuple(doubted))
    )
    for name, array in _derived(known, about["classes"]).items():
        if not np.array_equal(tensors[name], array):
            raise ValueError(f"{name} says otherwise than its header")
    return known
