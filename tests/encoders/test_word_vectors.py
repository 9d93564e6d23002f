"""Texts by what their words mean: near where no word is shared, the same bits alone and together, and a small table."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch

import mapwise as mw
from conftest import ROOT
from mapwise.catalog.encoders import ENCODERS
from mapwise.encoders.text_hash import TextHash
from mapwise.encoders.words import FOLDER, PIECES, VECTORS, Meanings, WordVectors, meanings

MEGABYTE = 1_000_000
TEXTS = ["cancel my order", "call off that purchase", "give me my money back", "please refund what I paid"]
INTENTS = ["cancel", "cancel", "refund", "refund"]
QUERIES = ["annul the buying", "I expect to be reimbursed"]


@pytest.fixture(scope="module")
def script():
    """benchmarks/few_examples/bundle_words.py."""
    path = ROOT / "benchmarks" / "few_examples" / "bundle_words.py"
    spec = importlib.util.spec_from_file_location("bundle_words", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_texts_that_share_no_word_are_near_where_they_mean_the_same():
    few = mw.FewShotClassifier(encoder="words", learner="nearest_mean").fit(TEXTS, INTENTS)
    assert list(few.predict(QUERIES)) == ["cancel", "refund"]
    spelled = TextHash()([*TEXTS, *QUERIES])
    assert (spelled[4] @ spelled[:4].T).max() < 0.2, "a spelling in common would be no test"


def test_an_inner_product_is_a_mean_of_two_cosines():
    z = WordVectors(spelling=0.3)(TEXTS)
    assert z.shape == (4, 256 + 2048) and z.dtype == np.float32
    meant, spelled = meanings()(TEXTS), TextHash(1024)(TEXTS)
    np.testing.assert_allclose(z @ z.T, 0.7 * meant @ meant.T + 0.3 * spelled @ spelled.T, atol=1e-5)
    np.testing.assert_allclose(np.diag(z @ z.T), 1, atol=1e-5)


def test_a_code_that_no_table_knows_is_known_by_its_spelling():
    few = mw.FewShotClassifier(encoder="words", learner="nearest_mean")
    few.fit(["error QX-4711 again", "error ZK-0815 again"], ["first", "second"])
    assert list(few.predict(["what is QX-4711", "what is ZK-0815"])) == ["first", "second"]


def test_a_text_has_the_same_bits_alone_and_among_others():
    texts = [*TEXTS, "🙂", "x" * 200, "ένα δύο", " ".join(TEXTS * 50)]
    alone = np.concatenate([WordVectors()([text]) for text in texts])
    np.testing.assert_array_equal(WordVectors()(texts), alone)
    np.testing.assert_array_equal(WordVectors()(texts[::-1]), alone[::-1])


def test_a_mean_has_the_bits_of_the_sum_piece_after_piece(monkeypatch):
    texts = [*TEXTS, "🙂", " ".join(TEXTS * 50), "ᚠᚢᚦ"]
    for together in (1, 3, 1000):
        monkeypatch.setattr("mapwise.encoders.words._TOGETHER", together)
        for text, mean in zip(texts, meanings()(texts), strict=True):
            total = np.zeros(256, np.float32)
            for vector in meanings().vectors(meanings().cut(text)):
                total = total + vector
            np.testing.assert_array_equal(mean, total / (np.sqrt((total**2).sum()) or 1))


def test_a_text_of_unknown_words_is_zero_where_its_meaning_would_stand():
    z = WordVectors()(["ᚠᚢᚦ ᚨᚱᚲ", "ᚠᚢᚦ"])
    assert not z[:, :256].any()
    np.testing.assert_allclose((z**2).sum(1), WordVectors().spelling, rtol=1e-5)


def test_capitals_accents_and_line_ends_change_no_meaning():
    z = meanings()(["Refund the café bill", "REFUND\r\nTHE CAFE BILL"])
    np.testing.assert_array_equal(z[0], z[1])


@pytest.mark.parametrize(("text", "words"), [(" \n", "row 1 is empty"), ("a" * 1_000_001, "more than 1,000,000")])
def test_a_text_that_says_nothing_or_too_much_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        WordVectors()(["hello", text])


def test_the_table_is_at_most_eight_megabytes_and_every_piece_has_a_vector():
    sizes = {file.name: len(file.read_bytes()) for file in FOLDER.iterdir()}
    assert sum(sizes.values()) <= 8 * MEGABYTE
    vectors = meanings().vectors(np.arange(len(meanings().rows)))
    empty = np.flatnonzero(~vectors.any(1))
    assert np.isfinite(vectors).all() and empty.tolist() == [meanings().cut.vocabulary["[UNK]"]]


def test_the_version_is_that_of_both_files():
    vectors, pieces = FOLDER.joinpath(VECTORS).read_bytes(), FOLDER.joinpath(PIECES).read_bytes()
    assert ENCODERS["words"]().version == f"1-{Meanings.of(vectors, pieces).version}"
    other = pieces.replace(b"\nmoney\n", b"\nmoneys\n")
    assert other != pieces and Meanings.of(vectors, other).version != Meanings.of(vectors, pieces).version


def test_a_predictor_is_saved_and_opened_with_the_same_answers(tmp_path):
    few = mw.FewShotClassifier(encoder="words", learner="ridge").fit(TEXTS, INTENTS)
    few.save(tmp_path / "few.safetensors")
    again = mw.FewShotClassifier.load(tmp_path / "few.safetensors")
    np.testing.assert_array_equal(again.predict_proba(QUERIES), few.predict_proba(QUERIES))


def test_the_script_writes_a_table_that_reads_back(script, tmp_path):
    vectors = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    script.write(tmp_path, ["[UNK]", "refund", "##s", "\u2028"], vectors.clone(), {})
    table = Meanings.of((tmp_path / VECTORS).read_bytes(), (tmp_path / PIECES).read_bytes())
    read = table.vectors([0, 1, 2, 3])
    assert not read[0].any()
    error = np.abs(read[1:] - vectors[1:].numpy()).max(1)
    assert (error <= vectors[1:].abs().amax(1).numpy() / 200).all()
    expected = read[1] + read[2]
    np.testing.assert_allclose(table(["Refunds"])[0], expected / np.linalg.norm(expected), rtol=1e-5)


def test_the_script_writes_the_same_bytes_again(script, tmp_path):
    files = set()
    for _ in range(8):
        script.write(tmp_path, ["[UNK]", "a"], torch.ones(2, 3), dict.fromkeys("abcdef", "x"))
        files.add((tmp_path / VECTORS).read_bytes())
    assert len(files) == 1


def test_the_fit_brings_sums_to_their_targets_and_leaves_other_pieces_where_they_were(script, monkeypatch):
    monkeypatch.setattr(script, "BATCH", 8)
    random = torch.Generator().manual_seed(0)
    start = torch.nn.functional.normalize(torch.randn(20, 4, generator=random))
    texts = [[place % 9, (place + 3) % 9, place % 4] for place in range(80)]
    goal = torch.nn.functional.normalize(torch.randn(20, 4, generator=random))
    targets = torch.nn.functional.normalize(torch.stack([goal[text].sum(0) for text in texts]))

    def error(vectors):
        sums = torch.stack([vectors[text].sum(0) for text in texts])
        return float(1 - torch.nn.functional.cosine_similarity(sums, targets).mean())

    fitted = script.fit(start, texts, targets, 40)
    assert error(fitted) < 0.5 * error(start)
    assert torch.equal(fitted[9:], start[9:])
    assert torch.equal(fitted, script.fit(start, texts, targets, 40))


def test_sentences_are_read_from_each_of_the_three_data_sets(script, shared_data):
    sentences = [" ".join(words) for words in script.sentences(shared_data)]
    assert len(sentences) > 30_000 and len(set(sentences)) == len(sentences)
    for known in ("@paulwalk It 's the view from where", "sitter", "In June 1987 , the Missouri Highway"):
        assert any(sentence.startswith(known) for sentence in sentences), known


def test_the_card_says_what_the_table_is_of():
    header = FOLDER.joinpath(VECTORS).read_bytes()
    about = json.loads(json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]["about"])
    card = FOLDER.joinpath("card.md").read_text(encoding="utf-8")
    for words in ("all-MiniLM-L6-v2", "Apache", "CrossNER", "FewRel", "WNUT-17", f"{int(about['texts']):,} texts"):
        assert words in card, words
