"""Who is answered, and with which headers: hosts, origins, tokens, sizes and numbers of requests."""

import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mapwise.interfaces.server.problems import MEDIA, Refusal, problem_of
from mapwise.interfaces.server.service import LOG, Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_OPEN = ("/healthz", "/readyz")
"""Answered without a token, as is the page, which holds nothing."""
_GUARDED = ("/v1", "/metrics", "/openapi.json")
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src "
    "'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_RAW = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


class Access:
    """Around the application: refuses what isn't to be answered, counts and times the rest."""

    def __init__(self, app: Any, service: Service):
        self.app, self.service = app, service
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, began = time.perf_counter(), 500, False
        guarded, method = str(scope["path"]).startswith(_GUARDED), str(scope["method"])
        if method == "HEAD":  # what GET answers, without the body, which the HTTP server leaves out
            scope = {**scope, "method": "GET"}

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                status, began = message["status"], True
                headers = list(message.get("headers", ()))
                names = {name for name, _ in headers}
                if b"cache-control" not in names:  # the page is looked for again: a newer server has a newer one
                    headers.append((b"cache-control", b"no-store" if guarded else b"no-cache"))
                message = {**message, "headers": [*headers, *_RAW]}
            await send(message)

        self.running += 1
        try:
            self._check(scope, guarded)
            await self.app(scope, receive, sending)
        except Exception as error:
            problem = problem_of(error)
            if problem.status == 500:
                LOG.error("fault", exc_info=error)
            if began:
                raise
            await _send_problem(problem, sending)
        finally:
            self.running -= 1
            route = getattr(scope.get("route"), "path", "") or "other"
            seconds = time.perf_counter() - start
            self.service.metrics.count(method, route, status, seconds)
            if self.service.settings.log_requests:
                about = {"method": scope["method"], "route": route, "status": status, "ms": round(1000 * seconds, 1)}
                LOG.info("request", extra={"about": about})

    def _check(self, scope: Scope, guarded: bool) -> None:
        """Raises Refusal for what isn't to be answered."""
        service, headers = self.service, dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._knows(host):
            raise Refusal(421, "the server isn't called so: use the address that it printed, or start it with --host")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in (f"http://{host}", f"https://{host}"):
            raise Refusal(403, "requests of pages of other origins aren't answered")
        if headers.get(b"sec-fetch-site", b"same-origin") == b"cross-site" and guarded:
            raise Refusal(403, "requests of pages of other sites aren't answered")
        if guarded and service.settings.token:
            self._check_token(headers.get(b"authorization", b""))
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise Refusal(400, "the length of the body is no number")
        if int(length) > service.limits.body:
            raise Refusal(413, f"a body may have {service.limits.body:,} bytes: send less at a time")
        if guarded and service.closing:
            raise Refusal(503, "the server is shutting down", {"retry-after": "5"})
        if self.running > service.limits.requests and scope["path"] not in _OPEN:
            raise Refusal(
                429, f"{service.limits.requests} requests are being answered: try again", {"retry-after": "1"}
            )

    def _knows(self, host: str) -> bool:
        """Whether the server is called so: by one of its names, with its port or any where none is named."""
        name = host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
        return any(host == known or name == known for known in self.service.settings.hosts)

    def _check_token(self, header: bytes) -> None:
        scheme, _, token = header.partition(b" ")
        wanted = self.service.settings.token.encode()
        # The same time for every token, so that none is found letter by letter.
        if not (hmac.compare_digest(token.strip(), wanted) and scheme.lower() == b"bearer"):
            raise Refusal(401, "give the server's token: Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"})


async def _send_problem(problem: Refusal, send: Send) -> None:
    body = problem.to_bytes()
    headers = {"content-type": MEDIA, "content-length": str(len(body)), **problem.headers}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
