"""The hashed columns of texts are those of scikit-learn's HashingVectorizer, bit for bit."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.utils import murmurhash3_32

from mapwise.encoders.murmur import murmur3
from mapwise.encoders.text_hash import TextHash

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "etaoin ETAOIN   ",
    "0123456789_.,;:!?'\"()-/@#%&*",
    "äöüßÄÖÜẞéèêçñøåæœıİ",
    "абвгдежзийклмнопрстуфхцчшщ",
    "αβγδεζηθικλμνξοπρσςτυφχψωΣ",
    "中文字符日本語かなカナ한국어",
    "العربيةעבריתไทยहिन्दी",
    "😀🎉👍🏽👩‍👩‍👧🇩🇪✈️☃",
    " \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2003\u2028\u3000\u200b",
    "\x00\x01\x7f\ufeff\ufffd\u0301\u0308𝔘𝒳",
)


def _varied(count):
    """Texts of one alphabet or of several, of 1 to 200 characters, none of them blank."""
    rng = np.random.default_rng(0)
    whole = "".join(ALPHABETS)
    texts = []
    while len(texts) < count:
        letters = list(whole if rng.random() < 0.3 else "".join(rng.choice(ALPHABETS, 2)) + " ")
        text = "".join(rng.choice(letters, rng.integers(1, rng.choice([4, 30, 200]))))
        texts += [text] if text.strip() else []
    return texts


def _vectorized(texts, features):
    kinds = (
        {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"},
        {"analyzer": "char_wb", "ngram_range": (2, 4)},
    )
    halves = [
        HashingVectorizer(n_features=features, norm="l2", dtype=np.float32, **kind).transform(texts).toarray()
        for kind in kinds
    ]
    return np.concatenate(halves, axis=1) / np.sqrt(np.float32(2))


def _same_bits(left, right):
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


@pytest.mark.parametrize("features", [1024, 1000])
def test_ten_thousand_varied_texts_have_the_bits_of_hashing_vectorizer(features):
    texts = _varied(10_000)
    step = 2_500
    for first in range(0, len(texts), step):
        part = texts[first : first + step]
        assert _same_bits(TextHash(features)(part), _vectorized(part, features))


def test_long_and_odd_texts_have_the_bits_of_hashing_vectorizer():
    texts = [
        "a",
        "a b",
        ".",
        "😀",
        "ẞ İ ŉ",
        "one word and two",
        "x" * 3_000,
        "x" * 3_000 + " " + "é" * 3_000,
        "a " * 50_000,  # counts whose squares 32 bits round
        "word " * 20_000 + "\n\n  other",
        "\u3000\xa0spaces\u2003of\x1call\x85kinds\u200b ",
    ]
    assert _same_bits(TextHash()(texts), _vectorized(texts, 2048))
    # A text's bits depend on no other text.
    assert _same_bits(TextHash()(texts), np.concatenate([TextHash()([text]) for text in texts]))


def test_half_a_character_is_hashed_as_a_question_mark():
    assert _same_bits(TextHash()(["half \ud83d of one"]), TextHash()(["half ? of one"]))


def test_no_texts_make_no_rows():
    assert TextHash(16)([]).shape == (0, 32)


def test_hashes_are_those_of_murmurhash3():
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, 5_000, np.uint8)
    start = rng.integers(0, 4_000, 2_000)
    end = start + np.concatenate([np.arange(1_000) % 20, rng.integers(0, 1_001, 1_000)])
    expected = [murmurhash3_32(data[i:j].tobytes(), positive=True) for i, j in zip(start, end, strict=True)]
    np.testing.assert_array_equal(murmur3(data, start, end), expected)
