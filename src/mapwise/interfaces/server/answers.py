"""What OpenAPI shows of answers and bodies: an example of each, which also says what every answer holds."""

from typing import Any

_ID = "81cb128e13d3c0b1"
_BRIEF: dict[str, Any] = {
    "id": _ID,
    "name": "intents",
    "version": 4,
    "modality": "texts",
    "classes": [{"name": "cancel order", "examples": 3}, {"name": "refund money", "examples": 3}],
    "examples": 6,
    "ready": True,
    "missing": "",
    "undo": True,
}
_CARD: dict[str, Any] = {
    **_BRIEF,
    "encoder": {"name": "words", "version": "1-111af0e8ad3e8c34"},
    "learner": {"name": "logistic", "auto": True},
    "names": None,
    "score": {"state": "computing", "text": "being computed"},
    "rejection": {"refuse": 0.05, "known": True, "why": "", "text": "", "detection": None},
    "suspects": [{"example": 2, "label": "cancel order", "taken_for": "refund money"}],
    "advice": [],
    "created": "2026-11-30T22:02:24Z",
    "updated": "2026-11-30T22:02:30Z",
}
_ABOUT_ROWS = {"predictor": _ID, "version": 4}
EXAMPLES: dict[str, dict[str, Any]] = {
    "brief": _BRIEF,
    "card": _CARD,
    "list": {
        "predictors": [
            {"id": _ID, "name": "intents", "version": 4, "classes": 2, "examples": 6, "modality": "texts"}
            | {"created": "2026-11-30T22:02:24Z", "updated": "2026-11-30T22:02:30Z"}
        ],
        "next": None,
    },
    "examples": {
        "examples": [{"id": 1, "label": "cancel order", "source": "example 1", "text": "stop it"}],
        "next": None,
    },
    "added": {
        "added": [{"id": 7, "row": 0, "label": "cancel order"}],
        "duplicates": 0,
        "advice": [],
        "predictor": _BRIEF,
    },
    "learner": {
        **_BRIEF,
        "learner": "ridge",
        "tried": [{"learner": "ridge", "accuracy": 0.9, "seconds": 0.4, "chosen": True, "why": ""}],
    },
    "predictions": {
        **_ABOUT_ROWS,
        "calibrated": True,
        "why": "",
        "predictions": [
            {
                "label": "cancel order",
                "probability": 0.91,
                "unknown": False,
                "truncated": False,
                "probabilities": {"cancel order": 0.91, "refund money": 0.09},
            }
        ],
    },
    "explanations": {
        **_ABOUT_ROWS,
        "explanations": [
            {
                "row": 0,
                "label": "cancel order",
                "probability": 0.91,
                "runner_up": "refund money",
                "text": "cancel order, 91.0 %, before refund money",
                "examples": [
                    {"example": 1, "label": "cancel order", "vote": 0.4, "without": "cancel order", "probability": 0.8}
                ],
                "decisive": [],
            }
        ],
    },
    "suggestions": {
        **_ABOUT_ROWS,
        "suggestions": [
            {
                "row": 3,
                "label": "cancel order",
                "runner_up": "refund money",
                "unsure": True,
                "unlike": False,
                "like": 2,
                "reason": "between cancel order and refund money, like 2 others that are not labelled",
            }
        ],
    },
    "map": {
        "version": 4,
        "axes": [{"share": 0.55}, {"share": 0.2}],
        "points": [{"example": 1, "label": "cancel order", "at": [0.5, -0.2]}],
    },
    "code": {
        "download": "curl -o predictor.safetensors http://127.0.0.1:8765/v1/predictors/81cb128e13d3c0b1/file",
        "python": "import mapwise as mw",
        "command": "mapwise predict predictor.safetensors new.txt",
        "curl": "curl http://127.0.0.1:8765/v1/predictors/81cb128e13d3c0b1/predict",
    },
}
"""By its name, what an answer looks like."""

BODIES: dict[str, dict[str, Any]] = {
    "NewPredictor": {"name": "intents", "modality": "texts", "classes": ["cancel order", "refund money"]},
    "Queries": {"texts": ["please cancel"]},
    "NewExamples": {"texts": ["stop my order", "my money back"], "labels": ["cancel order", "refund money"]},
    "NewLabel": {"label": "refund money"},
    "NewClass": {"name": "track my parcel", "describe": ["where is my parcel"]},
    "ClassName": {"name": "where is it"},
    "PredictorName": {"name": "support"},
    "LearnerChoice": {"learner": "ridge"},
}
"""By its model, what a body looks like."""


def answer_content(name: str) -> dict[str, Any]:
    """How an answer of this name is documented."""
    example = EXAMPLES[name]
    schema = {"type": "object", "required": list(example)}
    return {"application/json": {"schema": schema, "example": example}}
