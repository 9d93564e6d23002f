"""The routes that show what is there: predictors, their cards, maps, examples, files, and the same as code."""

import asyncio
import json
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from mapwise.interfaces.server.json_text import json_bytes
from mapwise.interfaces.server.problems import Refusal
from mapwise.interfaces.server.service import Service
from mapwise.interfaces.server.state.evidence import file_bytes, without_weights
from mapwise.interfaces.server.state.live import Live
from mapwise.interfaces.server.web import documents
from mapwise.interfaces.server.web.card import card, when
from mapwise.interfaces.server.web.code import code_for
from mapwise.interfaces.server.web.writing import service_of

router = APIRouter(prefix="/v1/predictors")
_LIMIT = Query(ge=1, le=500, description="So many at most.")
_AFTER = Query(pattern="^[0-9a-f]{0,16}$", description="Id of the last one of the page before.")
_AFTER_EXAMPLE = Query(ge=0, le=2**53, description="Id of the last one of the page before.")
_BINARY = "application/octet-stream"


@router.get("", **documents.route("List predictors", 200, shows="list"))
async def predictors(
    request: Request, limit: Annotated[int, _LIMIT] = 100, after: Annotated[str, _AFTER] = ""
) -> Response:
    """The predictors of this server, by their ids; `next` is what `after` is to be for the next page."""
    service = service_of(request)
    rows = await service.residents.on_disk(service.store.listed, after, limit + 1)
    listed = [{**vars(one), "created": when(one.created), "updated": when(one.updated)} for one in rows[:limit]]
    return _answer({"predictors": listed, "next": rows[limit - 1].id if len(rows) > limit else None})


def _answer(content: Any, live: Live | None = None) -> Response:
    headers = {} if live is None else {"etag": live.tag}
    return Response(json_bytes(content), headers=headers, media_type="application/json")


async def _live(request: Request, id: str) -> tuple[Service, Live]:
    service = service_of(request)
    return service, await service.live(id)


@router.get("/{id}", **documents.route("Show a predictor's card", 200, 404, shows="card"))
async def show_card(request: Request, id: documents.Id) -> Response:
    """Its classes and counts, how good it is as far as its examples can tell, and what is missing."""
    service, live = await _live(request, id)
    if live.evidence is None and not live.missing:
        service.judge(id, 0.0)
    return _answer(card(live), live)


@router.get("/{id}/examples", **documents.route("List examples", 200, 404, shows="examples"))
async def examples(
    request: Request,
    id: documents.Id,
    limit: Annotated[int, _LIMIT] = 100,
    after: Annotated[int, _AFTER_EXAMPLE] = 0,
) -> Response:
    """The examples of a predictor by their ids: each with its label, and its text, its cells or a preview's address."""
    service, live = await _live(request, id)
    if live.predictor is None:
        return _answer({"examples": [], "next": None}, live)
    labels = [live.predictor.classes[column] for column in live.predictor.columns.tolist()]
    rows = [(number, label) for number, label in zip(live.examples, labels, strict=True) if number > after]
    numbers = [number for number, _ in rows[:limit]]
    shown = await service.residents.on_disk(service.store.contents, id, numbers)
    listed = [_example(live, number, label, *shown.get(number, (b"", ""))) for number, label in rows[:limit]]
    return _answer({"examples": listed, "next": numbers[-1] if len(rows) > limit else None}, live)


def _example(live: Live, number: int, label: str, shown: bytes, source: str) -> dict[str, Any]:
    content: dict[str, Any] = {"id": number, "label": label, "source": source}
    if live.draft.modality == "texts":
        return {**content, "text": shown.decode() if shown else None}
    if live.draft.modality == "table":
        return {**content, "row": json.loads(shown) if shown else None}
    address = f"/v1/predictors/{live.id}/examples/{number}/preview"
    return {**content, "preview": address if shown else None}


@router.get(
    "/{id}/examples/{number}/preview",
    response_class=documents.Picture,
    **documents.route("Show an example's picture", 200, 404, 409),
)
async def preview(request: Request, id: documents.Id, number: documents.Number) -> Response:
    """A small PNG of an example that is a picture."""
    service, live = await _live(request, id)
    if live.draft.modality != "pictures":
        raise Refusal(409, f"the examples are {live.draft.modality} and no pictures: list them")
    shown = await service.residents.on_disk(service.store.contents, id, [number])
    if number not in shown or not shown[number][0]:
        raise Refusal(404, "there is no picture of this example: list those that there are")
    return Response(shown[number][0], media_type="image/png", headers={"cache-control": "private, max-age=3600"})


@router.get("/{id}/map", **documents.route("Show the map", 200, 404, shows="map"))
async def show_map(request: Request, id: documents.Id) -> Response:
    """Where the examples lie in the plane in which they are farthest apart; `predict?map=true` places rows on it."""
    _, live = await _live(request, id)
    plane, predictor = await asyncio.to_thread(lambda: live.plane), live.predictor
    if plane is None or predictor is None:
        return _answer({"version": live.version, "axes": [], "points": []}, live)
    places = plane.place(predictor, predictor.rows).tolist()
    columns = predictor.columns.tolist()
    points = [
        {"example": number, "label": predictor.classes[column], "at": at}
        for number, column, at in zip(live.examples, columns, places, strict=True)
    ]
    axes = [{"share": share} for share in plane.shares]
    return _answer({"version": live.version, "axes": axes, "points": points}, live)


@router.get(
    "/{id}/file", response_class=documents.Octets, **documents.route("Download the predictor's file", 200, 404, 409)
)
async def file(request: Request, id: documents.Id) -> Response:
    """The predictor as one safetensors file, which `mapwise predict` and `FewShotClassifier.load` open."""
    return await _download(request, id, "safetensors")


@router.get(
    "/{id}/onnx", response_class=documents.Octets, **documents.route("Download the learner as ONNX", 200, 404, 409)
)
async def onnx(request: Request, id: documents.Id) -> Response:
    """Its learner as an ONNX file, to which examples, classes and queries are given."""
    return await _download(request, id, "onnx")


async def _download(request: Request, id: str, suffix: str) -> Response:
    service, live = await _live(request, id)
    if live.missing or live.predictor is None:
        raise Refusal(409, live.missing)
    predictor = without_weights(live.predictor)
    if live.evidence is not None:  # what was fitted to the examples needn't be fitted again
        predictor = replace(predictor, known_temperature=live.evidence.temperature)
    data = await service.fitters.run(service.limits.fit_seconds, file_bytes, predictor, suffix == "onnx")
    headers = {"etag": live.tag, "content-disposition": f'attachment; filename="{live.id}.{suffix}"'}
    return Response(data, headers=headers, media_type=_BINARY)


@router.get("/{id}/code", **documents.route("Show the same as code", 200, 404, shows="code"))
async def code(request: Request, id: documents.Id) -> Response:
    """The same predictor in Python, on the command line, and through curl."""
    _, live = await _live(request, id)
    return _answer(code_for(live, str(request.base_url).rstrip("/")), live)
