"""What requests hold: models of their JSON, and the reading of bodies within limits."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from python_multipart.multipart import parse_options_header

from mapwise.interfaces.server.answers import BODIES as BODY_EXAMPLES
from mapwise.interfaces.server.limits import Limits
from mapwise.interfaces.server.problems import Refusal

M = TypeVar("M", bound="Body")
JSON, MULTIPART = "application/json", "multipart/form-data"
_USUAL = re.compile(rb' form-data; name="([^"\\]*)"(?:; filename="([^"\\]*)")?')
"""What clients write before a part, where no quotation mark is within a name."""
Cell = str | int | float | bool | None
_CELL_DEPTH = 4
"""Parts of the place of a fault in a cell: rows, the row, the column, and a type."""
Sentences = Annotated[
    list[str],
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""A sentence or several, as the estimator takes them."""
Label = Annotated[str, Field(min_length=1, description="Name of a class; one that is new is added.")]


class Body(BaseModel):
    """A JSON object of a request: other fields than its own are a mistake."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class NewPredictor(Body):
    """A predictor to begin, with as much as is known."""

    name: Annotated[str, Field(min_length=1, description="What people call it.")] = "untitled"
    modality: Annotated[
        Literal["pictures", "texts", "table"] | None,
        Field(description="What its rows are; null: as the encoder reads."),
    ] = None
    encoder: Annotated[str, Field(description='Name of an encoder, or "auto": the first that reads such rows.')] = (
        "auto"
    )
    learner: Annotated[str, Field(description='Name of a learner, or "auto".')] = "auto"
    classes: Annotated[list[str], Field(description="Names of classes, which may have no example yet.")] = []
    names: Annotated[bool, Field(description="Of texts: whether the names of classes teach.")] = True
    describe: Annotated[dict[str, Sentences], Field(description="Of texts: class to sentences about it.")] = {}


_ONE: Any = {"oneOf": [{"required": ["texts"]}, {"required": ["rows"]}]}
_NPY = "application/octet-stream"
_ARRAY = (
    "Pictures as one array, as numpy.save writes it: uint8 or float32 of shape [N, H, W], [N, C, H, W] or "
    "[N, H, W, C], in the byte order of most machines (little) and row by row."
)
_TEXTS = {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1, "pattern": r"\S"}}
_CELL = {"type": ["string", "number", "boolean", "null"]}
_CELLS = {"type": "object", "minProperties": 1, "additionalProperties": _CELL}
_TABLE = {"type": "array", "minItems": 1, "items": _CELLS, "description": "Cells by the names of their columns."}


class Queries(Body):
    """Rows to be answered: texts, or rows of a table. Pictures come as a multipart form."""

    model_config = ConfigDict(json_schema_extra=_ONE)

    texts: Annotated[list[str] | None, WithJsonSchema(_TEXTS)] = None
    rows: Annotated[list[dict[str, Cell]] | None, WithJsonSchema(_TABLE)] = None

    @model_validator(mode="after")
    def _one(self) -> "Queries":
        if (self.texts is None) == (self.rows is None):
            raise ValueError("give texts or rows")
        return self


class NewExamples(Queries):
    """Examples: texts, or rows of a table, and their labels."""

    labels: Annotated[list[Label], Field(min_length=1, description="A label for each row, or one for all.")]


class NewLabel(Body):
    """Another class for an example."""

    label: Label


class NewClass(Body):
    """A class, which may have no example yet."""

    name: Annotated[str, Field(min_length=1)]
    describe: Annotated[Sentences, Field(description="Of texts: a sentence about the class, or several.")] = []


class ClassName(Body):
    """Another name for a class."""

    name: Annotated[str, Field(min_length=1)]


class PredictorName(Body):
    """Another name for a predictor."""

    name: Annotated[str, Field(min_length=1)]


class LearnerChoice(Body):
    """The learner to take."""

    learner: Annotated[str, Field(description='Name of a learner, or "auto": the best by cross-validation.')] = "auto"
    seconds: Annotated[float | None, Field(gt=0, description="That choosing may take.")] = None


MODELS: tuple[type[Body], ...] = (
    *(NewPredictor, Queries, NewExamples, NewLabel, NewClass, ClassName, PredictorName, LearnerChoice),
)


class Upload(NamedTuple):
    """A file of a form: the field in which it was sent, its name, and its bytes."""

    field: str
    name: str
    content: bytes


@dataclass(frozen=True)
class Form:
    """A multipart body: its files in their order, and the values of its fields."""

    files: tuple[Upload, ...]
    fields: dict[str, tuple[str, ...]]


async def content_of(request: Request, limits: Limits) -> bytes:
    """The bytes of a body, within their limits of size and time."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body:
                    raise Refusal(413, f"a body may have {limits.body:,} bytes: send less at a time")
                parts.append(part)
    except TimeoutError:
        raise Refusal(408, f"the body took longer than {limits.body_seconds:g} seconds: send less at a time") from None
    return b"".join(parts)


