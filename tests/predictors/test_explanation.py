"""An answer is explained by votes that add up, and by predictors that were taught without each example."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import mapwise as mw
from mapwise.catalog.encoders import ENCODERS
from mapwise.catalog.heads import HEADS, heads_behind
from mapwise.core.capabilities import Votes
from mapwise.data.glyphs import glyphs
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence.occlusion import LARGEST, paper_of, reddened, region
from test_encoders import drawing

X = np.array([[4.1, 12.0], [3.9, 11.5], [9.0, 13.0], [8.8, 12.6], [6.0, 3.0]])
Y = ["newt", "newt", "toad", "toad", "olm"]
NEW = [[6.2, 12.0], [4.0, 11.0], [8.0, 9.0]]
WEIGHT = [1.0, 2.0, 1.0, 0.5, 1.0]

LEARNERS = {
    **{name: name for name in heads_behind(ENCODERS["table"]())},
    "cosine": mw.ProtoNet(torch.nn.Flatten, distance="cosine"),
    "attention": mw.Matching(torch.nn.Flatten, temperature=2.0),
}
VOTERS = [name for name in LEARNERS if name != "logistic"]


def fit(learner, **given):
    return mw.FewShotClassifier(learner=LEARNERS[learner]).fit(X, Y, **given)


@pytest.mark.parametrize("learner", VOTERS)
def test_the_votes_add_up_to_the_answer(learner):
    few = fit(learner, sample_weight=WEIGHT)
    result, scored = few.explain(NEW), few.predictor_.scores(few._rows(NEW))
    plain = replace(few.predictor_, known_temperature=1.0).probabilities(few._rows(NEW))
    for one, scores, chances in zip(result, scored, plain, strict=True):
        sums = one.votes.sum(0)
        if one.adds_to == "probabilities":
            np.testing.assert_allclose(sums, chances, atol=1e-12)
        else:
            np.testing.assert_allclose(sums - sums.mean(), scores - scores.mean(), atol=1e-10)
        first, second = (list(few.classes_).index(name) for name in (one.label, one.runner_up))
        assert sum(example.vote for example in one.examples) == pytest.approx(sums[first] - sums[second])
        by_row = {example.row: example.vote for example in one.examples}
        np.testing.assert_allclose([by_row[row] for row in range(5)], one.votes[:, first] - one.votes[:, second])
        assert [example.vote for example in one.examples] == sorted(by_row.values(), reverse=True)


def test_every_head_that_votes_is_asked_here_and_logistic_regression_does_not():
    support = fit("ridge").predictor_.support
    assert {name for name, result in HEADS.items() if isinstance(result(support), Votes)} == set(VOTERS) & set(HEADS)
    (one,) = fit("logistic").explain(NEW[:1])
    assert one.votes is None and one.adds_to is None and one.examples[0].vote is None
    assert [example.probability for example in one.examples] == sorted(e.probability for e in one.examples)
    assert "without example" in str(one)


@pytest.mark.parametrize("learner", LEARNERS)
def test_without_an_example_is_the_answer_of_a_predictor_taught_without_it(learner):
    few = fit(learner, sample_weight=WEIGHT)
    known = few.predictor_
    for one, row, answer in zip(few.explain(NEW), NEW, few.predict(NEW), strict=True):
        assert one.label == answer
        for example in one.examples:
            rest = np.arange(5) != example.row
            left = Predictor(
                *(known.encoder, known.head, known.rows[rest], known.columns[rest], known.weight[rest], known.classes),
                known_temperature=known.temperature,
            )
            chances = left.probabilities(few._rows([row]))[0]
            assert example.probability == pytest.approx(chances[list(few.classes_).index(one.label)], abs=1e-10)
            assert example.without == few.classes_[chances.argmax()]
            assert (example.label, example.source) == (Y[example.row], "")


def test_the_example_that_decides_is_named():
    few = mw.FewShotClassifier().fit([[0.0], [0.1], [5.0], [2.2]], ["newt", "newt", "toad", "toad"])
    (one,) = few.explain([[2.3]])
    assert one.label == "toad"
    assert [example.row for example in one.decisive] == [3]
    assert "without example 3 (toad) it would be newt" in str(one)
    (sure,) = few.explain([[0.0]])
    assert sure.decisive == () and "without any one example it would still be newt" in str(sure)


@pytest.mark.parametrize("learner", ["nearest_mean", "ridge", "logistic"])
def test_of_a_large_support_the_largest_votes_are_left_out_and_it_says_how_many(learner, monkeypatch):
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 4)) + np.repeat(np.eye(4) * 4, 15, 0)
    few = mw.FewShotClassifier(learner=learner).fit(rows, np.repeat(["a", "b", "c", "d"], 15))
    (every,) = few.explain([rows[0]])
    assert len(every.left_out) == 60 and every.to_json()["left_out"] == 60
    monkeypatch.setattr("mapwise.predictors.diagnostics.explanation._OPERATIONS", 60 * 4 * 60 * 8)
    (one,) = few.explain([rows[0]])
    assert len(one.left_out) == one.to_json()["left_out"] == 8
    assert {example.row: example for example in every.examples}.items() > {e.row: e for e in one.left_out}.items()
    assert "8 of 60 examples were left out in turn, those that" in str(one)
    assert "without any one of the 8 examples left out in turn it would still be a" in str(one)
    if one.votes is not None:  # what an answer in words shows has been left out
        assert {example.row for example in one.left_out} >= {e.row for e in (*one.examples[:3], *one.examples[-3:])}
    beyond = next(example for example in one.examples if example not in one.left_out)
    assert beyond.without is None and beyond.probability is None
    assert len(few.explain([rows[0]], leave_out=1)[0].left_out) == 1


def test_rows_share_the_examples_that_are_left_out():
    X = np.array([[0.0, 0], [0, 1], [9, 0], [9, 1]])
    few = mw.FewShotClassifier(learner="nearest_mean").fit(X, ["a", "a", "b", "b"])
    for one in few.explain(X[[0, 2]], leave_out=3):
        assert len(one.left_out) == 3
    with pytest.raises(ValueError, match="leave_out is 0: give how many examples to leave out in turn, 1 or more"):
        few.explain(X, leave_out=0)


def test_labels_that_are_numbers_stay_numbers():
    (one,) = mw.FewShotClassifier(learner="nearest_mean").fit([[0.0], [1.0], [5.0]], [7, 7, 9]).explain([[0.4]])
    assert (one.label, one.runner_up, one.examples[0].label) == (7, 9, 9)
    assert json.loads(json.dumps(one.to_json()))["label"] == 7


def test_a_predictor_of_one_class_has_nothing_to_explain():
    few = mw.FewShotClassifier().partial_fit([[0.0], [1.0]], ["newt", "newt"])
    with pytest.raises(ValueError, match="examples of one class, 'newt', so there is no other answer: teach it"):
        few.explain([[0.0]])


def test_regions_are_of_pictures_alone():
    with pytest.raises(ValueError, match="the encoder table reads table: leave regions out"):
        fit("nearest_mean").explain(NEW, regions=True)
    texts = mw.FewShotClassifier(encoder="words").fit(["cancel", "refund"], ["a", "b"])
    with pytest.raises(ValueError, match="the encoder words reads texts: leave regions out"):
        texts.explain(["cancel"], regions=True)


@pytest.fixture
def drawn():
    """A predictor of rings and crosses."""
    kinds = ["ring"] * 3 + ["cross"] * 3
    return mw.FewShotClassifier().fit([drawing(kind, place % 3) for place, kind in enumerate(kinds)], kinds)


def test_regions_without_captum_are_one_sentence(drawn, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ValueError, match=r'pip install "mapwise\[captum\]"'):
        drawn.explain([drawing("ring", 3)], regions=True)
    assert drawn.explain([drawing("ring", 3)])[0].label == "ring"


def test_a_picture_that_can_not_be_read_is_named(drawn, tmp_path):
    (tmp_path / "odd.png").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"odd.png is not an image"):
        drawn.explain([str(tmp_path / "odd.png")], regions=True)


def test_the_region_is_where_the_difference_lies():
    """Two kinds that differ in one stroke alone, right at the bottom."""

    def figure(stroke, shift=0):
        image = np.full((80, 60), 255, np.uint8)
        image[10:14, 10:50] = 0
        image[10:60, 28 + shift : 32 + shift] = 0
        image[66:72, 10:50] = 0 if stroke else 255
        return image

    kinds = [0, 0, 0, 1, 1, 1]
    few = mw.FewShotClassifier().fit([figure(kind, place % 3) for place, kind in enumerate(kinds)], kinds)
    (one,) = few.explain([figure(1, 4)], regions=True)
    assert one.label == 1
    assert one.region.fall.shape == (80, 60)
    down, _ = np.nonzero(one.region.top())
    assert len(down) == 480 and np.median(down) > 55
    assert one.region.lead > 0 > one.region.lead_without  # without that stroke it is the other kind
    assert f"{one.region.box[0]}, {one.region.box[1]}" in str(one)
    assert one.to_json()["region"]["box"] == list(one.region.box)


@pytest.mark.parametrize("form", ["path", "pillow", "HW", "CHW", "HWC", "01"])
def test_a_picture_is_read_in_every_form(drawn, tmp_path, form):
    image = drawing("ring", 4).convert("RGB")
    image.save(tmp_path / "ring.png")
    grey, colours = np.asarray(image.convert("L")), np.asarray(image)
    rows = {
        "path": str(tmp_path / "ring.png"),
        "pillow": image,
        "HW": grey,
        "CHW": colours.transpose(2, 0, 1),
        "HWC": colours,
        "01": grey / 255,
    }
    (one,) = drawn.explain([rows[form]], regions=True)
    assert one.label == "ring" and one.region.fall.shape == grey.shape
    assert one.region.lead_without < one.region.lead


def test_small_and_large_pictures_have_regions_too(drawn):
    def scored(pictures):
        return np.stack([[255 - picture[: len(picture) // 2].mean(), 100.0] for picture in pictures])

    small = np.full((3, 5), 255, np.uint8)
    small[0] = 0
    result = region(small, 0, scored)
    assert result.fall.shape == (3, 5)
    large = np.full((1000, 2000), 255, np.uint8)
    large[:400] = 0
    result = region(large, 0, scored)
    assert result.fall.shape == (LARGEST // 2, LARGEST)
    assert result.top()[: LARGEST // 4].sum() == result.top().sum() == round(0.1 * result.fall.size)


def test_paper_is_what_lies_along_the_border():
    sheet = np.zeros((9, 9, 3), np.uint8)
    sheet[..., 1] = 200
    sheet[3:6, 3:6] = 255
    assert paper_of(sheet).tolist() == [0, 200, 0]
    assert paper_of(np.full((4, 4), 30, np.uint8)).tolist() == [30]


def test_a_reddened_picture_is_red_where_it_mattered(drawn):
    picture = drawing("ring", 4)
    (one,) = drawn.explain([picture], regions=True)
    shown = np.asarray(reddened(picture, 0, one.region)).astype(int)
    assert shown.shape == (*one.region.fall.shape, 3)
    excess = shown[..., 0] - shown[..., 1]
    assert excess[one.region.top()].mean() > 2 * max(1, excess[one.region.fall <= 0].mean())


@pytest.mark.slow
def test_hiding_the_region_costs_the_answer_more_than_hiding_another_of_its_size():
    rows = glyphs()
    classes = rows.splits["test"]
    few, gone = 12, []
    for task in range(few):
        random = np.random.default_rng(task)
        chosen = random.permutation(classes)[:5]
        drawn = [255 - rows.x[rows.starts[c] : rows.starts[c + 1], 0] for c in chosen]
        X = np.concatenate([pictures[:5] for pictures in drawn])
        model = mw.FewShotClassifier("drawings", "nearest_mean").fit(list(X), np.repeat(np.arange(5), 5))
        query = drawn[0][5]
        (one,) = model.explain([query], regions=True)
        top, paper = one.region.top(), paper_of(query)
        moved = [np.roll(top, tuple(random.integers(28, size=2)), (0, 1)) for _ in range(10)]
        shown = [query, *(np.where(mask, paper, query).astype(np.uint8) for mask in (top, *moved))]
        scores = model.predictor_.scores(shown)[:, one.label]
        gone.append([scores[0] - scores[1], (scores[0] - scores[2:]).mean()])
    region, others = np.asarray(gone).T
    ahead = region - others
    assert ahead.mean() > 3 * ahead.std() / few**0.5


def test_votes_stand_in_the_order_of_the_classes_whatever_came_first():
    X, y = np.array([[0.0, 0], [0, 1], [5, 5], [5, 6], [9, 0], [9, 1]]), ["m", "m", "z", "z", "a", "a"]
    result = mw.FewShotClassifier(learner="ridge", encoder="table").fit(X[:4], y[:4]).partial_fit(X[4:], y[4:])
    assert result.classes_.tolist() == ["a", "m", "z"] and result.predictor_.classes == ("m", "z", "a")
    (one,) = result.explain(X[4:5])
    assert one.label == "a" and result.classes_[one.votes.sum(0).argmax()] == "a"
    assert result.predict_proba(X[4:5]).argmax() == 0
