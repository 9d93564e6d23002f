"""The routes that answer about rows: predictions with their votes, why an answer is what it is, which to label next."""

import asyncio
import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from mapwise.data.sheets import spreadsheet_cell
from mapwise.interfaces.server.json_text import json_bytes
from mapwise.interfaces.server.problems import Refusal
from mapwise.interfaces.server.state.evidence import explanations_for, without_weights
from mapwise.interfaces.server.state.live import Live
from mapwise.interfaces.server.web import documents
from mapwise.interfaces.server.web.bodies import Queries, body_of
from mapwise.interfaces.server.web.rows import GivenRows, rows_of
from mapwise.interfaces.server.web.writing import service_of
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.explanation import votes
from mapwise.predictors.diagnostics.which_next import which_next
from mapwise.predictors.evidence.votes import Explanation

router = APIRouter(prefix="/v1/predictors")
_CSV = "text/csv"
_SMALL = 20_000
"""Rows and examples x classes from which an answer is computed beside the event loop, where it holds no other."""
_ROWS = body_of(Queries, pictures=True)
_VOTES = Query(ge=0, le=100, description="So many examples that voted most for the answer.")
_TOP = Query(ge=0, le=1000, description="So many classes with the highest probabilities; 0: all.")
_MAP = Query(alias="map", description="Whether each row is placed on the map.")
_LEAVE = Query(ge=1, le=1000, description="So many examples are left out in turn; absent: about a second's worth.")
_COUNT = Query(ge=1, le=100, description="So many rows at most.")


@router.post("/{id}/predict", **documents.route("Predict", 200, 404, 409, body=_ROWS, shows="predictions", table=True))
async def predict(
    request: Request,
    id: documents.Id,
    top: Annotated[int, _TOP] = 0,
    voters: Annotated[int, Query(alias="votes", ge=0, le=100, description=_VOTES.description)] = 0,
    on_map: Annotated[bool, _MAP] = False,
) -> Response:
    """The class of each row with its probabilities, and whether it is none of them; CSV where that is accepted."""
    live, rows, predictor = await _rows(request, id)
    given = live, predictor, rows, top, voters, on_map
    large = (rows.count + len(predictor.rows)) * len(predictor.classes) > _SMALL
    work = await asyncio.to_thread(_predictions, *given) if large else _predictions(*given)
    content = {
        "predictor": live.id,
        "version": live.version,
        "calibrated": live.evidence is not None,
        "why": live.furthest[1],
        "predictions": work,
    }
    if request.headers.get("accept", "").partition(";")[0].strip() == _CSV:
        return Response(_sheet(work), headers={"etag": live.tag}, media_type=_CSV)
    return Response(json_bytes(content), headers={"etag": live.tag}, media_type="application/json")


async def _rows(request: Request, id: str) -> tuple[Live, GivenRows, Predictor]:
    """A predictor that can predict, and the rows of a request."""
    service = service_of(request)
    live = await service.live(id)
    if live.missing or live.predictor is None:
        raise Refusal(409, live.missing)
    return live, await rows_of(request, service, live), live.predictor


def _predictions(
    live: Live, predictor: Predictor, rows: GivenRows, top: int, voters: int, on_map: bool
) -> list[dict[str, Any]]:
    encoded = predictor.encoded(rows.rows)
    chances = live.chances(encoded)
    names = predictor.classes
    best, highest = chances.argmax(1).tolist(), chances.max(1).tolist()
    answers: list[dict[str, Any]] = [
        {"label": names[place], "probability": high, "unknown": unknown, "truncated": cut, "probabilities": named}
        for place, high, unknown, cut, named in zip(
            *(best, highest, live.unknown(encoded), rows.cut, _named(names, chances, top)), strict=True
        )
    ]
    if voters:
        for answer, votes_for in zip(answers, _voters(live, predictor, encoded, voters), strict=True):
            answer["votes"] = votes_for
    if on_map:
        places = None if live.plane is None else live.plane.place(predictor, encoded)
        for row, answer in enumerate(answers):
            answer["at"] = None if places is None else [float(number) for number in places[row]]
    return answers


