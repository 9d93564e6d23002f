"""What OpenAPI says is what the server does: generated requests get documented answers, and no fault."""

import io
import random
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image
from server_process import Server, begin, drawings, httpx, intents, png

schemathesis = pytest.importorskip("schemathesis")
all_checks = pytest.importorskip("schemathesis.checks").CHECKS
OPERATIONS = [
    *("GET /v1/predictors", "POST /v1/predictors", "GET /v1/predictors/{id}", "PATCH /v1/predictors/{id}"),
    *("DELETE /v1/predictors/{id}", "GET /v1/predictors/{id}/examples", "POST /v1/predictors/{id}/examples"),
    "GET /v1/predictors/{id}/examples/{number}/preview",
    *("PATCH /v1/predictors/{id}/examples/{number}", "DELETE /v1/predictors/{id}/examples/{number}"),
    *("POST /v1/predictors/{id}/classes", "PATCH /v1/predictors/{id}/classes/{name}"),
    *("DELETE /v1/predictors/{id}/classes/{name}", "POST /v1/predictors/{id}/undo"),
    *("POST /v1/predictors/{id}/learner", "POST /v1/predictors/{id}/predict", "POST /v1/predictors/{id}/explain"),
    *("POST /v1/predictors/{id}/which-next", "GET /v1/predictors/{id}/map", "GET /v1/predictors/{id}/file"),
    *("GET /v1/predictors/{id}/onnx", "GET /v1/predictors/{id}/code", "GET /healthz", "GET /readyz", "GET /metrics"),
]
COSTLY = ("onnx", "file", "explain", "learner")
"""Operations of which a request takes a process of its own."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("schema") / "state").wait()
    yield server
    server.end()


class World:
    """Predictors that are there, so that requests lead somewhere."""

    def __init__(self, client):
        self.client, self.texts, self.pictures = client, intents(client), drawings(client)
        self.table = begin(client, name="t", modality="table")
        self.rows = [{"a": 1.5, "b": "x"}, {"a": 9, "b": "y"}]
        body = {"rows": self.rows, "labels": ["p", "q"]}
        assert client.post(f"/v1/predictors/{self.table}/examples", json=body).status_code == 201
        self.count = 0
        file = io.BytesIO()
        np.save(file, np.asarray(Image.open(io.BytesIO(png(0, 99, 28))))[None])
        self.array = file.getvalue()

    def fresh(self) -> str:
        """A predictor of texts that may be changed."""
        return intents(self.client)

    def lead(self, case) -> None:
        """Let a generated request be about something that is there."""
        self.count += 1
        path, method = case.operation.path, case.operation.method.upper()
        if "{id}" not in path:
            if case.media_type == "application/json" and isinstance(case.body, dict) and self.count % 4:
                modality = ["texts", "pictures", "table"][self.count % 3]
                case.body = {**case.body, "name": f"name {self.count}", "modality": modality, "encoder": "auto"}
                case.body |= {"learner": "auto", "classes": [f"class {self.count}"]}
                case.body.pop("describe", None)
            if case.media_type == "multipart/form-data" and isinstance(case.body, dict):
                case.body["file"] = self.client.get(f"/v1/predictors/{self.texts}/file").content
            return
        changes = method in ("PATCH", "DELETE") or path.endswith(("examples", "classes", "undo", "learner"))
        parameters = dict(case.path_parameters)
        parameters["id"] = self.fresh() if changes and method != "GET" else self.texts
        if case.media_type == "multipart/form-data" and isinstance(case.body, dict):
            parameters["id"] = self.pictures
            if self.count % 2:
                case.body = {"files": [png(self.count % 3, self.count)]}
            else:
                case.body = {"array": self.array}
            if path.endswith("/examples"):
                case.body["labels"] = [f"kind {self.count}"]
        elif isinstance(case.body, dict) and isinstance(case.body.get("rows"), list):
            parameters["id"] = self.table
            case.body["rows"] = [{**row, **self.rows[0]} for row in case.body["rows"] if isinstance(row, dict)]
        if path.endswith("/preview"):
            parameters["id"] = self.pictures
        if "number" in parameters:
            parameters["number"] = 1 + self.count % 4
        if "name" in parameters:
            parameters["name"] = "cancel"
        if isinstance(case.body, dict) and isinstance(case.body.get("labels"), list) and self.count % 2:
            case.body["labels"] = ["cancel"]
        if path.endswith("/learner") and isinstance(case.body, dict):
            case.body = {"learner": ["ridge", "nearest_mean", "logistic", "auto"][self.count % 4], "seconds": 1.0}
        if isinstance(case.body, dict) and self.count % 4:
            if "texts" in case.body:
                case.body = {name: part for name, part in case.body.items() if name != "rows"}
                case.body["texts"] = ["a b", f"words {self.count}"]
            good = {"name": f"name {self.count}", "label": f"label {self.count}", "describe": ["a few words"]}
            case.body |= {name: value for name, value in good.items() if name in case.body}
        case.path_parameters = parameters


@pytest.fixture(scope="module")
def world(server):
    with httpx.Client(base_url=server.address, timeout=60) as client:
        yield World(client)


def checked(server: Server, world: World, label: str, cases: int) -> Counter:
    """Send so many generated requests of an operation, of which most lead somewhere; the statuses of the answers."""
    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    method, path = label.split()
    operation = schema[path][method]
    statuses, faults = Counter(), []
    random_ = random.Random(0)
    names = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
    checks = [one for name in names for one in all_checks.get_by_names([name])]
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]

    def ask(case) -> None:
        if random_.random() < 0.75:
            world.lead(case)
        response = case.call(base_url=server.address, timeout=90)
        statuses[response.status_code] += 1
        try:
            case.validate_response(response, checks=checks)
        except Exception as error:
            faults.append(f"{response.status_code} {error}")

    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    for mode, share in zip(modes, (0.8, 0.2), strict=True):
        try:
            strategy = operation.as_strategy(generation_mode=mode)
        except Exception:  # an operation without anything to give wrong
            continue
        count = max(1, round(share * cases))

        @settings(max_examples=count, deadline=None, suppress_health_check=quiet, phases=[Phase.generate])
        @given(case=strategy)
        def run(case):
            ask(case)

        try:
            run()
        except Exception as error:
            if "Unsatisfiable" not in type(error).__name__:
                raise
    assert not faults, "\n".join(faults[:3])
    return statuses


@pytest.mark.parametrize("label", OPERATIONS)
@pytest.mark.parametrize("cases", [6, pytest.param(270, marks=pytest.mark.slow)])
def test_generated_requests_get_documented_answers(server, world, label, cases):
    count = cases if not label.endswith(COSTLY) else min(cases, 120)
    statuses = checked(server, world, label, count)
    if cases == 6 and not any(status < 300 for status in statuses):  # so few may by chance all be refused
        statuses += checked(server, world, label, 30)
    assert not any(status >= 500 for status in statuses), statuses
    good = sum(count for status, count in statuses.items() if status < 300)
    assert good >= (0.3 * sum(statuses.values()) if cases > 6 else 1), statuses


@pytest.mark.parametrize("text", ["\U0001f642", "...", "a", "\u4f60", " ", "", "\t\n", "\x1c", "\u3000"])
def test_texts_are_taken_as_the_pattern_says(client, text):
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Queries"]["properties"]["texts"]["items"]
    allowed = len(text) >= schema["minLength"] and re.search(schema["pattern"], text) is not None
    reply = client.post(f"/v1/predictors/{intents(client)}/predict", json={"texts": [text]})
    assert reply.status_code == (200 if allowed else 422), reply.text


def test_every_operation_is_tried(server):
    paths = httpx.get(f"{server.address}/openapi.json").json()["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert operations == set(OPERATIONS)
