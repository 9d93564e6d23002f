"""A finder of spans in one file, with the texts it was fitted to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from mapwise.core import tree
from mapwise.data import tensor_file
from mapwise.data.annotated.texts import AnnotatedText, Span, check_type
from mapwise.data.files import path_of
from mapwise.predictors.kind import AGAIN
from mapwise.predictors.spans.evidence.crossed import CrossedSpans
from mapwise.predictors.spans.predictor import SpanPredictor
from mapwise.predictors.spans.report import FittedSpans
from mapwise.problems.spans import Spans
from mapwise.runs.learner import LearnerSettings

CARD = (
    "A finder of spans, by mapwise. It holds the texts it was fitted to, with their spans, and may name the files or "
    "lines they came from. Share it as you would share these texts."
)

_PARAMS, _FAST = "params/", "fast/"


def save_spans(fitted: FittedSpans, path: str | Path) -> None:
    """Write a predictor into one safetensors file, whole or not at all; nothing in the file is code.

    Raises OSError when the folder can't be written.
    """
    predictor = fitted.predictor
    about = {
        "card": CARD,
        "kind": Spans.name,
        "learner": predictor.settings.to_file(),
        "model": {"name": predictor.model.name, "version": predictor.model.version},
        "types": list(predictor.types),
        "sentences": dict(predictor.sentences),
        "names": predictor.names,
        "threshold": predictor.threshold,
        "auto_threshold": fitted.auto,
        "sources": list(predictor.sources),
        "texts": [[text.text, [list(span) for span in text.spans]] for text in predictor.texts],
        "crossed": None if fitted.crossed is None else fitted.crossed.to_file(),
    }
    tensors = {_PARAMS + name: leaf for name, leaf in tree.flatten(predictor.params).items()}
    tensors |= {_FAST + name: leaf for name, leaf in tree.flatten(predictor.fast).items()}
    tensor_file.save_tensors(path_of(path), tensors, about)


def load_spans(path: str | Path) -> FittedSpans:
    """What a file holds; nothing in it is run.

    Raises ValueError for a file that is missing, damaged, of a later version or another problem, and for one whose
    model isn't on this machine, or is another.
    """
    path = path_of(path)
    tensors, about = tensor_file.load_tensors(path, "predictor", AGAIN)
    try:
        if about["kind"] != Spans.name:
            raise _Other
        predictor = _predictor(about, tensors)
        # Both are absent from earlier files.
        crossed, auto = about.get("crossed"), about.get("auto_threshold", False)
        if type(auto) is not bool:
            raise ValueError(f"its threshold was chosen {auto!r}")
        answers = None if crossed is None else CrossedSpans.of_file(crossed, predictor.texts, predictor.types)
        fitted = FittedSpans(predictor, answers, auto)
    except _Other:
        raise ValueError(
            f"{path} holds no finder of spans: open it with FewShotClassifier, or FewShotRegressor"
        ) from None
    except (ValidationError, *tensor_file.DAMAGE) as problem:
        raise ValueError(tensor_file.damaged(path, "predictor", problem, AGAIN)) from None
    version = about["model"]["version"]
    if predictor.model.version != version:
        raise ValueError(
            f"{path} was made with another version of the model {predictor.model.name}, which gives other numbers: fit "
            "it again"
        )
    return fitted


class _Other(Exception):
    """The file is of another problem."""


def _predictor(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> SpanPredictor:
    types = tuple(check_type(name) for name in about["types"])
    texts = tuple(AnnotatedText(text, tuple(Span(*span) for span in spans)) for text, spans in about["texts"])
    sources, sentences, threshold = about["sources"], about["sentences"], about["threshold"]
    if len(set(types)) != len(types) or not {span.type for text in texts for span in text.spans} <= set(types):
        raise ValueError("its texts have spans of types that it doesn't name")
    if len(sources) not in (0, len(texts)) or not all(isinstance(source, str) for source in sources):
        raise ValueError("what its texts came from is no list of names")
    if not all(isinstance(word, str) for pair in sentences.items() for word in pair):
        raise ValueError("what describes its types is no text")
    if type(about["names"]) is not bool or not isinstance(threshold, float) or not 0 <= threshold <= 1:
        raise ValueError(f"its threshold is {threshold!r}")
    if not all(leaf.isfinite().all() for leaf in tensors.values()):
        raise ValueError("its weights hold NaN")
    params, fast = (
        tree.unflatten({name.removeprefix(part): leaf for name, leaf in tensors.items() if name.startswith(part)})
        for part in (_PARAMS, _FAST)
    )
    settings = LearnerSettings.model_validate(about["learner"])
    predictor = SpanPredictor(
        settings, params, fast, texts, types, sentences, about["names"], threshold, tuple(sources)
    )
    predictor.predict(["A text."])  # shows whether its weights are whole
    return predictor