def media_type(request: Request) -> str:
    """The media type of a body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def json_of(model: type[M], request: Request, content: bytes) -> M:
    """The JSON object of a body; raises Refusal for another media type, and for what it may not hold."""
    if media_type(request) != JSON:
        raise Refusal(415, f"the body is of type {media_type(request)[:80]!r} and {JSON} is needed")
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise Refusal(400, f"the body is no JSON: {first['msg'].lower()}") from None
        where = ".".join(str(part) for part in first["loc"])
        if first["loc"][:1] == ("rows",) and len(first["loc"]) == _CELL_DEPTH:
            where, _, _ = where.rpartition(".")  # the last part is a type of the union that a cell is
            raise Refusal(422, f"{where}: a cell is a finite number, a text, true, false or null") from None
        raise Refusal(422, f"{where or 'the body'}: {first['msg'].removeprefix('Value error, ').lower()}") from None
    except RecursionError:
        raise Refusal(400, "the body is no JSON: it is nested too deeply") from None


def form_of(request: Request, content: bytes, files: int, names: Sequence[str]) -> Form:
    """The parts of a multipart body, which lies in memory as a whole and is cut at its boundary (RFC 2046, 5.1).

    files: so many at most.
    names: the fields in which files may be.

    Raises Refusal for what is no such form, for too many parts, and for a file in another field.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != MULTIPART.encode() or not 1 <= len(boundary) <= 200:
        raise _no_form("it names no boundary")
    # Each boundary is a line of its own; the first may open the body.
    first, *parts = (b"\r\n" + content).split(b"\r\n--" + boundary)
    if first.strip() or not parts or not parts[-1].startswith(b"--"):
        raise _no_form("its boundary isn't where it should be, or its end is missing")
    if len(parts) - 1 > 2 * files + 16:
        raise Refusal(413, f"there are {len(parts) - 1:,} parts and a request may have {files} files: send several")
    uploads: list[Upload] = []
    fields: dict[str, list[str]] = {}
    for part in parts[:-1]:
        head, gap, data = part.partition(b"\r\n\r\n")
        name, file = _disposition(head)
        if not gap:
            raise _no_form("a part has no empty line behind its head")
        if file is not None:
            uploads.append(Upload(name, file, data))
        else:
            fields.setdefault(name, []).append(data.decode("utf-8", "replace"))
    if len(uploads) > files:
        raise Refusal(413, f"there are {len(uploads):,} files and a request may have {files}: send several requests")
    wanted = " or ".join(f"`{name}`" for name in names)
    for upload in uploads:
        if upload.field not in names:
            raise Refusal(422, f"a file is in the field {upload.field[:80]!r} of the form: send it in {wanted}")
    for name in names:
        if name in fields:
            raise Refusal(422, f"the field {name!r} of the form is no file: send one (curl -F {name}=@FILE)")
    return Form(tuple(uploads), {name: tuple(values) for name, values in fields.items()})


