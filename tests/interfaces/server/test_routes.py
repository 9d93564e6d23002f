"""Every route: what it does, and what it refuses."""

import io
import json

import numpy as np
import pytest
from server_process import begin, card_of, drawings, files, intents, png

import mapwise as mw


def problem(reply, status: int, words: str) -> None:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    content = reply.json()
    assert content["status"] == status and words in content["detail"], content


def test_lists_are_paged(client):
    ids = sorted(begin(client, name=f"p{place}", modality="texts") for place in range(3))
    seen, after = [], ""
    while after is not None:
        page = client.get("/v1/predictors", params={"limit": 2, "after": after}).json()
        assert len(page["predictors"]) <= 2
        seen += [one["id"] for one in page["predictors"]]
        after = page["next"]
    assert seen == sorted(seen) and set(ids) <= set(seen)
    problem(client.get("/v1/predictors", params={"limit": 0}), 422, "greater than or equal to 1")


def test_examples_are_paged_and_shown(client):
    id = drawings(client, shots=2)
    page = client.get(f"/v1/predictors/{id}/examples", params={"limit": 4}).json()
    assert [one["id"] for one in page["examples"]] == [1, 2, 3, 4] and page["next"] == 4
    page = client.get(f"/v1/predictors/{id}/examples", params={"after": 4}).json()
    assert [one["label"] for one in page["examples"]] == ["corner", "corner"] and page["next"] is None
    picture = client.get(page["examples"][0]["preview"])
    assert picture.headers["content-type"] == "image/png" and picture.content.startswith(b"\x89PNG")
    problem(client.get(f"/v1/predictors/{id}/examples/99/preview"), 404, "no picture")
    problem(client.get(f"/v1/predictors/{intents(client)}/examples/1/preview"), 409, "texts")


def test_a_copy_within_a_class_is_left_out_and_in_two_classes_is_refused(client):
    id = intents(client)
    again = {"texts": ["stop my order", "a new text"], "labels": ["cancel"]}
    reply = client.post(f"/v1/predictors/{id}/examples", json=again).json()
    assert reply["duplicates"] == 1 and [one["row"] for one in reply["added"]] == [1]
    other = {"texts": ["stop my order"], "labels": ["refund"]}
    problem(client.post(f"/v1/predictors/{id}/examples", json=other), 422, "are the same and of two classes")
    first = begin(client, name="copies", modality="texts")
    reply = client.post(f"/v1/predictors/{first}/examples", json={"texts": ["a b", "a b"], "labels": ["x"]}).json()
    assert reply["duplicates"] == 1 and [one["id"] for one in reply["added"]] == [1]


def test_examples_are_relabelled_and_removed(client):
    id = intents(client)
    reply = client.patch(f"/v1/predictors/{id}/examples/1", json={"label": "refund"})
    assert {one["name"]: one["examples"] for one in reply.json()["classes"]} == {"cancel": 1, "refund": 3}
    reply = client.patch(f"/v1/predictors/{id}/examples/1", json={"label": "a new class"})
    assert {one["name"]: one["examples"] for one in reply.json()["classes"]}["a new class"] == 1
    reply = client.delete(f"/v1/predictors/{id}/examples/2")
    assert {one["name"]: one["examples"] for one in reply.json()["classes"]}["cancel"] == 0
    problem(client.delete(f"/v1/predictors/{id}/examples/2"), 404, "no example 2")
    for number in (1, 3, 4):
        reply = client.delete(f"/v1/predictors/{id}/examples/{number}")
        assert reply.status_code == 200, reply.text
    assert reply.json()["examples"] == 0


def test_a_relabelled_predictor_is_the_same_after_a_reading(client, service):
    id = intents(client)
    client.patch(f"/v1/predictors/{id}/examples/1", json={"label": "refund"})
    question = {"texts": ["cancel the order"]}
    card_of(client, id)
    before = client.post(f"/v1/predictors/{id}/predict", json=question).json()
    service.residents._live.clear()
    assert client.post(f"/v1/predictors/{id}/predict", json=question).json() == before