def _named(names: Sequence[str], chances: np.ndarray, top: int) -> list[dict[str, float]]:
    """The probabilities of each row by the names of their classes, of the highest ones the highest first."""
    if not top:
        return [dict(zip(names, chance, strict=True)) for chance in chances.tolist()]
    places = np.argsort(-chances, axis=1, kind="stable")[:, :top]
    highest = np.take_along_axis(chances, places, axis=1).tolist()
    return [
        {names[place]: chance for place, chance in zip(*row, strict=True)}
        for row in zip(places.tolist(), highest, strict=True)
    ]


def _voters(live: Live, predictor: Predictor, rows: np.ndarray, count: int) -> list[list[dict[str, Any]] | None]:
    """The examples that voted most for each answer, with their shares of all votes for it."""
    ahead = votes(predictor, rows)
    if ahead is None:
        return [None] * len(rows)
    columns = predictor.joined_support.y.argmax(1).tolist()
    lists: list[list[dict[str, Any]] | None] = []
    for vote in ahead:
        total = float(vote.clip(min=0).sum())
        best = [place for place in np.argsort(-vote, kind="stable")[:count].tolist() if vote[place] > 0]
        lists.append(
            [
                {
                    **_example(live, place),
                    "label": predictor.classes[columns[place]],
                    "share": float(vote[place]) / total,
                }
                for place in best
            ]
        )
    return lists


def _example(live: Live, place: int) -> dict[str, Any]:
    """An example by its id; a description of a class has none."""
    return {"example": live.examples[place] if place < len(live.examples) else None}


def _sheet(answers: Sequence[dict[str, Any]]) -> str:
    """The answers as a CSV table, in which no cell is a formula."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["row", "label", "probability", "unknown"])
    yes_or_no = {True: "yes", False: "no", None: ""}
    for row, one in enumerate(answers):
        writer.writerow([row, spreadsheet_cell(one["label"]), one["probability"], yes_or_no[one["unknown"]]])
    return file.getvalue()


@router.post("/{id}/explain", **documents.route("Explain", 200, 404, 409, body=_ROWS, shows="explanations"))
async def explain_rows(request: Request, id: documents.Id, leave_out: Annotated[int | None, _LEAVE] = None) -> Response:
    """Why each row is answered as it is: the examples that voted, and the answer without each of them."""
    live, rows, predictor = await _rows(request, id)
    service = service_of(request)
    explanations = await service.fitters.run(
        *(service.limits.fit_seconds, explanations_for, without_weights(predictor), rows.rows, leave_out)
    )
    content = {
        "predictor": live.id,
        "version": live.version,
        "explanations": [_explanation(live, one) for one in explanations],
    }
    return Response(json_bytes(content), headers={"etag": live.tag}, media_type="application/json")


def _explanation(live: Live, one: Explanation) -> dict[str, Any]:
    content = one.to_json()
    examples = [
        {**_example(live, part.row), "label": part.label, "vote": part.vote}
        | {"without": part.without, "probability": part.probability}
        for part in one.examples
    ]
    decisive = [live.examples[part.row] for part in one.decisive if part.row < len(live.examples)]
    return {**content, "row": one.row, "text": one.reason, "examples": examples, "decisive": decisive}


@router.post("/{id}/which-next", **documents.route("Label next", 200, 404, 409, body=_ROWS, shows="suggestions"))
async def label_next(request: Request, id: documents.Id, count: Annotated[int, _COUNT] = 5) -> Response:
    """Which of these rows are most worth a label, the best first, and why."""
    live, rows, predictor = await _rows(request, id)
    suggestions = await asyncio.to_thread(which_next, predictor, rows.rows, min(count, rows.count))
    content = {
        "predictor": live.id,
        "version": live.version,
        "suggestions": [one.to_json() for one in suggestions],
    }
    return Response(json_bytes(content), headers={"etag": live.tag}, media_type="application/json")
