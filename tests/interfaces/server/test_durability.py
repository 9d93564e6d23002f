"""What was acknowledged is there: after a kill, a full disk, a request that comes twice, and two people at once."""

import os
import resource
import threading
import time
from collections import defaultdict

import pytest
from server_process import Server, begin, drawings, files, httpx, intents, png


def test_a_write_with_a_key_happens_once(client):
    id = intents(client)
    address, body = f"/v1/predictors/{id}/examples", {"texts": ["end it"], "labels": ["cancel"]}
    first = client.post(address, json=body, headers={"idempotency-key": "k1"})
    again = client.post(address, json=body, headers={"idempotency-key": "k1"})
    assert (first.status_code, first.content, first.headers["etag"]) == (201, again.content, again.headers["etag"])
    assert again.status_code == 201 and again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = client.post(address, json={**body, "texts": ["x y"]}, headers={"idempotency-key": "k1"})
    assert other.status_code == 422 and "another request" in other.json()["detail"]
    assert client.get(f"/v1/predictors/{id}").json()["examples"] == 5


def test_a_form_that_is_sent_again_has_another_boundary(client):
    id = drawings(client)
    address = f"/v1/predictors/{id}/examples"
    replies = [
        client.post(address, files=files(png(0, 60)), data={"labels": "plus"}, headers={"idempotency-key": "form"})
        for _ in range(2)
    ]
    assert [reply.status_code for reply in replies] == [201, 201]
    assert replies[1].headers["idempotent-replayed"] == "true"


def test_each_kind_of_write_takes_a_key(client):
    def twice(method, path, **more):
        replies = [client.request(method, path, headers={"idempotency-key": f"{method} {path}"}, **more) for _ in "12"]
        assert replies[0].status_code < 300 and replies[0].content == replies[1].content, replies[0].text
        assert replies[1].headers["idempotent-replayed"] == "true"
        return replies[0]

    id = twice("POST", "/v1/predictors", json={"modality": "texts", "name": "keys"}).json()["id"]
    twice("POST", f"/v1/predictors/{id}/examples", json={"texts": ["a b", "c d"], "labels": ["x", "y"]})
    twice("PATCH", f"/v1/predictors/{id}/examples/1", json={"label": "y"})
    twice("POST", f"/v1/predictors/{id}/classes", json={"name": "z"})
    twice("PATCH", f"/v1/predictors/{id}/classes/z", json={"name": "w"})
    twice("DELETE", f"/v1/predictors/{id}/classes/w")
    twice("POST", f"/v1/predictors/{id}/learner", json={"learner": "ridge"})
    version = client.get(f"/v1/predictors/{id}").json()["version"]
    assert twice("POST", f"/v1/predictors/{id}/undo").json()["version"] == version + 1
    twice("DELETE", f"/v1/predictors/{id}/examples/1")
    assert client.get(f"/v1/predictors/{id}").json()["version"] == version + 2
    twice("DELETE", f"/v1/predictors/{id}")


def test_a_write_for_another_version_is_refused(client):
    id = intents(client)
    tag = client.get(f"/v1/predictors/{id}").headers["etag"]
    first = client.patch(f"/v1/predictors/{id}", json={"name": "one"}, headers={"if-match": tag})
    assert first.status_code == 200 and first.headers["etag"] != tag
    second = client.patch(f"/v1/predictors/{id}", json={"name": "two"}, headers={"if-match": tag})
    assert second.status_code == 412 and "read it again" in second.json()["detail"]
    assert client.get(f"/v1/predictors/{id}").json()["name"] == "one"
    assert client.delete(f"/v1/predictors/{id}", headers={"if-match": tag}).status_code == 412
    assert client.patch(
        f"/v1/predictors/{id}", json={"name": "x"}, headers={"if-match": f'"0", {first.headers["etag"]}'}
    )