def test_classes_are_added_renamed_and_removed(client):
    id = intents(client)
    address = f"/v1/predictors/{id}/classes"
    assert client.post(address, json={"name": "track my parcel", "describe": ["where is my parcel"]}).status_code == 201
    problem(client.post(address, json={"name": "track my parcel"}), 409, "already")
    answer = client.post(f"/v1/predictors/{id}/predict", json={"texts": ["where is my parcel now"]}).json()
    assert answer["predictions"][0]["label"] == "track my parcel"
    reply = client.patch(f"{address}/track my parcel", json={"name": "where/is ü"})
    assert "where/is ü" in [one["name"] for one in reply.json()["classes"]]
    problem(client.patch(f"{address}/refund", json={"name": "cancel"}), 409, "already")
    problem(client.patch(f"{address}/nothing", json={"name": "x"}), 404, "no class 'nothing'")
    problem(client.patch(f"{address}/refund", json={"name": "two\nlines"}), 422, "no name for a class")
    for name in ("where%2Fis%20%C3%BC", "cancel", "refund"):
        reply = client.delete(f"{address}/{name}")
        assert reply.status_code == 200, reply.text
    assert reply.json()["classes"] == [] and not reply.json()["ready"]


def test_undo_returns_to_each_earlier_version(client, service):
    id = intents(client)
    question = {"texts": ["cancel the order"]}

    def state():
        card = client.get(f"/v1/predictors/{id}").json()
        examples = client.get(f"/v1/predictors/{id}/examples").json()["examples"]
        answer = client.post(f"/v1/predictors/{id}/predict", json=question)
        return card["name"], card["classes"], examples, [one["label"] for one in answer.json()["predictions"]]

    changes = [
        lambda: client.patch(f"/v1/predictors/{id}/examples/1", json={"label": "refund"}),
        lambda: client.delete(f"/v1/predictors/{id}/examples/3"),
        lambda: client.patch(f"/v1/predictors/{id}/classes/cancel", json={"name": "stop"}),
        lambda: client.delete(f"/v1/predictors/{id}/classes/stop"),
        lambda: client.post(f"/v1/predictors/{id}/examples", json={"texts": ["q r", "s t"], "labels": ["x", "y"]}),
        lambda: client.patch(f"/v1/predictors/{id}", json={"name": "other"}),
    ]
    states = [state()]
    for change in changes[:3]:
        assert change().status_code in (200, 201)
        states.append(state())
    for change in changes[3:]:
        assert change().status_code in (200, 201)
    for place in range(3, 0, -1):
        assert client.post(f"/v1/predictors/{id}/undo").status_code == 200
        if place % 2:
            service.residents._live.clear()
    for expected in reversed(states):
        assert state() == expected
        client.post(f"/v1/predictors/{id}/undo")
    while (reply := client.post(f"/v1/predictors/{id}/undo")).status_code == 200:
        pass
    problem(reply, 409, "no earlier version")


def test_explanations_name_examples_by_their_ids(client):
    id = drawings(client)
    client.delete(f"/v1/predictors/{id}/examples/1")
    reply = client.post(f"/v1/predictors/{id}/explain", files=files(png(0, 40)))
    explanation = reply.json()["explanations"][0]
    assert explanation["label"] == "plus" and "without" in explanation["text"]
    assert {one["example"] for one in explanation["examples"]} == set(range(2, 10))


def test_votes_have_shares_and_a_place_on_the_map(client):
    id = drawings(client)
    reply = client.post(f"/v1/predictors/{id}/learner", json={"learner": "nearest_mean"})
    assert reply.status_code == 200 and reply.json()["learner"] == "nearest_mean"
    reply = client.post(f"/v1/predictors/{id}/predict?votes=20&map=true&top=1", files=files(png(0, 40)))
    answer = reply.json()["predictions"][0]
    assert list(answer["probabilities"]) == ["plus"]
    assert sum(one["share"] for one in answer["votes"]) == pytest.approx(1)
    points = client.get(f"/v1/predictors/{id}/map").json()
    assert {one["example"] for one in points["points"]} == set(range(1, 10))
    near = min(points["points"], key=lambda one: np.hypot(*np.subtract(one["at"], answer["at"])))
    assert near["label"] == "plus"


