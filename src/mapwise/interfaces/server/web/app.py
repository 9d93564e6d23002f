"""The application: its routes, its page, what OpenAPI says of it, and how it starts and ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from mapwise import __version__
from mapwise.interfaces.server.problems import MEDIA, TITLES, Refusal, problem_of
from mapwise.interfaces.server.service import LOG, Service
from mapwise.interfaces.server.web import asking, documents, looking, teaching
from mapwise.interfaces.server.web.access import Access
from mapwise.interfaces.server.web.bodies import MODELS

PAGE = Path(__file__).parent.parent / "page"


def create_app(service: Service) -> FastAPI:
    """The application of a service, which it starts and stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="mapwise serve",
        version=__version__,
        summary="Predictors made of a few labelled examples",
        lifespan=lifespan,
        docs_url=None,  # its page asks another host for its scripts
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for router in (asking.router, looking.router, teaching.router):  # the one that is looked for most comes first
        app.include_router(router)
    _add_health(app, service)
    app.add_exception_handler(RequestValidationError, _unusable)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Refusal, _problem)
    for error in (ValueError, OSError, MemoryError):
        app.add_exception_handler(error, _problem)
    _add_schemas(app)
    if PAGE.is_dir():
        app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    app.add_middleware(Access, service=service)
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether requests are answered", responses={503: documents.problem(503)})
    async def readyz() -> dict[str, str]:
        """Whether requests are answered: not before the start is done, and not while the server shuts down."""
        if not service.ready or service.closing:
            raise Refusal(503, "the server is starting or shutting down: try again in a moment", {"retry-after": "1"})
        return {"status": "ready"}

    @app.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    async def metrics() -> Response:
        """Requests by route and status, their seconds, and what is held."""
        return Response(service.metrics.text(service.figures()), media_type="text/plain; version=0.0.4")


def _problem(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status == 500:
        LOG.error("fault", exc_info=error)
    return Response(problem.to_bytes(), problem.status, problem.headers, MEDIA)


def _unusable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = " ".join(str(part) for part in first["loc"])
    return _problem(request, Refusal(422, f"{where}: {first['msg'].lower()}"))


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: "there is no such address: /openapi.json lists those that there are",
        405: f"{request.method} isn't answered here: /openapi.json says what is",
    }
    status = error.status_code if error.status_code in TITLES else 400
    return _problem(request, Refusal(status, words.get(status, str(error.detail)), dict(error.headers or {})))


def _add_schemas(app: FastAPI) -> None:
    """Let OpenAPI know the bodies that routes read by themselves, and the problem details."""
    whole = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = whole()
            _, models = models_json_schema(
                [(model, "validation") for model in MODELS], ref_template="#/components/schemas/{model}"
            )
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas |= models["$defs"]
            schemas["Problem"] = documents.PROBLEM
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's manual says
