"""What OpenAPI says of routes: their answers, and the problems that each may answer with."""

from typing import Annotated, Any

from fastapi import Path, Response

from mapwise.interfaces.server.answers import answer_content
from mapwise.interfaces.server.problems import MEDIA, TITLES

Id = Annotated[str, Path(description="Id of a predictor.", pattern="^[0-9a-f]{16}$", examples=["0123456789abcdef"])]
Number = Annotated[int, Path(description="Id of an example.", ge=1, le=2**53)]
_ALWAYS = (400, 401, 403, 408, 413, 415, 421, 422, 429, 503, 507)
"""Problems that any route may answer with: those of the token, the host, the body and the limits."""


class Octets(Response):
    """A file."""

    media_type = "application/octet-stream"


class Picture(Response):
    """A picture."""

    media_type = "image/png"


def route(
    summary: str, status: int, *others: int, body: dict[str, Any] | None = None, shows: str = "", table: bool = False
) -> dict[str, Any]:
    """What a route's decorator is given.

    others: the problems beside those that any route may answer with.
    shows:  the name of its answer.
    table:  whether the answer may be a CSV table.
    """
    responses: dict[int | str, Any] = {code: problem(code) for code in sorted({*_ALWAYS, *others, 412})}
    if shows:
        content = answer_content(shows) | ({"text/csv": {"schema": {"type": "string"}}} if table else {})
        responses[status] = {"description": "Done", "content": content}
    more = {"openapi_extra": body} if body else {}
    return {"summary": summary, "responses": responses, "response_model": None, **more}


def problem(code: int) -> dict[str, Any]:
    """How a problem is body_of."""
    return {
        "description": TITLES[code].capitalize(),
        "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


PROBLEM = {
    "title": "Problem",
    "description": "Problem details, RFC 9457.",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was given, what is needed, and what to do."},
    },
    "required": ["type", "title", "status", "detail"],
}
