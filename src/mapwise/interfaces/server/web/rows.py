"""Rows of requests as a predictor takes them: decoded, encoded in a shared pass, and what people see of each."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Request

from mapwise.data.digests import digests
from mapwise.data.inputs import columns_of_records
from mapwise.interfaces.server.pictures import SentPictures, array_of, file_name
from mapwise.interfaces.server.problems import Refusal
from mapwise.interfaces.server.service import Service
from mapwise.interfaces.server.state.live import Live
from mapwise.interfaces.server.state.shared_encoder import EncodedRows
from mapwise.interfaces.server.web.bodies import (
    JSON,
    MULTIPART,
    NewExamples,
    Queries,
    check_count,
    check_rows,
    content_of,
    form_of,
    json_of,
    label_each,
    media_type,
)
from mapwise.predictors.advice import PHOTOGRAPHS
from mapwise.predictors.examples import LabelledExamples


@dataclass(frozen=True, eq=False)
class GivenRows:
    """Rows as a predictor takes them.

    cut: whether the encoder didn't read the end of each.
    """

    rows: Any
    count: int
    cut: Sequence[bool]


@dataclass(frozen=True, eq=False)
class GivenExamples:
    """Labelled rows as a predictor takes them.

    shown:  what people see of each.
    advice: what is likely wrong with the encoder for such rows, and steps to mend it.
    """

    examples: LabelledExamples
    shown: Sequence[bytes]
    advice: Sequence[str] = ()


async def rows_of(request: Request, service: Service, live: Live) -> GivenRows:
    """The rows of a request that is to be answered."""
    content = await content_of(request, service.limits)
    if live.draft.modality == "pictures":
        pictures, _ = _pictures(request, content, service)
        rows: Any = pictures.contents
        if not (isinstance(rows, np.ndarray) and service.encoders.takes(service.encoder_of(live), rows)):
            rows = [one.array for one in await service.pictures(live, pictures, previews=False)]
        return _given(await service.encoded(live, rows), len(rows))
    body = json_of(Queries, request, content)
    rows, count = _plain_rows(body, service, live)
    return _given(await service.encoded(live, rows), count)


def _given(rows: Any, count: int) -> GivenRows:
    return GivenRows(rows, count, rows.cut if isinstance(rows, EncodedRows) else [False] * count)


async def examples_of(request: Request, content: bytes, service: Service, live: Live) -> GivenExamples:
    """The labelled rows of a request."""
    limits, modality, advice = service.limits, live.draft.modality, list[str]()
    if modality == "pictures":
        pictures, given = _pictures(request, content, service)
        labels = label_each(given, len(pictures), limits)
        drawn = await service.pictures(live, pictures, previews=True)
        rows: Any = [one.array for one in drawn]
        shown = [one.preview for one in drawn]
        contents = await asyncio.to_thread(digests, modality, pictures.contents)
        if 2 * sum(one.photograph for one in drawn) > len(drawn):
            advice = list(PHOTOGRAPHS)
    else:
        body = json_of(NewExamples, request, content)
        rows, count = _plain_rows(body, service, live)
        labels = label_each(body.labels, count, limits)
        shown = [text.encode("utf-8", "replace") for text in body.texts or []]
        shown = shown or [json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") for row in body.rows or []]
        contents = digests(modality, rows)
    encoded = await service.encoded(live, rows)
    classes = len({*live.draft.class_names, *labels})
    if classes > limits.classes:
        raise Refusal(
            413, f"there would be {classes:,} classes and a predictor may have {limits.classes:,}: merge some"
        )
    examples = LabelledExamples(encoded, modality, np.asarray(labels, dtype=object), contents=contents)
    return GivenExamples(examples, shown, advice)


def _plain_rows(body: Queries, service: Service, live: Live) -> tuple[Any, int]:
    check_rows(body, service.limits)
    wanted = "texts" if live.draft.modality == "texts" else "rows"
    rows = getattr(body, wanted)
    if rows is None:
        raise Refusal(422, f"this predictor reads {live.draft.modality}: give {wanted}")
    return (rows if wanted == "texts" else columns_of_records(rows)), len(rows)


def _pictures(request: Request, content: bytes, service: Service) -> tuple[SentPictures, list[str]]:
    """The pictures of a form, and its labels."""
    limits = service.limits
    if media_type(request) != MULTIPART:
        what = f"the body is of type {media_type(request)[:80]!r}"
        needed = "this predictor reads pictures: send them as files of a multipart form"
        raise Refusal(422 if media_type(request) == JSON else 415, f"{what}, and {needed}")
    form = form_of(request, content, limits.rows, ["files", "array"])
    labels = list(form.fields.get("labels", ()))
    if not form.files:
        raise Refusal(422, "the form has no pictures: send files in the field `files`, or an array in `array`")
    if all(file.field == "files" for file in form.files):
        names = [file_name(file.name, place) for place, file in enumerate(form.files)]
        return SentPictures([file.content for file in form.files], names), labels
    if len(form.files) > 1:
        raise Refusal(422, "the form has an array and further files: send one array, or files alone")
    array = array_of(form.files[0].content, limits)
    check_count(len(array), limits)
    return SentPictures(array, [f"the picture of row {place}" for place in range(len(array))]), labels
