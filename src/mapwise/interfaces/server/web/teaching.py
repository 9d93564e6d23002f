"""The routes that change a predictor: examples, classes, names, learners, and an undo."""

import asyncio
import time
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from mapwise.catalog.heads import HEADS
from mapwise.catalog.rows import named
from mapwise.interfaces.server.problems import Refusal
from mapwise.interfaces.server.service import Service, new_id
from mapwise.interfaces.server.state import changes
from mapwise.interfaces.server.state.changes import Step
from mapwise.interfaces.server.state.evidence import choice_for, without_weights
from mapwise.interfaces.server.state.live import Draft, Live
from mapwise.interfaces.server.state.store import Reply
from mapwise.interfaces.server.uploads import check_upload, encoder_name, keep_upload
from mapwise.interfaces.server.web import documents
from mapwise.interfaces.server.web.bodies import (
    MULTIPART,
    ClassName,
    LearnerChoice,
    NewClass,
    NewExamples,
    NewLabel,
    NewPredictor,
    PredictorName,
    body_of,
    check_name_length,
    content_of,
    form_of,
    json_of,
    media_type,
)
from mapwise.interfaces.server.web.card import brief, card
from mapwise.interfaces.server.web.rows import examples_of
from mapwise.interfaces.server.web.writing import (
    changed,
    check_match,
    check_room,
    once,
    reply_of,
    service_of,
)
from mapwise.predictors.examples import check_name

_NEW = body_of(NewPredictor, file=True)
router = APIRouter(prefix="/v1/predictors")
Id = documents.Id
Number = documents.Number


@router.post(
    "",
    status_code=201,
    **documents.route("Begin a predictor", 201, 413, body=_NEW, shows="card"),
)
async def create(request: Request) -> Response:
    """Begin a predictor, which may be empty: its card says what is missing until it can predict; or open a file."""
    service = service_of(request)
    content = await content_of(request, service.limits)
    if media_type(request) == MULTIPART:
        return await open_file(request, content)
    body = json_of(NewPredictor, request, content)
    check_name_length([body.name, *body.classes], service.limits)
    _check_line(body.name)
    if len(body.classes) > service.limits.classes:
        raise Refusal(413, f"there are {len(body.classes):,} classes and there may be {service.limits.classes:,}")
    if len(set(body.classes)) < len(body.classes):
        raise Refusal(422, "two classes have one name: leave one of them out")
    for name in body.classes:
        check_name(name)
    if body.modality is None and body.encoder == "auto":
        raise Refusal(422, "neither what its rows are is given nor an encoder: give modality pictures, texts or table")
    encoder = await asyncio.to_thread(service.encoders.named, body.encoder, body.modality)
    learner, auto = changes.head_for(body.learner)
    _check_learner(learner)
    draft = Draft(body.name, encoder.reads, encoder.name, learner, auto, names=body.names)
    draft = draft.with_classes(tuple(body.classes))
    draft = replace(draft, sentences=_sentences(body, draft))

    async def work(key: str, fingerprint: str) -> Reply:
        await _check_count(service)
        change = await asyncio.to_thread(changes.begun, new_id(), draft, encoder, time.time())
        reply = _created(change)
        await service.residents.commit(change, key, fingerprint, reply)
        service.judge(change.live.id)
        return reply

    return await once(request, content, work)


async def open_file(request: Request, content: bytes) -> Response:
    """Begin with a predictor's file; one that names an encoder that isn't allowed is refused before that."""
    service = service_of(request)
    form = form_of(request, content, 1, ["file"])
    if not form.files or not (form.files[0].content or form.files[0].name):  # a browser's form without a choice
        raise Refusal(422, "the field `file` of the form is missing: send a predictor in it (curl -F file=@FILE)")
    name = (form.fields.get("name") or ("untitled",))[0]
    check_name_length([name], service.limits)
    _check_line(name)
    data = form.files[0].content
    await asyncio.to_thread(service.encoders.named, encoder_name(data))

    async def work(key: str, fingerprint: str) -> Reply:
        await _check_count(service)
        async with service.fitting(), service.residents.writing("files"):
            base = await asyncio.to_thread(keep_upload, service.store.files, data)
            path = str(service.store.files / base)
            try:
                await service.fitters.run(service.limits.fit_seconds, check_upload, path, service.limits)
                predictor = await asyncio.to_thread(service.residents.base, base)
                change = await asyncio.to_thread(changes.uploaded, new_id(), name, predictor, base, time.time())
                reply = _created(change)
                await service.residents.commit(change, key, fingerprint, reply)
            finally:
                await service.residents.on_disk(service.store.sweep)
        service.judge(change.live.id)
        return reply

    return await once(request, content, work)


