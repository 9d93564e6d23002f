"""CoNLL files in all their schemes, with the spans that conlleval sees."""

import gzip

import numpy as np
import pytest
from seqeval.metrics.sequence_labeling import get_entities

from mapwise.data.annotated.conll import read_conll
from mapwise.data.annotated.read import read_annotated

ANNA = "Anna B-PER\nMaria I-PER\nsaw O\nRome B-LOC\n"


def read(tmp_path, text, name="a.conll"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_conll(path)


def spans(text):
    return [(text.text[span.start : span.end], span.type) for span in text.spans]


MEANT = [("Anna Maria", "PER"), ("Rome", "LOC")]
SAME = [
    ANNA,
    ANNA.replace(" ", "\t"),
    ANNA.replace(" ", "    "),
    ANNA.replace("\n", " \n"),
    ANNA.replace("\n", "\r\n"),
    "\ufeff" + ANNA,
    ANNA.rstrip("\n"),
    "\n\n \n" + ANNA + "\n\t\n\n",
    ANNA.replace(" ", " NNP x "),
    "-DOCSTART- -X- O O\n\n" + ANNA.replace(" ", " NNP x "),
    "-DOCSTART- O\n" + ANNA,
    "# a comment\n" + ANNA,
    "# text = Anna saw O\n# id 7\n" + ANNA,
    ANNA.replace("B-", "I-"),
    "Anna I-PER\nMaria I-PER\nsaw O\nRome I-LOC\n",
    "Anna B-PER\nMaria E-PER\nsaw O\nRome S-LOC\n",
    "Anna B-PER\nMaria L-PER\nsaw O\nRome U-LOC\n",
    ANNA.encode("utf-16"),
    gzip.compress(ANNA.encode()),
    gzip.compress(ANNA[:20].encode()) + gzip.compress(ANNA[20:].encode()),
]


@pytest.mark.parametrize("text", SAME, ids=range(len(SAME)))
def test_every_way_of_writing_a_sentence_is_the_same_sentence(tmp_path, text):
    file = read(tmp_path, text)
    assert [spans(text) for text in file.texts] == [MEANT] and file.texts[0].text == "Anna Maria saw Rome"
    assert file.repairs == 0 and file.remarks == ()


@pytest.mark.parametrize(
    ("tags", "scheme", "repairs", "meant"),
    [
        ("B-X I-X O B-X", "IOB2", 0, ["a b", "d"]),
        ("B-X B-X I-X O", "IOB2", 0, ["a", "b c"]),
        ("B-X O I-X O", "IOB2", 1, ["a", "c"]),
        ("B-X I-Y O B-X", "IOB2", 1, ["a", "b", "d"]),
        ("I-X B-X O I-X", "IOB1", 0, ["a", "b", "d"]),
        ("I-X I-X I-Y B-Y", "IOB1", 0, ["a b", "c", "d"]),
        ("I-X I-X O I-Y", "IO", 0, ["a b", "d"]),
        ("O O O O", "IO", 0, []),
        ("B-X I-X E-X S-Y", "BIOES", 0, ["a b c", "d"]),
        ("B-X I-X O S-Y", "BIOES", 1, ["a b", "d"]),
        ("I-X E-X O S-Y", "BIOES", 1, ["a b", "d"]),
        ("E-X E-X O S-Y", "BIOES", 2, ["a", "b", "d"]),
        ("S-X I-X O S-Y", "BIOES", 1, ["a", "b", "d"]),
        ("B-X L-X U-Y U-Y", "BILOU", 0, ["a b", "c", "d"]),
        ("B-creative-work I-creative-work O O", "IOB2", 0, ["a b"]),
    ],
)
def test_the_scheme_is_recognised_and_repairs_are_counted(tmp_path, tags, scheme, repairs, meant):
    file = read(tmp_path, "".join(f"{word}\t{tag}\n" for word, tag in zip("abcd", tags.split(), strict=True)))
    assert [words for words, _ in spans(file.texts[0])] == meant
    assert (file.scheme, file.repairs, len(file.remarks)) == (scheme, repairs, bool(repairs))


@pytest.mark.parametrize("letters", ["BI", "BIES", "I"])
def test_spans_are_those_that_conlleval_sees(tmp_path, letters):
    random = np.random.default_rng(0)
    for _ in range(60):
        tags = [
            "O" if random.random() < 0.3 else f"{random.choice(list(letters))}-{random.choice(['X', 'Y'])}"
            for _ in range(12)
        ]
        (text,) = read(tmp_path, "".join(f"w{i} {tag}\n" for i, tag in enumerate(tags))).texts
        meant = [(" ".join(f"w{i}" for i in range(first, last + 1)), kind) for kind, first, last in get_entities(tags)]
        assert spans(text) == meant


HOSTILE = [
    # word, which is kept as it is
    "👨\u200d👩\u200d👧",
    "北京",
    "القاهرة",
    "กรุงเทพ",
    "#",
    "#hashtag",
    "\u200f",
    "\ufe0f",
    "a\u200bb",
    "Cafe\u0301",
    "\u2028x",
    "\x0cx",
    "O",
    "B-PER",
    "\\",
    '"',
    "\x00",
    "x" * 100_000,
]


@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_a_word_of_any_script_has_its_own_offsets(tmp_path, word):
    file = read(tmp_path, f"one\tO\n{word}\tB-X\ntwo\tB-Y\n\n{word}\tB-X\n")
    assert [spans(text) for text in file.texts] == [[(word.strip(), "X"), ("two", "Y")], [(word.strip(), "X")]]


def test_words_with_spaces_are_words_where_tabs_part_columns(tmp_path):
    file = read(tmp_path, "New York\tB-X\n\u00a0\tI-X\nis\tO\n")
    assert spans(file.texts[0]) == [("New York", "X")] and file.texts[0].text == "New York is"
    assert "white space for a word" in file.remarks[0]


BAD = [
    ("", "has no sentence"),
    ("\n\n", "has no sentence"),
    ("-DOCSTART- O\n", "has no sentence"),
    ("Anna\n", "line 1 of"),
    (ANNA + "\nParis\n", "line 6 of"),
    (ANNA + "Paris x B-LOC\n", "has 3 columns and the first has 2"),
    (ANNA + "Paris B\n", "has the tag 'B'"),
    (ANNA + "Paris X-LOC\n", "has the tag 'X-LOC'"),
    (ANNA + "Paris B-\n", "has the tag 'B-'"),
    (ANNA + "Paris o\n", "has the tag 'o'"),
    (ANNA + "Paris LOC\n", "has the tag 'LOC'"),
    (ANNA.encode() + b"Par\xffis O\n", "line 5 of"),
    (b"\xff\xfea", "UTF-16"),
    (gzip.compress(ANNA.encode())[:-9], "damaged gzip"),
    (gzip.compress(ANNA.encode())[:12] + b"xxxxxxx", "damaged gzip"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_one_sentence_with_its_file(tmp_path, text, sentence):
    with pytest.raises(ValueError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert sentence in message and "a.conll" in message and "\n" not in message


def test_what_is_no_file_is_one_sentence(tmp_path):
    for path in (tmp_path / "none.conll", tmp_path):
        with pytest.raises(ValueError, match="cannot be read"):
            read_conll(path)


def test_a_bomb_of_zeros_is_refused(tmp_path):
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress(b"\0" * (140 << 20), 1))
    with pytest.raises(ValueError, match="more than 128 MB when unpacked"):
        read_conll(path)


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("conll2003/eng.train.gz", {"LOC": 7140, "MISC": 3438, "ORG": 6321, "PER": 6600}),
        ("conll2003/eng.testa.gz", {"LOC": 1837, "MISC": 922, "ORG": 1341, "PER": 1842}),
    ],
)
def test_spans_of_conll_2003_are_as_many_as_its_paper_counts(shared_data, path, counts):
    """Tjong Kim Sang, De Meulder, CoNLL 2003, table 2."""
    file = read_conll(shared_data / path)
    types = [span.type for text in file.texts for span in text.spans]
    assert file.scheme == "IOB1" and {name: types.count(name) for name in counts} == counts


@pytest.mark.parametrize(
    ("folder", "sizes", "types"),
    [
        ("wnut17", {"train": 3394, "val": 1009, "test": 1287}, 6),
        ("crossner/ai", {"train": 100, "val": 350, "test": 431}, 14),
        ("conll2003", {"train": 14041, "test": 3250}, 4),
    ],
)
def test_real_folders_are_read_by_split(shared_data, folder, sizes, types):
    corpus = read_annotated(shared_data / folder)
    assert {part: len(places) for part, places in corpus.parts.items()} == sizes and len(corpus.types) == types
