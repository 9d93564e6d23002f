"""mapwise report FILE: what a predictor's file has to show, as one HTML page."""

from pathlib import Path
from typing import Any

from mapwise.data.digests import together
from mapwise.data.files import write_atomically
from mapwise.interfaces.answers import as_json
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import cross_validation


def is_predictor(path: Path) -> bool:
    """Whether a path means a predictor's file and not a run's folder; a missing file is known by its ending."""
    return path.is_file() or (path.suffix == ".safetensors" and not path.exists())


def report(file: Path, out: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Write a page about a predictor's file, by default beside it.

    Returns the page's path and its numbers, JSON-ready, and as lines for a person. Raises ValueError for a file that is
    no predictor, and for a page that isn't called one.
    """
    from mapwise.report.predictor_page import predictor_page, predictor_summary

    path = file.with_suffix(".html") if out is None else out
    if path.suffix != ".html" or path.is_dir():
        fault = "is a folder" if path.is_dir() else "ends otherwise"
        raise ValueError(f"the page is an HTML file and {path} {fault}: give a name such as {file.stem}.html")
    predictor = Predictor.load(file)
    judged = cross_validation.report(predictor)
    size, sources = file.stat().st_size, predictor.sources
    page = predictor_page(predictor, judged, str(file), size)
    write_atomically(path, lambda opened: opened.write(page.encode()))
    about = {
        "file": str(file),
        "page": str(path),
        "encoder": predictor.encoder.name,
        "learner": predictor.head.name,
        "bytes": size,
        "digest": together(predictor.digests),
        "classes": predictor.counts,
        "held_out": as_json(judged),
        "doubtful": [
            {"row": row, "source": sources[row] if sources else None, "class": name, "taken_for": taken}
            for row, name, taken in judged.doubtful
        ],
    }
    return about, [predictor_summary(predictor, judged), str(path)]
