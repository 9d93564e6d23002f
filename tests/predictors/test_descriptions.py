"""The names of classes teach as far as the examples agree with them."""

import numpy as np
import pandas as pd
import pytest
import torch

import mapwise as mw
from mapwise.core.task import Examples
from mapwise.data.class_names import is_telling, read_name
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence.belief import belief_in

KEY = torch.zeros((), dtype=torch.int64)
WAYS = 6
CENTRES = np.random.default_rng(0).normal(size=(WAYS, 20))

TOPICS = {
    "cancel_order": ["please cancel the order", "I want to cancel what I ordered", "cancel my order now"],
    "trackParcel": ["where is my parcel", "track the parcel for me", "my parcel has not come"],
    "Refund?": ["give me a refund", "refund the money", "when comes my refund"],
}
ASKED = {"cancel_order": "cancel this order", "trackParcel": "is the parcel near", "Refund?": "I ask for a refund"}


def flat():
    return [text for texts in TOPICS.values() for text in texts], [
        name for name, texts in TOPICS.items() for _ in texts
    ]


@pytest.mark.parametrize(
    "name", ["card_arrival", "cardArrival", "Card arrival?", "card-arrival", "CARD ARRIVAL", " card/arrival "]
)
def test_a_name_is_read_as_people_write_it(name):
    assert read_name(name) == "card arrival"


@pytest.mark.parametrize(
    ("name", "words"),
    [("HTTPServer", "http server"), ("café_au_lait", "café au lait"), ("取消订单", "取消订单"), ("top10", "top10")],
)
def test_other_spellings_are_words_too(name, words):
    assert read_name(name) == words


@pytest.mark.parametrize(
    "name", ["c17", "3", "B2", "class_3", "label 4", "Category-12", "type A", "x", "??", "Q3 17", "topics"]
)
def test_codes_and_numbers_are_no_names(name):
    assert not is_telling(name)


@pytest.mark.parametrize("name", ["refund", "card_arrival", "sad", "取消", "class action", "order 66", "negative"])
def test_words_are_names(name):
    assert is_telling(name)


def examples(shots, seed, places=None, spread=1.0):
    """Examples around a centre of each class, and descriptions near the centres at these places."""
    random = np.random.default_rng(seed)
    columns = np.repeat(np.arange(WAYS), shots)
    x = CENTRES[columns] + spread * random.normal(size=(len(columns), 20))
    of = np.arange(WAYS) if places is None else places
    near = CENTRES[of] + spread * random.normal(size=(WAYS, 20))
    return [
        Examples(*(torch.as_tensor(part) for part in (rows, np.eye(WAYS)[labels], np.ones(len(rows)))), KEY)
        for rows, labels in ((near, np.arange(WAYS)), (x, columns))
    ]


@pytest.mark.parametrize("shots", [1, 2, 5, 10])
def test_descriptions_like_the_examples_are_believed(shots):
    beliefs = [belief_in(*examples(shots, seed)) for seed in range(10)]
    assert sum(belief.weight > 0 for belief in beliefs) >= 9
    assert all(belief.total == WAYS for belief in beliefs)


@pytest.mark.parametrize("shots", [2, 5, 10])
def test_shuffled_descriptions_are_not_believed(shots):
    beliefs = [belief_in(*examples(shots, seed, np.roll(np.arange(WAYS), 1))) for seed in range(10)]
    assert sum(belief.weight > 0 for belief in beliefs) <= (2 if shots == 2 else 0)
    assert max(belief.agree for belief in beliefs) < WAYS / 2


def test_without_examples_descriptions_count_as_one_each():
    descriptions, rows = examples(1, 0)
    nothing = rows._replace(x=rows.x[:0], y=rows.y[:0], weight=rows.weight[:0])
    assert belief_in(descriptions, nothing) == (1.0, 0, 0, ())


def test_the_belief_depends_on_no_order_of_rows():
    descriptions, rows = examples(5, 3)
    order = torch.randperm(len(rows.y), generator=torch.Generator().manual_seed(0))
    other = rows._replace(x=rows.x[order], y=rows.y[order])
    assert belief_in(descriptions, rows) == belief_in(descriptions, other)


def test_names_alone_make_a_classifier():
    model = mw.FewShotClassifier().fit(names=list(TOPICS))
    assert model.classes_.tolist() == sorted(TOPICS)
    assert model.predict(list(ASKED.values())).tolist() == list(ASKED)
    assert model.predictor_.counts == dict.fromkeys(sorted(TOPICS), 0)
    assert str(model.report_).startswith("too few to tell")


