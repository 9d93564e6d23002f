"""What cross-validation says of a predictor, computed in another process and kept beside it."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mapwise.interfaces.server.state.live import Evidence
from mapwise.interfaces.server.state.shared_encoder import SharedEncoder
from mapwise.predictors.choose import choose
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import cross_validation, novelty
from mapwise.predictors.diagnostics.explanation import explain
from mapwise.predictors.evidence.held_out import Expected, HeldOut
from mapwise.predictors.evidence.novelty import REFUSE
from mapwise.predictors.evidence.votes import Explanation
from mapwise.predictors.onnx import export_onnx


def without_weights(predictor: Predictor) -> Predictor:
    """The predictor as it travels to another process: without what encodes, and with nothing computed of it yet."""
    encoder = predictor.encoder
    return replace(predictor, encoder=encoder.facts if isinstance(encoder, SharedEncoder) else encoder)


def evidence_for(predictor: Predictor, seconds: float) -> Evidence:
    """What its examples say of a predictor; in a process for such work."""
    start = time.monotonic()
    temperature = predictor.temperature
    report = cross_validation.report(predictor, seconds=seconds / 2)
    detection = novelty.detection(predictor, REFUSE).to_json()
    return Evidence(report, temperature, detection, time.monotonic() - start)


def choice_for(predictor: Predictor, seconds: float) -> tuple[str, float, list[dict[str, Any]]]:
    """The learner that does best on rows it didn't see, its optimism, and what was tried; in such a process."""
    chosen, tried = choose(predictor, [], seconds)
    return chosen.head.name, chosen.optimism, [one.to_json() for one in tried]


def explanations_for(predictor: Predictor, rows: Any, leave_out: int | None) -> list[Explanation]:
    """Why rows that are encoded are answered as they are; in such a process, since it fits the learner many times."""
    return explain(predictor, rows, leave_out=leave_out)


def file_bytes(predictor: Predictor, onnx: bool) -> bytes:
    """The predictor's file, or its learner's as ONNX; in such a process."""
    with tempfile.TemporaryDirectory(prefix="mapwise-") as folder:
        path = Path(folder) / "predictor"
        export_onnx(predictor, path) if onnx else predictor.save(path)
        return path.read_bytes()


def evidence_json(evidence: Evidence) -> dict[str, Any]:
    """JSON-ready, so that `evidence_of_json` restores it."""
    return asdict(evidence)


def evidence_of_json(content: Mapping[str, Any]) -> Evidence:
    """What `evidence_json` gave."""
    report = dict(content["report"])
    report["classes"] = {name: tuple(pair) for name, pair in report["classes"].items()}
    for name in ("confusions", "doubtful", "by_coverage"):
        report[name] = [tuple(one) for one in report[name]]
    report["more"] = {int(more): Expected(*one) for more, one in report["more"].items()}
    report["by_row"] = {int(row): share for row, share in report["by_row"].items()}
    report["balanced"] = report["balanced"] and Expected(*report["balanced"])
    return Evidence(HeldOut(**report), content["temperature"], content["detection"], content["seconds"])