def _created(change: Step) -> Reply:
    reply = reply_of(201, card(change.live), change.live)
    reply.headers["location"] = f"/v1/predictors/{change.live.id}"
    return reply


async def _check_count(service: Service) -> None:
    """Raises Refusal where there are as many predictors as are kept, or the folder is full."""
    if await service.residents.on_disk(service.store.count) >= service.limits.predictors:
        raise Refusal(507, f"there are {service.limits.predictors:,} predictors, and no more are kept: remove some")
    await check_room(service)


def _sentences(body: NewPredictor, draft: Draft) -> dict[int, tuple[str, ...]]:
    if body.describe and draft.modality != "texts":
        raise Refusal(422, f"descriptions are of classes of texts, and the rows are {draft.modality}: leave them out")
    for name in body.describe:
        if name not in body.classes:
            raise Refusal(422, f"there is no class {name!r} to describe: name it in classes too")
    return {draft.number_of(name): _checked(texts) for name, texts in body.describe.items() if texts}


def _checked(texts: list[str]) -> tuple[str, ...]:
    if any(not text.strip() or len(text) > 2000 for text in texts):
        raise Refusal(422, "a description is empty or has more than 2,000 letters: give a sentence")
    return tuple(texts)


def _check_line(name: str) -> None:
    if not name.strip() or not name.isprintable():
        raise Refusal(422, "the name is no line of text: give one")


def _check_learner(name: str) -> None:
    """Raises ValueError for a learner that isn't there, and for one that tunes its encoder, which all share."""
    if name not in HEADS or not HEADS[name].tunes:
        named({other: row for other, row in HEADS.items() if not row.tunes}, name, "learner")
    else:
        raise Refusal(422, f"the learner {name} tunes its encoder, which predictors share here: take another")


@router.patch("/{id}", **documents.route("Rename a predictor", 200, 404, body=body_of(PredictorName), shows="card"))
async def rename(request: Request, id: Id) -> Response:
    """Call a predictor otherwise."""
    service = service_of(request)
    content = await content_of(request, service.limits)
    body = json_of(PredictorName, request, content)
    check_name_length([body.name], service.limits)
    _check_line(body.name)
    return await changed(request, id, content, lambda live: changes.with_name(live, body.name), _card)


@router.delete("/{id}", status_code=204, **documents.route("Remove a predictor", 204, 404))
async def remove(request: Request, id: Id) -> Response:
    """Remove a predictor with its examples and its versions; this can't be undone."""
    service = service_of(request)

    async def work(key: str, fingerprint: str) -> Reply:
        async with service.residents.writing(id):
            check_match(request, await service.live(id))
            reply = Reply(204, {}, b"")
            await service.residents.remove(id, key, fingerprint, reply)
        async with service.residents.writing("files"):
            await service.residents.on_disk(service.store.sweep)
        return reply

    return await once(request, b"", work)


@router.post(
    "/{id}/examples",
    status_code=201,
    **documents.route("Add examples", 201, 404, body=body_of(NewExamples, pictures=True, labels=True), shows="added"),
)
async def add_examples(request: Request, id: Id) -> Response:
    """Add examples with their labels; a label that is new is a new class. Copies within a class are left out."""
    service = service_of(request)
    content = await content_of(request, service.limits)
    live = await service.live(id)
    rows = await examples_of(request, content, service, live)
    encoder = service.encoder_of(live)
    most = service.limits.examples

    def render(change: Step) -> tuple[int, Any]:
        of_class = dict(change.live.draft.classes)
        added = [
            {"id": one.number, "row": place, "label": of_class[one.class_number]}
            for one, place in zip(change.added, change.places, strict=True)
        ]
        return 201, {"added": added, "duplicates": change.duplicates, "advice": rows.advice} | {
            "predictor": brief(change.live)
        }

    return await changed(
        request, id, content, lambda live: changes.added(live, rows.examples, rows.shown, encoder, most), render
    )


@router.patch(
    "/{id}/examples/{number}", **documents.route("Relabel an example", 200, 404, body=body_of(NewLabel), shows="brief")
)
async def relabel(request: Request, id: Id, number: Number) -> Response:
    """Give an example another class, which may be a new one."""
    service = service_of(request)
    content = await content_of(request, service.limits)
    body = json_of(NewLabel, request, content)
    check_name_length([body.label], service.limits)
    return await changed(
        request, id, content, lambda live: changes.relabelled(live, number, body.label, create=True), _summary
    )


@router.delete("/{id}/examples/{number}", **documents.route("Remove an example", 200, 404, shows="brief"))
async def remove_example(request: Request, id: Id, number: Number) -> Response:
    """Remove an example; its class stays."""
    return await changed(request, id, b"", lambda live: changes.removed(live, [number]), _summary)