def test_every_example_improves_what_names_began():
    model = mw.FewShotClassifier().fit(names=list(TOPICS))
    odd = "send that stuff home again"
    model.partial_fit([odd, "it goes home again"], ["Refund?", "Refund?"])
    assert model.predict(["stuff goes home again"]).tolist() == ["Refund?"]
    assert model.predict(list(ASKED.values())).tolist() == list(ASKED)


def test_a_dict_of_class_to_rows_is_labelled_rows():
    model = mw.FewShotClassifier(learner="ridge").fit(TOPICS)
    other = mw.FewShotClassifier(learner="ridge").fit(*flat())
    assert np.array_equal(model.predict_proba(list(ASKED.values())), other.predict_proba(list(ASKED.values())))


def test_a_class_of_a_dict_without_rows_begins_with_its_name():
    model = mw.FewShotClassifier(learner="ridge").fit({**TOPICS, "opening hours of the office": []})
    assert model.predictor_.counts["opening hours of the office"] == 0
    assert model.predict(["when is the office open?"]).tolist() == ["opening hours of the office"]
    empty = mw.FewShotClassifier().fit({name: [] for name in TOPICS})
    assert empty.predict(list(ASKED.values())).tolist() == list(ASKED)


def test_a_class_with_examples_and_another_with_a_name_make_a_classifier():
    first, second = list(TOPICS)[:2]
    model = mw.FewShotClassifier("words").fit(TOPICS[first], [first] * len(TOPICS[first]), names=[second])
    assert model.predict([ASKED[first], ASKED[second]]).tolist() == [first, second]
    with pytest.raises(ValueError, match="all examples that count are of one class"):
        mw.FewShotClassifier("words", names=False).fit(TOPICS[first], [first] * len(TOPICS[first]), names=[second])


def test_a_file_of_sentences_needs_a_header(cli, tmp_path):
    (tmp_path / "names.txt").write_text("c1\nc2\n")
    (tmp_path / "about.csv").write_text("c1,about cats\nc2,about ships\n")
    refused = cli("fit", "--names", "names.txt", "--describe", "about.csv", "-o", "p.safetensors")
    assert refused.code == 1 and "line 1 of about.csv is about the class 'c1', and a header is needed" in refused.err
    (tmp_path / "about.csv").write_text("class,sentence\nc1,about cats\nc2,about ships\n")
    assert cli("fit", "--names", "names.txt", "--describe", "about.csv", "-o", "p.safetensors").code == 0


def test_a_class_without_rows_is_removed_in_a_plain_line(cli, tmp_path):
    (tmp_path / "names.txt").write_text("cats\nships\ntrees\n")
    fitted = cli("fit", "--names", "names.txt", "-o", "p.safetensors").out
    assert "\nlearner: logistic, since the examples can't choose\n" in fitted and "ridge" not in fitted
    assert "0 rows removed\n" in cli("remove-class", "p.safetensors", "trees").out


def test_codes_alone_say_nothing_about_names():
    X, y = flat()
    model = mw.FewShotClassifier("words", "ridge").fit(X, [f"c{list(TOPICS).index(name)}" for name in y])
    assert str(model.predictor_.descriptions) == "names: none says what its class is about"


def test_without_names_nothing_of_them_is_used():
    X, y = flat()
    model = mw.FewShotClassifier(learner="ridge", names=False).fit(X, y)
    assert model.predictor_.description_rows is None
    codes = {name: f"c{place}" for place, name in enumerate(TOPICS)}
    other = mw.FewShotClassifier(learner="ridge").fit(X, [codes[name] for name in y])
    order = [other.classes_.tolist().index(codes[name]) for name in model.classes_]
    queries = list(ASKED.values())
    np.testing.assert_allclose(model.predict_proba(queries), other.predict_proba(queries)[:, order], rtol=1e-9)


def test_a_sentence_describes_a_class():
    model = mw.FewShotClassifier().fit(
        names=["a1", "b2"], describe={"a1": "about cats and dogs", "b2": ["ships", "boats at sea"]}
    )
    assert model.predict(["dogs", "at sea"]).tolist() == ["a1", "b2"]
    rows = model.predictor_.descriptions.examples(model.predictor_.classes)
    assert rows.weight.tolist() == [1, 0.5, 0.5]  # a class counts once, however many sentences it has


