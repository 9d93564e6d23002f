"""One name among right ones that contradicts its class's examples is left out, and shown."""

import numpy as np
import pytest
import torch

import mapwise as mw
from mapwise.data import tensor_file
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence.belief import shares

WORDS = {
    "cancel order": [
        "please cancel the order",
        "I want to cancel what I ordered",
        "cancel my order",
        "no order please",
    ],
    "parcel": ["where is my parcel", "track the parcel for me", "my parcel has not come", "the parcel is late"],
    "refund": ["give me a refund", "refund the money", "when comes my refund", "a refund of what I paid"],
    "password": ["I forgot my password", "reset the password", "my password is wrong", "a new password please"],
    "opening hours": [
        "when do you open",
        "are you open on Sunday",
        "your opening hours",
        "until what hours are you open",
    ],
}
SWAPPED = {"refund": "password", "password": "refund"}


def fitted(calls, learner="ridge"):
    pairs = [(text, calls.get(name, name)) for name, texts in WORDS.items() for text in texts]
    return mw.FewShotClassifier(encoder="words", learner=learner).fit(*zip(*pairs, strict=True))


def test_right_names_are_all_believed():
    assert fitted({}).predictor_.descriptions.belief.doubted == ()


@pytest.mark.parametrize("learner", ["nearest_mean", "ridge", "logistic"])
def test_two_names_that_were_swapped_are_left_out_and_the_others_teach(learner):
    model = fitted(SWAPPED, learner)
    known = model.predictor_.descriptions
    assert sorted(known.texts[place][1] for place in known.belief.doubted) == ["password", "refund"]
    assert known.belief.weight > 0
    weight = dict(
        zip([text for _, text, _ in known.texts], known.examples(model.predictor_.classes).weight.tolist(), strict=True)
    )
    assert weight == {"cancel order": 1, "parcel": 1, "refund": 0, "password": 0, "opening hours": 1}
    assert model.predict(["I lost my password"]).tolist() == ["refund"]  # as its examples are called
    assert "left out, since examples contradict them: 'password', 'refund'" in str(known)
    assert known.to_json()["doubted"] == ["password", "refund"]


def test_a_doubted_name_changes_no_answer_beside_its_absence():
    model = fitted(SWAPPED)
    predictor = model.predictor_
    rows = predictor.encoded(["I lost my password", "money back", "closed on Monday"])
    belief = predictor.descriptions.belief
    other = predictor._with_descriptions_as(_without(predictor.descriptions, belief.doubted))
    np.testing.assert_allclose(predictor.scores_of(rows), other.scores_of(rows), rtol=1e-9)
    assert len(predictor.known_rows) == len(other.known_rows) == 23


def _without(descriptions, places):
    left = [place for place in range(len(descriptions.texts)) if place not in places]
    return type(descriptions)(
        tuple(descriptions.texts[place] for place in left),
        descriptions.rows[left],
        descriptions.names,
        descriptions.belief._replace(doubted=()),
    )


def test_the_others_of_a_class_share_what_a_doubted_one_leaves():
    y = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]], dtype=torch.float64)
    assert shares(y, []).tolist() == [1 / 3, 1 / 3, 1 / 3, 1]
    assert shares(y, [1, 3]).tolist() == [0.5, 0, 0.5, 0]


def test_a_file_keeps_who_is_doubted(tmp_path):
    model, path = fitted(SWAPPED), tmp_path / "swapped.safetensors"
    model.save(path)
    again = Predictor.load(path)
    assert again.descriptions.belief == model.predictor_.descriptions.belief
    queries = ["I lost my password", "money back"]
    np.testing.assert_array_equal(
        again.scores_of(again.encoded(queries)), model.predictor_.scores_of(again.encoded(queries))
    )


@pytest.mark.parametrize("doubted", [[9], [-1], ["refund"], [True], 3, [0], None])
def test_places_that_are_none_are_refused(tmp_path, doubted):
    path = tmp_path / "swapped.safetensors"
    fitted(SWAPPED).save(path)
    tensors, about = tensor_file.load_tensors(path, "predictor", "")
    known = about["descriptions"]
    belief = [*known["belief"][:3], *([] if doubted is None else [doubted])]
    tensor_file.save_tensors(path, tensors, {**about, "descriptions": {**known, "belief": belief}})
    with pytest.raises(ValueError, match="no whole predictor"):  # [0] and none: its weights say otherwise
        Predictor.load(path)


def test_a_file_of_before_doubts_none(tmp_path):
    model, path = fitted({}), tmp_path / "right.safetensors"
    model.save(path)
    tensors, about = tensor_file.load_tensors(path, "predictor", "")
    known = about["descriptions"]
    assert known["belief"].pop() == []
    tensor_file.save_tensors(path, tensors, {**about, "descriptions": known})
    assert Predictor.load(path).descriptions.belief == model.predictor_.descriptions.belief
