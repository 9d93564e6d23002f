"""How every write goes: once for each key, against the version it was meant for, and on the disk before the answer."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response

from mapwise.interfaces.server.json_text import json_bytes
from mapwise.interfaces.server.problems import Refusal
from mapwise.interfaces.server.service import Service
from mapwise.interfaces.server.state.changes import Operation, Step
from mapwise.interfaces.server.state.live import Live
from mapwise.interfaces.server.state.store import Reply

_LONGEST_KEY = 200
Render = Callable[[Step], tuple[int, Any]]
"""The status and the JSON that answer a change."""


def service_of(request: Request) -> Service:
    """The service of the app that a request came to."""
    service: Service = request.app.state.service
    return service


async def once(request: Request, content: bytes, work: Callable[[str, str], Awaitable[Reply]]) -> Response:
    """The answer to a write; one that comes again with its idempotency key gets the answer of before.

    work: the key and the fingerprint of the request -> its answer, which is kept with what it changes.
    """
    service, key = service_of(request), request.headers.get("idempotency-key", "")
    if not key:
        return response_of(await work("", ""))
    if len(key) > _LONGEST_KEY:
        raise Refusal(422, f"the idempotency key has {len(key):,} letters and may have {_LONGEST_KEY}: shorten it")
    # A client that sends a form again takes another boundary.
    boundary = request.headers.get("content-type", "").partition("boundary=")[2].strip('"').encode("latin-1")
    content = content.replace(boundary, b"") if boundary else content
    parts = (request.method, request.url.path, request.url.query, request.headers.get("if-match", ""))
    fingerprint = hashlib.sha256("\n".join(parts).encode() + b"\n" + content).hexdigest()
    async with service.residents.writing(f"key {key}"):
        known = await service.residents.on_disk(service.store.reply, key, service.limits.reply_seconds)
        if known is None:
            return response_of(await work(key, fingerprint))
        if known[0] != fingerprint:
            raise Refusal(422, "the idempotency key belongs to another request: take a new one")
        answer = response_of(known[1])
        answer.headers["idempotent-replayed"] = "true"
        return answer


async def changed(request: Request, id: str, content: bytes, operation: Operation, render: Render) -> Response:
    """Step a predictor by one writer at a time, and answer."""
    service = service_of(request)

    async def work(key: str, fingerprint: str) -> Reply:
        async with service.residents.writing(id):
            live = await service.live(id)
            check_match(request, live)
            change = await applied(operation, live)
            await check_room(service)
            reply = reply_of(*render(change), change.live)
            if change.live is not live:
                await service.residents.commit(change, key, fingerprint, reply)
        service.judge(id)
        return reply

    return await once(request, content, work)


async def applied(operation: Operation, live: Live) -> Step:
    """What an operation makes of a predictor, computed beside the event loop."""
    try:
        return await asyncio.to_thread(operation, live)
    except LookupError as error:
        raise Refusal(404, str(error.args[0])) from None


async def check_room(service: Service) -> None:
    """Raises Refusal when the folder is full."""
    size = await service.residents.on_disk(service.store.size)
    if size > service.limits.folder:
        raise Refusal(507, f"the folder holds {size:,} bytes and may hold {service.limits.folder:,}: remove predictors")


def check_match(request: Request, live: Live) -> None:
    """Raises Refusal where a write was meant for another version."""
    wanted = request.headers.get("if-match", "")
    if wanted and wanted != "*" and live.tag not in [tag.strip() for tag in wanted.split(",")]:
        raise Refusal(412, f"the predictor is of version {live.version} by now: read it again, and repeat the change")


def reply_of(status: int, content: Any, live: Live) -> Reply:
    """An answer about a version."""
    return Reply(status, {"etag": live.tag}, json_bytes(content) if content is not None else b"")


def response_of(reply: Reply) -> Response:
    """The response of an answer."""
    return Response(reply.body, reply.status, reply.headers, "application/json" if reply.body else None)
