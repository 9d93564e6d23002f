"""Who is answered: tokens, hosts, origins, sizes, numbers of requests, and with which headers."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from server_process import Server, begin, drawings, files, httpx, intents, png

from mapwise.interfaces.server.limits import Limits
from mapwise.interfaces.server.problems import Refusal
from mapwise.interfaces.server.service import Service, Settings
from mapwise.interfaces.server.start import is_loopback, models_of
from mapwise.interfaces.server.web.app import create_app
from mapwise.interfaces.server.web.bodies import content_of
from mapwise.workflows.errors import WrongUse


def client_of(folder, **settings) -> TestClient:
    """A client of a server without its processes."""
    return TestClient(create_app(Service(Settings(folder, hosts=("testserver",), **settings))))


def test_without_the_token_nothing_is_answered_but_the_page(tmp_path):
    client = client_of(tmp_path, token="secret")
    for path in ("/v1/predictors", "/metrics", "/openapi.json", "/v1/nothing"):
        for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "secret"}, {"authorization": "é"}):
            reply = client.get(path, headers={name: value.encode() for name, value in headers.items()})
            assert reply.status_code == 401 and reply.headers["www-authenticate"] == "Bearer", path
            assert reply.headers["content-type"] == "application/problem+json"
        assert client.get(path, headers={"authorization": "Bearer secret"}).status_code in (200, 404)
    assert client.get("/healthz").status_code == 200 and client.get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "", "127.0.0.1", "testserver@evil"])
def test_another_host_is_refused(tmp_path, host):
    client = client_of(tmp_path)
    assert client.get("/v1/predictors", headers={"host": host}).status_code == 421
    assert client.get("/", headers={"host": host}).status_code == 421
    assert client.get("/v1/predictors", headers={"host": "TestServer:81"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://testserver.evil", "https://testserver:444"])
def test_another_origin_is_refused(tmp_path, origin):
    client = client_of(tmp_path)
    assert client.get("/v1/predictors", headers={"origin": origin}).status_code == 403
    assert client.post("/v1/predictors", json={"modality": "texts"}, headers={"origin": origin}).status_code == 403
    assert client.get("/v1/predictors", headers={"origin": "http://testserver"}).status_code == 200
    assert client.get("/v1/predictors", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_every_answer_has_the_headers_that_protect_a_page(tmp_path):
    client = client_of(tmp_path)
    for path in ("/", "/v1/predictors", "/v1/predictors/xyz", "/nothing", "/healthz"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
    assert client.get("/v1/predictors").headers["cache-control"] == "no-store"
    assert client.get("/v1/predictors", headers={"host": "evil"}).headers["x-frame-options"] == "DENY"


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(tmp_path):
    client = client_of(tmp_path, limits=Limits(body=1000))
    reply = client.post("/v1/predictors", content=b"x" * 1001, headers={"content-type": "application/json"})
    assert reply.status_code == 413
    parts = (b"x" * 400 for _ in range(5))  # without a length
    assert client.post("/v1/predictors", content=parts).status_code == 413


@pytest.mark.parametrize(
    "path", ["/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page/../../etc/passwd", "/%00"]
)
def test_no_path_leaves_the_page(tmp_path, path):
    reply = client_of(tmp_path).get(path)
    assert reply.status_code in (400, 404) and "root:" not in reply.text


def test_as_many_predictors_as_are_kept_and_no_more(tmp_path):
    client = client_of(tmp_path, limits=Limits(predictors=2))
    for _ in range(2):
        begin(client, modality="texts")
    reply = client.post("/v1/predictors", json={"modality": "texts"})
    assert reply.status_code == 507 and "remove some" in reply.json()["detail"]


def test_a_folder_may_be_full(tmp_path):
    client = client_of(tmp_path, limits=Limits(folder=1000))
    reply = client.post("/v1/predictors", json={"modality": "texts"})
    assert reply.status_code == 507 and str(tmp_path) not in reply.text


def test_limits_of_a_predictor_hold(tmp_path):
    client = client_of(tmp_path, limits=Limits(examples=3, classes=2))
    id = begin(client, modality="texts")
    address = f"/v1/predictors/{id}"
    labelled = {"texts": ["a b", "c d"], "labels": ["x", "y"]}
    assert client.post(f"{address}/examples", json=labelled).status_code == 201
    reply = client.post(f"{address}/examples", json={"texts": ["e f", "g h"], "labels": ["x"]})
    assert reply.status_code == 422 and "4 examples" in reply.json()["detail"]
    assert client.post(f"{address}/examples", json={"texts": ["e f"], "labels": ["z"]}).status_code == 413
    assert client.post(f"{address}/classes", json={"name": "z"}).status_code == 413
    assert client.post("/v1/predictors", json={"modality": "texts", "classes": [*"abc"]}).status_code == 413


def test_more_requests_than_are_answered_at_a_time_are_refused(service, client, monkeypatch):
    id = drawings(client)
    monkeypatch.setattr(service, "limits", Limits(requests=3))
    statuses = []

    def ask():
        reply = client.post(f"/v1/predictors/{id}/predict", files=files(*(png(0, place) for place in range(60))))
        statuses.append((reply.status_code, reply.headers.get("retry-after")))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert {status for status, _ in statuses} == {200, 429}
    assert all(after == "1" for status, after in statuses if status == 429)


def test_what_takes_too_long_or_too_much_is_ended_and_the_next_is_answered(service, client, monkeypatch):
    id = drawings(client)
    kills = service.decoders.kills
    monkeypatch.setattr(service, "limits", Limits(decode_seconds=1e-4))
    reply = client.post(f"/v1/predictors/{id}/predict", files=files(*(png(0, place) for place in range(60))))
    assert reply.status_code == 422 and "took longer" in reply.json()["detail"]
    assert service.decoders.kills == kills + 1
    monkeypatch.setattr(service, "limits", Limits())
    assert client.post(f"/v1/predictors/{id}/predict", files=files(png(0))).status_code == 200


def test_a_client_that_sends_a_byte_a_second_holds_no_other(tmp_path):
    server = Server(tmp_path / "state").wait()
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for place, link in enumerate(slow):
        head = f"POST /v1/predictors HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
        link.sendall(head.encode() + (b"Content-Length: 500\r\n\r\n{" if place % 2 else b"X"))
    ended = threading.Event()

    def trickle():
        while not ended.wait(1):
            for link in slow:
                link.sendall(b" ")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with httpx.Client(base_url=server.address, timeout=10) as client:
            id, took = intents(client), []
            for _ in range(30):
                start = time.perf_counter()
                assert client.post(f"/v1/predictors/{id}/predict", json={"texts": ["cancel"]}).status_code == 200
                took.append(time.perf_counter() - start)
        assert sorted(took)[15] < 0.5
    finally:
        ended.set()
        thread.join()
        [link.close() for link in slow]
        server.end()


def test_a_slow_body_is_ended():
    parts = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive():
        if not parts:
            await asyncio.sleep(60)
        return parts.pop()

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    start = time.perf_counter()
    with pytest.raises(Refusal, match=r"longer than 0\.1 seconds") as refusal:
        asyncio.run(content_of(request, Limits(body_seconds=0.1)))
    assert refusal.value.status == 408 and time.perf_counter() - start < 5


def test_a_second_server_for_a_folder_is_refused(tmp_path):
    server = Server(tmp_path / "state").wait()
    other = Server(tmp_path / "state")
    assert "another server has the folder" in other.process.communicate(timeout=60)[0]
    assert other.process.returncode == 1
    assert httpx.get(f"{server.address}/readyz").status_code == 200
    server.end()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--host", "0.0.0.0"], 2, "give a token"),
        (["--tls-cert", "x"], 2, "a certificate and its key"),
        (["--model", "words=1"], 2, "hf:NAME=VERSION"),
        (["--host", "203.0.113.7", "--token", "x"], 1, "can't be listened at"),
    ],
)
def test_a_start_that_cannot_be_meant_is_one_sentence(tmp_path, words, code, sentence):
    command = [sys.executable, "-m", "mapwise", "serve", "--no-browser", "--folder", str(tmp_path / "s"), *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == code and sentence in run.stderr and "Traceback" not in run.stderr, run.stderr


def test_the_absence_of_the_extra_is_one_sentence(monkeypatch):
    from mapwise.interfaces.server import start

    monkeypatch.setattr(start, "PACKAGES", ("fastapi", "no_such_package"))
    with pytest.raises(ValueError, match=r'no_such_package.*pip install "mapwise\[serve\]"'):
        start.check_extra()


def test_loopback_addresses_are_known():
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "::", "example.org", "localhost.example.org"]))
    assert models_of(["hf:models/a=1-ab"]) == {"hf:models/a": "1-ab"}
    with pytest.raises(WrongUse):
        models_of(["hf:a"])


def answer_to(port: int, *parts: bytes) -> bytes:
    """What comes back for bytes that are sent one after another, until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
        with suppress(ConnectionError):  # it may be closed while more is sent
            for part in parts:
                link.sendall(part)
        answer = b""
        with suppress(ConnectionError):
            while part := link.recv(1 << 16):
                answer += part
        return answer