def _disposition(head: bytes) -> tuple[str, str | None]:
    """The field of a part, and the name of its file, None for none; raises Refusal for a part without a field."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            if usual := _USUAL.fullmatch(value):  # in a tenth of the time
                field, file = usual.groups()
                return field.decode("utf-8", "replace"), None if file is None else file.decode("utf-8", "replace")
            _, options = parse_options_header(value.strip())
            if b"name" in options:
                file = options.get(b"filename")
                field = options[b"name"].decode("utf-8", "replace")
                return field, None if file is None else file.decode("utf-8", "replace")
    raise _no_form("a part has no name")


def _no_form(why: str) -> Refusal:
    return Refusal(400, f"the body is no multipart form, since {why}: send it as a browser or curl does")


def check_name_length(names: "list[str] | tuple[str, ...]", limits: Limits) -> None:
    """Raises Refusal for a name that is too long."""
    for name in names:
        if len(name) > limits.name:
            raise Refusal(
                422, f"the name {name[:40]!r} has {len(name):,} letters and may have {limits.name}: shorten it"
            )


def check_rows(rows: Queries, limits: Limits) -> None:
    """Raises Refusal for more rows, letters or columns than the limits allow."""
    count = len(rows.texts if rows.texts is not None else rows.rows or [])
    check_count(count, limits)
    letters = sum(map(len, rows.texts or []))
    if letters > limits.letters:
        raise Refusal(
            413, f"the texts have {letters:,} letters and a request may have {limits.letters:,}: send several"
        )
    for place, text in enumerate(rows.texts or []):
        if len(text) > limits.text:
            raise Refusal(
                413, f"the text of row {place} has {len(text):,} letters and may have {limits.text:,}: cut it"
            )
        if not text.strip():
            raise Refusal(422, f"the text of row {place} is empty: fill it or leave it out")
    cells = sum(map(len, rows.rows or []))
    if cells > limits.cells:
        raise Refusal(413, f"there are {cells:,} cells and a request may have {limits.cells:,}: send several")
    for place, row in enumerate(rows.rows or []):
        if not row or len(row) > limits.columns:
            raise Refusal(422, f"row {place} has {len(row):,} columns, and 1 to {limits.columns:,} are taken")
        check_name_length(list(row), limits)
        for cell in row.values():
            if isinstance(cell, str) and len(cell) > limits.cell:
                raise Refusal(413, f"a cell of row {place} has {len(cell):,} letters and may have {limits.cell:,}")


def check_count(count: int, limits: Limits) -> None:
    """Raises Refusal for no rows, and for too many."""
    if not count:
        raise Refusal(422, "there are no rows: give at least one")
    if count > limits.rows:
        raise Refusal(413, f"there are {count:,} rows and a request may have {limits.rows}: send several requests")


def label_each(labels: list[str], count: int, limits: Limits) -> list[str]:
    """A label for each row; raises Refusal for another number of labels."""
    check_name_length(labels, limits)
    if len(labels) not in (1, count):
        rows = "is 1 row" if count == 1 else f"are {count} rows"
        raise Refusal(422, f"there {rows} and {len(labels)} labels: give a label for each, or one for all")
    return labels * count if len(labels) == 1 else labels


def body_of(*models: type[Body], pictures: bool = False, labels: bool = False, file: bool = False) -> dict[str, Any]:
    """What OpenAPI says of a body: JSON of one of the models, or a multipart form of pictures, or of a file."""
    content: dict[str, Any] = {}
    if models:
        references = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
        content[JSON] = {
            "example": BODY_EXAMPLES[models[0].__name__],
            "schema": references[0] if len(references) == 1 else {"anyOf": references},
        }
    binary = {"type": "string", "format": "binary"}
    names = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
    if pictures:
        files = {"type": "array", "items": binary, "minItems": 1, "description": "Pictures, a file each."}
        rest = {"labels": names} if labels else {}
        ways = [
            {"type": "object", "properties": {way: part, **rest}, "required": [way, *rest]}
            for way, part in (("files", files), ("array", {**binary, "description": _ARRAY}))
        ]
        content[MULTIPART] = {"schema": {"oneOf": ways}, "encoding": {"array": {"contentType": _NPY}}}
    if file:
        fields = {"file": binary, "name": {"type": "string", "minLength": 1}}
        content[MULTIPART] = {"schema": {"type": "object", "properties": fields, "required": ["file"]}}
    return {"requestBody": {"required": True, "content": content}}
