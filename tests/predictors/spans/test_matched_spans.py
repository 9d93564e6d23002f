"""Finders of spans that match words or read paths, behind a tiny model: fit, file, further types, and training."""

import numpy as np
import pytest
import torch

import mapwise as mw
from conftest import command

pytest.importorskip("peft")
from tiny_models import tiny_model

TEXTS = ["Ada Byron met Ann Lee in Rome.", "Rome and Oslo are far apart.", "In Oslo lives Tom Ray.", "Nobody is here."]
MARKS = [
    ["Ada Byron/person", "Ann Lee/person", "Rome/city"],
    ["Rome/city", "Oslo/city"],
    ["Oslo/city", "Tom Ray/person"],
    [],
]


def spans_in(text, marks):
    pairs = [mark.split("/") for mark in marks]
    return [(text.index(words), text.index(words) + len(words), kind) for words, kind in pairs]


SPANS = [spans_in(text, marks) for text, marks in zip(TEXTS, MARKS, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tagger(folder):
    return mw.FewShotTagger(f"hf:{folder}", learner="token_matching").fit(TEXTS, SPANS)


def test_words_of_the_examples_are_found_again_and_scores_are_distributions(tagger):
    assert tagger.score(TEXTS, SPANS) > 0.8
    (tagged,), _ = tagger.predictor_.tagged(["Ann Lee met Ada in Oslo"])
    np.testing.assert_allclose(np.exp(tagged.scores).sum(1), 1, atol=1e-5)
    # Eighteen words of texts and two of names, and no piece that begins no word.
    words = sum(len(units) for units in tagger.predictor_.embedded(TEXTS)[0])
    assert len(tagger.predictor_.fast["words"]) == words + 2


def test_it_is_fitted_without_steps(tagger, folder):
    assert "tune_steps" not in tagger.predictor_.settings.fields
    weights = tagger.predictor_.params["encoder"], tagger.predictor_.fast["encoder"]
    assert all(torch.equal(weights[0][name], leaf) for name, leaf in weights[1].items())


def test_a_file_gives_the_same_answers(tagger, tmp_path):
    tagger.save(tmp_path / "finder.safetensors")
    again = mw.FewShotTagger.load(tmp_path / "finder.safetensors")
    assert again.predict([*TEXTS, "x" * 3000, ""]) == tagger.predict([*TEXTS, "x" * 3000, ""])


def test_a_further_type_and_a_next_text_and_why_a_span_is_not_explained(folder):
    tagger = mw.FewShotTagger(f"hf:{folder}", learner="token_matching").fit(TEXTS, SPANS)
    tagger.add_type("year", ["She left in 1843."], [[(12, 16)]])
    assert "year" in tagger.types_ and (12, 16, "year") in [
        span[:3] for span in tagger.predict(["She left in 1843."])[0]
    ]
    assert len(tagger.which_next(["It rained.", "Ann Lee is in Rome."])) == 1
    with pytest.raises(ValueError, match="the types of token_matching are no means of words: take span_finder"):
        tagger.explain(TEXTS)


def test_types_are_known_by_their_names_alone(folder):
    tagger = mw.FewShotTagger(f"hf:{folder}", learner="token_matching").fit(TEXTS[3:], [[]], types=["rome", "oslo"])
    assert tagger.predictor_.fast["present"].tolist() == [1] * 5
    (tagged,), _ = tagger.predictor_.tagged(["rome"])
    chances = dict(zip(tagger.predictor_.types, np.exp(tagged.scores)[0, 1::2], strict=True))
    assert chances["rome"] > chances["oslo"]


@pytest.mark.parametrize(
    "flags", [("token_matching",), ("token_matching", "--source.whole"), ("span_finder", "--chain")]
)
def test_a_run_of_paths_is_trained_on_files_and_fitted(folder, tmp_path, flags):
    news = tmp_path / "news.txt"
    news.write_text("".join(f"[N{i}](PER) [X{i}](PER) went to [P{i} City](LOC)\n" for i in range(40)), encoding="utf-8")
    words = [flags[0], "conll", *flags[1:], "--data", news, "--encoder", f"hf:{folder}", "--net.model", f"hf:{folder}"]
    words += ["--ways", "2", "--shots", "1", "--steps", "1", "--how", "loop"]
    assert command("train", *words, "--validation-episodes", "2", "--out", tmp_path / "run") == 0
    tagger = mw.FewShotTagger(learner=tmp_path / "run", steps=2).fit(TEXTS, SPANS)
    table = tagger.predictor_.fast["table"]
    assert table["moves"].abs().max() > 0 and table["moves"][0, 2] == 0 and table["start"][2] == 0
    assert len(tagger.predict(TEXTS)) == 4