def test_the_learner_is_chosen_by_cross_validation(client):
    id = drawings(client, shots=4)
    reply = client.post(f"/v1/predictors/{id}/learner", json={"learner": "auto"})
    assert reply.status_code == 200, reply.text
    tried = reply.json()["tried"]
    assert reply.json()["learner"] in [one["learner"] for one in tried if one["chosen"]]
    problem(client.post(f"/v1/predictors/{id}/learner", json={"learner": "lora"}), 422, "share here")
    problem(client.post(f"/v1/predictors/{id}/learner", json={"learner": "nothing"}), 422, "no learner 'nothing'")
    reply = client.post(f"/v1/predictors/{id}/learner", json={"learner": "lor"})
    problem(reply, 422, "no learner 'lor'")
    assert "lora" not in reply.json()["detail"], reply.text


def test_which_to_label_next(client):
    id = intents(client)
    texts = ["cancel it now", "my cat is grey", "give me a refund"]
    reply = client.post(f"/v1/predictors/{id}/which-next?count=2", json={"texts": texts})
    assert len(reply.json()["suggestions"]) == 2 and "reason" in reply.json()["suggestions"][0]


def test_a_mislabelled_example_is_suspected(client):
    id = drawings(client, shots=5)
    wrong = client.post(f"/v1/predictors/{id}/examples", files=files(png(0, 70)), data={"labels": "corner"}).json()
    suspects = card_of(client, id)["suspects"]
    assert suspects[0] == {"example": wrong["added"][0]["id"], "label": "corner", "taken_for": "plus"}


def test_a_file_is_opened_again_with_its_descriptions(client):
    id = begin(
        client,
        name="a",
        modality="texts",
        classes=["cancel order", "refund money"],
        describe={"refund money": ["pay me back"]},
    )
    client.post(
        f"/v1/predictors/{id}/examples",
        json={"texts": ["stop it", "my money"], "labels": ["cancel order", "refund money"]},
    )
    data = client.get(f"/v1/predictors/{id}/file").content
    reply = client.post("/v1/predictors", files={"file": ("../../x.safetensors", data)}, data={"name": "opened"})
    assert reply.status_code == 201, reply.text
    other = reply.json()["id"]
    question = {"texts": ["please pay me back", "stop"]}
    card_of(client, id), card_of(client, other)
    answers = [client.post(f"/v1/predictors/{one}/predict", json=question).json()["predictions"] for one in (id, other)]
    for one, two in zip(*answers, strict=True):
        assert one["probabilities"] == pytest.approx(two["probabilities"], abs=1e-9)
    reply = client.post(f"/v1/predictors/{other}/examples", json={"texts": ["end it"], "labels": ["cancel order"]})
    assert reply.status_code == 201 and reply.json()["predictor"]["examples"] == 3


@pytest.mark.parametrize("encoder", ["table", "pixels"])
def test_an_encoder_with_a_state_comes_back_with_the_file(client, service, tmp_path, encoder):
    random = np.random.default_rng(0)
    if encoder == "table":
        X, modality = random.normal(3, 5, (8, 3)), {"rows": [{"0": 1.0, "1": 2.0, "2": 5.0}]}
        question = {"json": modality}
    else:
        X = list(random.integers(0, 255, (8, 20, 20), dtype=np.uint8))
        question = {"files": files(png(1))}
    model = mw.FewShotClassifier(encoder, "ridge").fit(X, [*"aabbaabb"])
    model.save(tmp_path / "a.safetensors")
    reply = client.post("/v1/predictors", files={"file": (tmp_path / "a.safetensors").read_bytes()})
    assert reply.status_code == 201, reply.text
    id = reply.json()["id"]
    answer = client.post(f"/v1/predictors/{id}/predict", **question).json()["predictions"][0]["probabilities"]
    (tmp_path / "q.png").write_bytes(png(1))
    row = [[1.0, 2.0, 5.0]] if encoder == "table" else [tmp_path / "q.png"]
    assert [answer[name] for name in "ab"] == pytest.approx(model.predict_proba(row)[0].tolist(), abs=1e-6)
    service.residents._live.clear()
    again = client.post(f"/v1/predictors/{id}/predict", **question).json()["predictions"][0]["probabilities"]
    assert again == pytest.approx(answer, abs=1e-9)


