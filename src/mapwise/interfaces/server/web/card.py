"""What people see of a predictor: its classes and counts, how good it is, and what is missing."""

from datetime import UTC, datetime
from typing import Any

from mapwise.interfaces.printing import printable
from mapwise.interfaces.server.state.live import Live
from mapwise.predictors.advice import steps_from
from mapwise.predictors.evidence.novelty import REFUSE, Detection


def card(live: Live) -> dict[str, Any]:
    """All of it, JSON-ready."""
    draft, predictor = live.draft, live.predictor
    return {
        **brief(live),
        "encoder": {"name": draft.encoder, "version": None if predictor is None else predictor.encoder.version},
        "learner": {"name": draft.learner, "auto": draft.auto},
        "names": _names(live),
        "score": score(live),
        "rejection": _rejection(live),
        "suspects": _suspects(live),
        "advice": _advice(live),
        "created": when(live.created),
        "updated": when(live.updated),
    }


def brief(live: Live) -> dict[str, Any]:
    """What a change answers: the version, the classes with their counts, and whether it can predict."""
    draft = live.draft
    counts = {} if live.predictor is None else live.predictor.counts
    classes = [{"name": name, "examples": counts.get(name, 0)} for name in draft.class_names]
    return {
        "id": live.id,
        "name": printable(draft.name),
        "version": live.version,
        "modality": draft.modality,
        "classes": classes,
        "examples": len(live.examples),
        "ready": not live.missing,
        "missing": live.missing,
        "undo": bool(live.parent),
    }


def when(seconds: float) -> str:
    """A moment, as RFC 3339 writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def score(live: Live) -> dict[str, Any]:
    """How good it is by cross-validation, or why that is unknown."""
    if live.missing:
        return {"state": "not ready", "text": live.missing}
    if live.evidence is None:
        return {"state": "computing", "text": "being computed"}
    report = live.evidence.report
    content = report.to_json()
    more = [{"more": more, **expected._asdict()} for more, expected in report.more.items()]
    state = "too few to tell" if report.accuracy is None else "known"
    return {
        "state": state,
        "text": str(report),
        "outlook": report.outlook,
        "guesses": report.guesses,
        **content,
        "more": more,
    }


def _names(live: Live) -> dict[str, Any] | None:
    """What the names and descriptions of classes are worth."""
    known = None if live.predictor is None else live.predictor.descriptions
    if known is None or not known.texts:
        return None
    return {"text": str(known), **known.to_json()}


def _rejection(live: Live) -> dict[str, Any]:
    """How "none of these" is decided, and how well that works."""
    if live.missing:
        return {"refuse": REFUSE, "known": False, "why": live.missing, "text": "", "detection": None}
    end, why = live.furthest
    detection = None if live.evidence is None else dict(live.evidence.detection)
    text = "" if detection is None else str(Detection(**detection))
    return {"refuse": REFUSE, "known": end is not None, "why": why, "text": text, "detection": detection}


def _suspects(live: Live) -> list[dict[str, Any]]:
    """Examples that may be mislabelled, the surest first."""
    if live.evidence is None:
        return []
    return [
        {"example": live.examples[row], "label": name, "taken_for": other}
        for row, name, other in live.evidence.report.doubtful
        if row < len(live.examples)
    ]


def _advice(live: Live) -> list[str]:
    if live.evidence is None:
        return []
    return list(steps_from(live.draft.encoder) if live.evidence.report.guesses else ())