def test_names_are_among_the_voters():
    X, y = flat()
    model = mw.FewShotClassifier(learner="nearest_mean").fit(X, y)
    explanation = model.explain(["where is the parcel"])[0]
    assert "the name 'track parcel'" in [one.source for one in explanation.examples]
    assert len(explanation.examples) == len(X) + len(TOPICS)
    np.testing.assert_allclose(
        explanation.votes.sum(0).max(), explanation.votes.sum(0)[model.classes_.tolist().index("trackParcel")]
    )


def test_names_move_with_their_classes(tmp_path):
    X, y = flat()
    model = mw.FewShotClassifier(learner="ridge").fit(X, y)
    before = model.predict_proba(list(ASKED.values()))
    model.save(tmp_path / "p.safetensors")
    again = mw.FewShotClassifier.load(tmp_path / "p.safetensors")
    assert np.array_equal(again.predict_proba(list(ASKED.values())), before)
    assert again.predictor_.descriptions.texts == model.predictor_.descriptions.texts
    model.rename_class("Refund?", "money_back")
    assert ("money_back", "money back", True) in model.predictor_.descriptions.texts
    model.add_class("smallTalk", ["hello there", "how are you"])
    assert ("smallTalk", "small talk", True) in model.predictor_.descriptions.texts
    model.remove_class("smallTalk")
    assert all(name != "smallTalk" for name, _, _ in model.predictor_.descriptions.texts)


def test_names_that_are_read_alike_teach_nothing_until_one_is_gone():
    model = mw.FewShotClassifier(learner="ridge").fit(TOPICS, describe={"Refund?": "money comes back"})
    model.add_class("refund", ["send my money again"])
    names = {owner for owner, _, named in model.predictor_.descriptions.texts if named}
    assert names == {"cancel_order", "trackParcel"}
    model.rename_class("refund", "repeat_payment")
    texts = model.predictor_.descriptions.texts
    assert {owner for owner, _, named in texts if named} == {*TOPICS, "repeat_payment"}
    assert ("Refund?", "money comes back", False) in texts
    model.rename_class("Refund?", "payback")
    assert ("payback", "money comes back", False) in model.predictor_.descriptions.texts


def test_what_is_said_of_names_is_a_sentence():
    X, y = flat()
    order = list(TOPICS)
    wrong = dict(zip(order, order[1:] + order[:1], strict=True))
    known = mw.FewShotClassifier(learner="ridge").fit(X * 1, [wrong[name] for name in y]).predictor_.descriptions
    assert known.belief.weight == 0 and str(known).startswith("names: not believed, since they contradict the examples")
    believed = mw.FewShotClassifier(learner="ridge").fit(X, y).predictor_.descriptions
    assert str(believed).startswith("names: those of a class count as") and believed.to_json()["believed"]