def test_files_that_are_no_predictors_are_refused(client, service, tmp_path):
    before = set(service.store.files.iterdir())
    id = intents(client)
    data = client.get(f"/v1/predictors/{id}/file").content
    for content in (b"", b"no file", data[:-10], data[:40] + b"x" + data[41:], b"\xff" * 100):
        reply = client.post("/v1/predictors", files={"file": content})
        assert reply.status_code == 422, reply.text
        assert str(service.store.folder) not in reply.text
    mw.FewShotRegressor().fit(np.arange(12.0).reshape(6, 2), np.arange(6.0)).save(tmp_path / "numbers")
    reply = client.post("/v1/predictors", files={"file": (tmp_path / "numbers").read_bytes()})
    problem(reply, 422, "the file holds a predictor of numbers")
    about = json.dumps({"encoder": {"name": f"hf:{tmp_path}"}})
    header = json.dumps({"__metadata__": {"mapwise": about}}).encode()
    reply = client.post("/v1/predictors", files={"file": len(header).to_bytes(8, "little") + header})
    problem(reply, 422, "doesn't allow")
    assert set(service.store.files.iterdir()) == before


def test_the_learner_is_exported(client):
    onnx = pytest.importorskip("onnx")
    id = drawings(client)
    reply = client.get(f"/v1/predictors/{id}/onnx")
    assert reply.status_code == 200, reply.text
    onnx.checker.check_model(onnx.load(io.BytesIO(reply.content)))


def test_code_does_the_same(client):
    id = intents(client)
    code = client.get(f"/v1/predictors/{id}/code").json()
    assert f"{id}/predict" in code["curl"] and f"mapwise predict {id}.safetensors" in code["command"]
    compile(code["python"], "code", "exec")
    table = begin(client, name="table", modality="table")
    compile(client.get(f"/v1/predictors/{table}/code").json()["python"], "code", "exec")


def test_a_class_is_described_by_a_sentence_or_several(client):
    id = begin(
        client, modality="texts", classes=["c1", "c2"], describe={"c1": "money back", "c2": ["stop it", "end it"]}
    )
    client.post(f"/v1/predictors/{id}/classes", json={"name": "c3", "describe": "where is my parcel"})
    reply = client.post(f"/v1/predictors/{id}/predict", json={"texts": ["is the parcel near"]}).json()
    assert reply["predictions"][0]["label"] == "c3"


def test_a_cell_that_cannot_be_read_is_named_by_row_and_column(client):
    id = begin(client, modality="table")
    for cell in ([1], {}):
        reply = client.post(f"/v1/predictors/{id}/examples", json={"rows": [{"age": cell}], "labels": ["a"]})
        problem(reply, 422, "rows.0.age: a cell is a finite number, a text, true, false or null")


def test_head_is_answered_as_get_is(client):
    id = intents(client)
    for path in ("/healthz", "/readyz", "/v1/predictors", f"/v1/predictors/{id}"):
        one, other = client.head(path), client.get(path)
        assert one.status_code == other.status_code == 200 and one.headers.get("etag") == other.headers.get("etag")
    assert client.head(f"/v1/predictors/{'0' * 16}").status_code == 404


def test_an_answer_as_a_table_holds_no_formula(client):
    id = begin(client, name="a", modality="texts")
    client.post(f"/v1/predictors/{id}/examples", json={"texts": ["one two", "three four"], "labels": ["=1+1", "b"]})
    reply = client.post(f"/v1/predictors/{id}/predict", json={"texts": ["one two"]}, headers={"accept": "text/csv"})
    assert reply.headers["content-type"].startswith("text/csv")
    assert reply.text.splitlines()[1].startswith("0,'=1+1,")


def test_a_removed_predictor_is_gone(client):
    id = intents(client)
    assert client.delete(f"/v1/predictors/{id}").status_code == 204
    problem(client.get(f"/v1/predictors/{id}"), 404, "no predictor of this id")
    problem(client.delete(f"/v1/predictors/{id}"), 404, "no predictor of this id")


def test_photographs_get_advice(client):
    from PIL import Image

    random = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(96), np.arange(96)) + random.normal(0, 8, (96, 96))
    file = io.BytesIO()
    Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    id = begin(client, name="photos", modality="pictures")
    reply = client.post(f"/v1/predictors/{id}/examples", files=files(file.getvalue()), data={"labels": "a"})
    assert "these look like photographs" in reply.json()["advice"][0]
    assert drawings(client)