@router.post(
    "/{id}/classes",
    status_code=201,
    **documents.route("Add a class", 201, 404, 409, body=body_of(NewClass), shows="brief"),
)
async def add_class(request: Request, id: Id) -> Response:
    """Add a class without examples; of texts its name and sentences about it may be enough."""
    service = service_of(request)
    content = await content_of(request, service.limits)
    body = json_of(NewClass, request, content)
    check_name_length([body.name], service.limits)
    sentences = _checked(body.describe)

    def operation(live: Live) -> Step:
        if body.name in live.draft.class_names:
            raise Refusal(409, f"there is a class {body.name!r} already: give another name")
        if len(live.draft.classes) >= service.limits.classes:
            raise Refusal(413, f"there are {service.limits.classes:,} classes, and no more are taken: merge some")
        if sentences and not live.reads_texts:
            raise Refusal(422, f"descriptions are of classes of texts, and the rows are {live.draft.modality}")
        change = changes.with_class(live, body.name, sentences)
        if change.live.predictor is None:
            encoder = service.encoders.named(live.draft.encoder)
            predictor = changes.from_names(change.live.draft, encoder)
            return replace(change, live=replace(change.live, predictor=predictor))
        return change

    return await changed(request, id, content, operation, lambda change: (201, brief(change.live)))


@router.patch(
    "/{id}/classes/{name:path}",
    **documents.route("Rename a class", 200, 404, 409, body=body_of(ClassName), shows="brief"),
)
async def rename_class(request: Request, id: Id, name: str) -> Response:
    """Call a class otherwise; its examples stay."""
    service = service_of(request)
    content = await content_of(request, service.limits)
    body = json_of(ClassName, request, content)
    check_name_length([body.name], service.limits)

    def operation(live: Live) -> Step:
        if body.name in live.draft.class_names and body.name != name and name in live.draft.class_names:
            raise Refusal(409, f"there is a class {body.name!r} already: give another name")
        return changes.renamed_class(live, name, body.name)

    return await changed(request, id, content, operation, _summary)


@router.delete("/{id}/classes/{name:path}", **documents.route("Remove a class", 200, 404, shows="brief"))
async def remove_class(request: Request, id: Id, name: str) -> Response:
    """Remove a class and its examples."""
    return await changed(request, id, b"", lambda live: changes.without_class(live, name), _summary)


@router.post("/{id}/undo", **documents.route("Undo the last change", 200, 404, 409, shows="brief"))
async def undo(request: Request, id: Id) -> Response:
    """Return to the version before the last change; again, to the one before that."""
    service = service_of(request)

    async def work(key: str, fingerprint: str) -> Reply:
        async with service.residents.writing(id):
            live = await service.live(id)
            check_match(request, live)
            try:
                change = await service.residents.undone(live)
            except LookupError as error:
                raise Refusal(409, str(error.args[0])) from None
            reply = reply_of(200, brief(change.live), change.live)
            await service.residents.commit(change, key, fingerprint, reply)
        service.judge(id)
        return reply

    return await once(request, b"", work)


@router.post(
    "/{id}/learner",
    **documents.route("Choose the learner", 200, 404, 409, body=body_of(LearnerChoice), shows="learner"),
)
async def choose_learner(request: Request, id: Id) -> Response:
    """Take another learner, or the best by cross-validation; this takes seconds, in a process of its own."""
    service = service_of(request)
    limits = service.limits
    content = await content_of(request, limits)
    body = json_of(LearnerChoice, request, content)
    live = await service.live(id)
    check_match(request, live)
    learner, optimism, tried = body.learner, 0.0, list[Any]()
    if body.learner == "auto":
        if live.missing or live.predictor is None:
            raise Refusal(409, live.missing)
        seconds = min(body.seconds or limits.fit_seconds / 2, limits.fit_seconds / 2)
        async with service.fitting():
            work = service.fitters.run(limits.fit_seconds, choice_for, without_weights(live.predictor), seconds)
            learner, optimism, tried = await work
    _check_learner(learner)

    def operation(current: Live) -> Step:
        if body.learner == "auto" and current.version != live.version:
            raise Refusal(412, "the predictor changed while its learner was chosen: choose again")
        return changes.with_learner(current, learner, optimism, body.learner == "auto")

    return await changed(
        request,
        id,
        content,
        operation,
        lambda change: (200, {**brief(change.live), "learner": learner, "tried": tried}),
    )


def _card(change: Step) -> tuple[int, Any]:
    return 200, card(change.live)


def _summary(change: Step) -> tuple[int, Any]:
    return 200, brief(change.live)