def test_many_classes_learn_their_names_in_parts(monkeypatch):
    X, y = flat()
    whole = mw.FewShotClassifier(learner="nearest_mean").fit(X, y).predict_proba(list(ASKED.values()))
    monkeypatch.setattr("mapwise.predictors.classes._TOGETHER", 4)
    model = mw.FewShotClassifier(learner="nearest_mean").fit(X, y)
    assert model.predictor_._in_parts
    np.testing.assert_allclose(model.predict_proba(list(ASKED.values())), whole, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda: mw.FewShotClassifier().fit(names="refund"), "the names of classes are 'refund'"),
        (lambda: mw.FewShotClassifier().fit(names=["c17", "refund"]), "class 'c17' has no description, nor a name"),
        (lambda: mw.FewShotClassifier().fit(names=["Refund", "refund"]), "class 'Refund' has no description, nor a"),
        (lambda: mw.FewShotClassifier(names=False).fit(names=["cat", "dog"]), "class 'cat' has no description, nor"),
        (lambda: mw.FewShotClassifier().fit(names=["refund"]), "1 name of classes: give at least 2"),
        (
            lambda: mw.FewShotClassifier().fit(names={"refund": "money back"}),
            "names of classes are {'refund': 'money back'}: give a list",
        ),
        (
            lambda: mw.FewShotClassifier().fit(names=["x " * 400, "refund"]),
            r"class 'x x x [x ]+\.\.\.' has no description",
        ),
        (lambda: mw.FewShotClassifier().fit(), "no rows and no names of classes: give rows with labels"),
        (lambda: mw.FewShotClassifier().fit({}), "no rows and no names of classes: give rows with labels"),
        (lambda: mw.FewShotClassifier().fit(names=[]), "no rows and no names of classes: give rows with labels"),
        (lambda: mw.FewShotClassifier().fit(names=None), "no rows and no names of classes: give rows with labels"),
        (lambda: mw.FewShotClassifier().fit(describe={"a": "b"}), "no rows and no names of classes: give rows with"),
        (lambda: mw.FewShotClassifier().fit({"a": None}), "class 'a' has a value of type NoneType and a list of rows"),
        (lambda: mw.FewShotClassifier().fit({"a": pd.DataFrame({"x": [1]})}), "class 'a' has a table: join the tables"),
        (
            lambda: mw.FewShotClassifier().fit(names=["a cat", "a dog"]).remove_rows([0]),
            "there are no examples to remove",
        ),
        (
            lambda: mw.FewShotClassifier().fit(names=["a cat", "a dog"]).partial_fit(["mew"], [3]),
            "the classes are names and 3 is a number",
        ),
        (
            lambda: mw.FewShotClassifier("pixels").fit(names=["a cat", "a dog"]),
            "no examples, and the encoder pixels reads",
        ),
        (lambda: mw.FewShotClassifier().fit({"a": "text"}), "class 'a' has a single string and a list of rows"),
        (
            lambda: mw.FewShotClassifier().fit(TOPICS, describe={"Refund": "x"}),
            r"no class 'Refund' to describe: did you mean",
        ),
        (lambda: mw.FewShotClassifier().fit(TOPICS, describe={"Refund?": 3}), "class 'Refund\\?' is described by 3"),
        (lambda: mw.FewShotClassifier().fit(TOPICS, describe=["x"]), "give a dict of class to a sentence"),
        (lambda: mw.FewShotClassifier(names="yes").fit(TOPICS), "names is 'yes': give True or False"),
        (
            lambda: mw.FewShotClassifier().fit(names=list(TOPICS)).predict(["x"], unknown=True),
            "no examples to tell what is none of the classes",
        ),
    ],
)
def test_names_that_can_not_be_meant_are_refused_in_a_sentence(call, answer):
    with pytest.raises(ValueError, match=answer) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_pictures_and_tables_have_no_use_of_descriptions():
    X = np.random.default_rng(0).normal(size=(8, 3))
    with pytest.warns(UserWarning, match="the encoder table reads table: they are not used") as warned:
        model = mw.FewShotClassifier().fit(X, list("abababab"), describe={"a": "first"})
    assert len(warned) == 1 and warned[0].filename == __file__ and model.predictor_.descriptions is None


def test_a_damaged_description_is_no_file(tmp_path):
    from mapwise.data import tensor_file

    X, y = flat()
    path = tmp_path / "p.safetensors"
    mw.FewShotClassifier(learner="ridge").fit(X, y).save(path)
    tensors, about = tensor_file.load_tensors(path, "predictor", "")
    for change in (
        {"texts": [["nobody", "text", True]] * 3},
        {"texts": [["Refund?", " ", True]] * 3},
        {"texts": about["descriptions"]["texts"][:2]},
        {"belief": [7.0, 1, 3]},
        {"belief": [1.0, 4, 3]},
        {"names": 1},
    ):
        tensor_file.save_tensors(path, tensors, {**about, "descriptions": {**about["descriptions"], **change}})
        with pytest.raises(ValueError, match="damaged"):
            Predictor.load(path)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--names", "names.txt", "--label", "intent"], "--label is for a CSV file and DATA is missing"),
        (["--names", "names.txt", "--categories", "age"], "--categories is for a CSV file and DATA is missing"),
        (
            ["table.csv", "--names", "names.txt"],
            "teach texts alone: name the column of texts (--text COLUMN), or leave",
        ),
        (["table.csv", "--describe", "about.csv"], "table.csv is read as a table"),
    ],
)
def test_flags_that_would_change_nothing_are_refused(cli, tmp_path, words, answer):
    (tmp_path / "names.txt").write_text("refund\ncancel\n")
    (tmp_path / "about.csv").write_text("class,sentence\na,first\n")
    (tmp_path / "table.csv").write_text("length,label\n1,a\n2,b\n")
    done = cli("fit", *words, "-o", "p.safetensors")
    assert done.code != 0 and answer in done.err and done.err.count("\n") == 1
