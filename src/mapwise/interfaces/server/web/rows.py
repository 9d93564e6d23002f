"""Rows of requests as a predictor takes them: decoded, encoded in a shared pass, and what people see of each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Request

from mapwise.data.digests import digests
from mapwise.data.inputs import columns_of_records
from mapwise.interfaces.server.problems import Refusal
from mapwise.interfaces.server.service import Service, digests_of
from mapwise.interfaces.server.state.live import Live
from mapwise.interfaces.server.web.bodies import (
    JSON,
    MULTIPART,
    Form,
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
        form = _form(request, content, service)
        pictures = await service.pictures(live, form.files, previews=False)
        return _given(await service.encoded(live, [one.array for one in pictures]), len(pictures))
    body = json_of(Queries, request, content)
    rows, count = _plain_rows(body, service, live)
    return _given(await service.encoded(live, rows), count)


def _given(rows: Any, count: int) -> GivenRows:
    cut = [False] * count if isinstance(rows, dict) else [row.cut for row in rows]
    return GivenRows(rows, count, cut)


async def examples_of(request: Request, content: bytes, service: Service, live: Live) -> GivenExamples:
    """The labelled rows of a request."""
    limits, modality, advice = service.limits, live.draft.modality, list[str]()
    if modality == "pictures":
        form = _form(request, content, service)
        labels = label_each(list(form.fields.get("labels", ())), len(form.files), limits)
        pictures = await service.pictures(live, form.files, previews=True)
        rows: Any = [one.array for one in pictures]
        shown, contents = [one.preview for one in pictures], digests_of(form.files)
        if 2 * sum(one.photograph for one in pictures) > len(pictures):
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


def _form(request: Request, content: bytes, service: Service) -> Form:
    if media_type(request) != MULTIPART:
        what = f"the body is of type {media_type(request)[:80]!r}"
        needed = "this predictor reads pictures: send them as files of a multipart form"
        raise Refusal(422 if media_type(request) == JSON else 415, f"{what}, and {needed}")
    form = form_of(request, content, service.limits, service.limits.rows)
    check_count(len(form.files), service.limits)
    return form
