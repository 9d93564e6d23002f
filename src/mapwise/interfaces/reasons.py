"""mapwise explain and which-next: why a predictor's file answers as it does, and which example would teach it most."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import explanation
from mapwise.predictors.diagnostics import which_next as active
from mapwise.workflows.reading import placed, rows_for


def explain_inputs(file: Path, inputs: Sequence[str], regions: Path | None = None) -> tuple[dict[str, Any], list[str]]:
    """Why each input is answered as it is: JSON-ready, and as lines for a person.

    regions: a folder into which a picture of each input is put, red where the answer came from.

    Raises ValueError as `predict` does, for a file of one class, and for regions of what is no picture.
    """
    predictor = Predictor.load(file)
    sources, rows = rows_for(predictor, inputs)
    with placed(sources):
        explanations = explanation.explain(predictor, rows, regions=regions is not None)
    about: list[dict[str, Any]] = [
        {"input": what, **one.to_json()} for what, one in zip(sources, explanations, strict=True)
    ]
    shown = [f"{what}: {one}" for what, one in zip(sources, explanations, strict=True)]
    if regions is not None:
        from mapwise.predictors.evidence.occlusion import reddened

        regions.mkdir(parents=True, exist_ok=True)
        for place, (what, one) in enumerate(zip(sources, explanations, strict=True)):
            assert one.region is not None
            path = regions / f"{place}-{Path(what).stem}.png"
            reddened(what, place, one.region).save(path)
            about[place]["region"]["picture"] = str(path)
            shown[place] += f"\n  see {path}"
    return {"file": str(file), "explanations": about}, shown


def next_inputs(file: Path, inputs: Sequence[str], n: int | None = None) -> tuple[dict[str, Any], list[str]]:
    """The inputs most worth a label, the best first: JSON-ready, and as lines for a person.

    n: how many; 5 where none is given, or as many as there are.

    Raises ValueError as `predict` does, for a file of one class, and for an n that the inputs don't allow.
    """
    predictor = Predictor.load(file)
    sources, rows = rows_for(predictor, inputs)
    with placed(sources):
        suggestions = active.which_next(predictor, rows, min(5, len(sources)) if n is None else n)
    shown = [f"{sources[one.row]}: {one.reason}" for one in suggestions]
    return {"file": str(file), "next": [{"input": sources[one.row], **one.to_json()} for one in suggestions]}, shown