def test_of_two_writers_for_one_version_one_succeeds(client):
    id = intents(client)
    tag, statuses = client.get(f"/v1/predictors/{id}").headers["etag"], []

    def write(place):
        body = {"texts": [f"text number {place}"], "labels": ["cancel"]}
        reply = client.post(f"/v1/predictors/{id}/examples", json=body, headers={"if-match": tag})
        statuses.append(reply.status_code)

    threads = [threading.Thread(target=write, args=(place,)) for place in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(statuses) == [201] + [412] * 7


def test_writers_at_once_lose_nothing(client):
    id = intents(client)

    def write(place):
        body = {"texts": [f"text number {place}"], "labels": ["cancel"]}
        assert client.post(f"/v1/predictors/{id}/examples", json=body).status_code == 201

    threads = [threading.Thread(target=write, args=(place,)) for place in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    texts = [one["text"] for one in client.get(f"/v1/predictors/{id}/examples").json()["examples"]]
    assert {f"text number {place}" for place in range(12)} <= set(texts) and len(texts) == len(set(texts)) == 16


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def write_until_killed(server: Server, ids: list[str], acknowledged: dict, sent: dict, round_: int) -> None:
    """Write by four clients, and kill the server while they do."""
    stop = threading.Event()

    def write(client_number: int) -> None:
        with httpx.Client(base_url=server.address, timeout=10) as client:
            for place in range(100_000):
                if stop.is_set():
                    return
                id, text = ids[client_number % len(ids)], f"text {round_} {client_number} {place}"
                label = f"class {place % 3}"
                key = f"{id} {text}"
                sent[key] = (id, text, label)
                try:
                    body = {"texts": [text], "labels": [label]}
                    reply = client.post(f"/v1/predictors/{id}/examples", json=body, headers={"idempotency-key": key})
                except httpx.TransportError:
                    return
                if reply.status_code == 201:
                    acknowledged[id][text] = label
                    del sent[key]

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    time.sleep(0.7 + 0.13 * (round_ % 5))
    workers = children(server.process.pid)
    server.kill()
    stop.set()
    [thread.join() for thread in threads]
    end = time.monotonic() + 60
    while any(map(alive, workers)):
        assert time.monotonic() < end, "processes of the server outlive it"
        time.sleep(0.1)


def texts_of(client, id: str) -> dict[str, str]:
    """Text -> label of every example; none is there twice."""
    texts, after = {}, 0
    while after is not None:
        page = client.get(f"/v1/predictors/{id}/examples", params={"after": after, "limit": 500}).json()
        for one in page["examples"]:
            assert one["text"] not in texts, one
            texts[one["text"]] = one["label"]
        after = page["next"]
    return texts


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path, kills):
    acknowledged: dict[str, dict[str, str]] = defaultdict(dict)
    sent: dict[str, tuple[str, str, str]] = {}
    ids: list[str] = []
    for round_ in range(kills + 1):
        server = Server(tmp_path / "state").wait()
        with httpx.Client(base_url=server.address, timeout=30) as client:
            ids = ids or [begin(client, name=f"p{place}", modality="texts") for place in range(2)]
            for key, (id, text, label) in list(
                sent.items()
            ):  # what may have been lost is sent again, and is there once
                body = {"texts": [text], "labels": [label]}
                reply = client.post(f"/v1/predictors/{id}/examples", json=body, headers={"idempotency-key": key})
                assert reply.status_code == 201, reply.text
                acknowledged[id][text] = label
                del sent[key]
            for id in ids:
                assert texts_of(client, id) == acknowledged[id]
        if round_ < kills:
            write_until_killed(server, ids, acknowledged, sent, round_)
    assert min(len(texts) for texts in acknowledged.values()) >= kills
    server.end()


def test_a_full_disk_is_said_and_then_writes_go_on(tmp_path):
    server = Server(tmp_path / "state").wait()
    with httpx.Client(base_url=server.address, timeout=30) as client:
        id = intents(client)
        version = client.get(f"/v1/predictors/{id}").json()["version"]
        before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        # No file grows any more: what SQLite writes next fails as it does on a full disk.
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, before[1]))
        body = {"texts": ["end it"], "labels": ["cancel"]}
        for _ in range(3):
            reply = client.post(f"/v1/predictors/{id}/examples", json=body)
            assert reply.status_code == 507 and "no room" in reply.json()["detail"], reply.text
        assert client.post("/v1/predictors", json={"modality": "texts"}).status_code == 507
        card = client.get(f"/v1/predictors/{id}").json()
        assert (card["version"], card["examples"]) == (version, 4)
        assert client.post(f"/v1/predictors/{id}/predict", json={"texts": ["cancel"]}).status_code == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
        reply = client.post(f"/v1/predictors/{id}/examples", json=body)
        assert reply.status_code == 201 and reply.json()["predictor"]["examples"] == 5
    server.kill()
    server = Server(tmp_path / "state").wait()
    with httpx.Client(base_url=server.address, timeout=30) as client:
        assert client.get(f"/v1/predictors/{id}").json()["examples"] == 5
    server.end()


def test_what_is_in_flight_is_answered_before_the_end(tmp_path):
    server = Server(tmp_path / "state").wait()
    with httpx.Client(base_url=server.address, timeout=60) as client:
        id = drawings(client, shots=4)
        replies = []

        def choose():
            replies.append(client.post(f"/v1/predictors/{id}/learner", json={"learner": "auto"}))

        thread = threading.Thread(target=choose)
        thread.start()
        time.sleep(0.3)
        printed = server.end()
        thread.join()
    assert replies[0].status_code == 200, replies[0].text
    assert server.process.returncode in (0, -15) and "Traceback" not in printed, printed


def test_a_worker_that_two_threads_end_ends_once():
    from mapwise.interfaces.server.workers import _Worker

    class Link:
        closed = False

        def close(self):
            assert not self.closed
            time.sleep(0.05)
            assert not self.closed, "closed by two threads at once"
            self.closed = True

    worker = _Worker(int, 1 << 30, 0)
    own, worker.link = worker.link, Link()
    faults = []

    def end():
        try:
            worker.end()
        except AssertionError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=end) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own.close()
    assert not faults and worker.link.closed and not worker.process.is_alive()


def test_old_versions_are_dropped_and_examples_that_none_has(tmp_path):
    from fastapi.testclient import TestClient

    from mapwise.interfaces.server.limits import Limits
    from mapwise.interfaces.server.service import Service, Settings
    from mapwise.interfaces.server.web.app import create_app

    service = Service(Settings(tmp_path, hosts=("testserver",), limits=Limits(history=3)))
    client = TestClient(create_app(service))
    id = intents(client)
    client.delete(f"/v1/predictors/{id}/examples/1")
    for place in range(6):
        client.patch(f"/v1/predictors/{id}", json={"name": f"n{place}"})
    count = service.store.link.execute("SELECT count(*) FROM examples").fetchone()[0]
    versions = service.store.link.execute("SELECT count(*) FROM versions").fetchone()[0]
    assert (count, versions) == (3, 4)
    undone = 0
    while client.post(f"/v1/predictors/{id}/undo").status_code == 200:
        undone += 1
    assert 1 <= undone <= 3
    service.residents._live.clear()
    assert client.get(f"/v1/predictors/{id}").json()["examples"] == 3
    assert os.listdir(tmp_path / "files") == []