def test_what_is_no_body_has_a_bound(tmp_path):
    server = Server(tmp_path / "state").wait()
    host = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    post = b"POST /v1/predictors HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"a" * 20_000
    for parts in (
        (host, b"X: ", *[piece] * 200),  # a header that doesn't end
        (host, *[b"X%d: " % place + piece + b"\r\n" for place in range(200)]),
        (b"GET /", *[piece] * 200),  # an address that doesn't end
        (post, b"1\r\n{\r\n0\r\n", *[b"X%d: " % place + piece + b"\r\n" for place in range(200)]),  # behind the body
    ):
        answer = answer_to(server.port, *parts)
        assert b"the head of a request may have" in answer, answer
    with open(f"/proc/{server.process.pid}/status") as file:
        assert next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) < 1 << 20
    # A large body, and then another request through the same connection.
    body = json.dumps({"name": "a", "modality": "texts", "classes": ["x" * 190] * 900}).encode()
    head = b"POST /v1/predictors HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    large = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    last = host + b"Connection: close\r\n\r\n"
    answer = answer_to(server.port, large, large + last)
    assert answer.count(b"HTTP/1.1 422") == 2 and answer.count(b"HTTP/1.1 200") == 1, answer
    server.end()


def test_logs_hold_nothing_of_what_people_send(tmp_path):
    server = Server(tmp_path / "state", "--log-requests").wait()
    with httpx.Client(base_url=server.address) as client:
        id = begin(client, name="zebra-name", modality="texts", classes=["zebra-kind", "money refund"])
        client.post(f"/v1/predictors/{id}/predict", json={"texts": ["zebra-text"]})
        client.post(f"/v1/predictors/{id}/predict?zebra=1", content=b"zebra")
        client.get("/zebra-path", headers={"x-zebra": "zebra"})
    printed = server.end()
    assert "zebra" not in printed and id not in printed
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    requests = {(line["method"], line["route"], line["status"]) for line in lines if line["event"] == "request"}
    assert ("POST", "/v1/predictors/{id}/predict", 200) in requests and ("GET", "other", 404) in requests
