"""The example to label next is the one that tells most, for the reason that is given."""

import numpy as np
import pytest
from sklearn.base import clone

import mapwise as mw
from mapwise.predictors.evidence import label_next as rule
from mapwise.predictors.evidence.label_next import best_to_label
from measured import measured


def plain(rows, labelled, n, scores=None):
    """Suggestions where all rows are as sure, unless scores are given."""
    rows = np.asarray(rows, float)
    scores = np.tile([1.0, 0.0], (len(rows), 1)) if scores is None else np.asarray(scores, float)
    return best_to_label(rows, scores, np.asarray(labelled, float), ["newt", "toad"], n)


def test_the_middle_of_the_largest_group_without_an_example_comes_first():
    near, far = [[0.0], [0.1], [0.2], [0.3], [0.4]], [[9.8], [10.0], [10.2]]
    first, second = plain([*near, *far, [-20.0]], [[0.2]], 2)
    assert (first.row, first.like, first.unlike) == (6, 2, True)  # worth 9.4 + 9.8 + 9.8, and the lone row 20.2
    assert (second.row, second.like, second.unlike) == (8, 0, True)


def test_of_two_groups_the_one_whose_answer_is_open_comes_first():
    rows = [[10.0], [10.1], [10.2], [-10.0], [-10.1], [-10.2]]
    unsure = [[1.0, 0.9]] * 3 + [[1.0, 0.0]] * 3
    (one,) = plain(rows, [[0.0]], 1, unsure)
    assert one.row == 1 and one.unsure and one.reason.startswith("between newt and toad")
    (other,) = plain(rows, [[0.0]], 1, unsure[::-1])
    assert other.row == 4


def test_reasons_are_words():
    scores = [[1.0, 0.9], [0.0, 5.0], [4.0, 0.0], [0.0, 6.0]]
    by_name = {one.row: one.reason for one in plain([[8.0], [7.5], [0.1], [0.2]], [[0.0]], 4, scores)}
    assert by_name[0] == "between newt and toad, unlike every example so far, like 1 other that is not labelled"
    assert by_name[1] == "probably toad"
    assert by_name[2].startswith("probably newt") and "unlike" not in by_name[2]


def test_each_is_chosen_as_if_those_before_it_were_labelled():
    random = np.random.default_rng(0)
    rows, labelled, scores = random.normal(size=(40, 3)), random.normal(size=(4, 3)), random.normal(size=(40, 2))
    results = [one.row for one in best_to_label(rows, scores, labelled, ["a", "b"], 40)]
    assert sorted(results) == list(range(40))
    ordered = np.sort(scores, axis=1)
    lead = ordered[:, 1] - ordered[:, 0]
    weight = np.exp(-lead / np.median(lead))
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    far = np.linalg.norm(rows[:, None] - labelled[None], axis=2).min(1)
    for row in results[:10]:
        worth = np.maximum(far[None] - apart, 0) @ weight
        worth[results[: results.index(row)]] = -1
        assert worth.argmax() == row
        far = np.minimum(far, apart[row])


def test_units_and_shifts_change_nothing():
    random = np.random.default_rng(1)
    rows, labelled, scores = random.normal(size=(30, 3)), random.normal(size=(4, 3)), random.normal(size=(30, 3))
    names = ["a", "b", "c"]
    plain = best_to_label(rows, scores, labelled, names, 8)
    assert plain == best_to_label(1000 * rows + 5, 0.01 * scores - 3, 1000 * labelled + 5, names, 8)


def test_of_many_rows_some_judge_and_all_can_be_chosen(monkeypatch):
    random = np.random.default_rng(2)
    rows = np.concatenate([random.normal(size=(300, 2)), random.normal(20, 1, size=(300, 2))])
    scores = np.tile([1.0, 0.0], (600, 1))
    whole = best_to_label(rows, scores, np.zeros((1, 2)), ["a", "b"], 1)
    monkeypatch.setattr(rule, "_JUDGES", 100)
    monkeypatch.setattr(rule, "_TOGETHER", 1000)
    drawn = best_to_label(rows, scores, np.zeros((1, 2)), ["a", "b"], 1)
    assert drawn == best_to_label(rows, scores, np.zeros((1, 2)), ["a", "b"], 1)
    assert whole[0].row >= 300 and drawn[0].row >= 300
    assert abs(whole[0].like - drawn[0].like) <= 10  # all rows are counted, whoever judges


def test_rows_that_are_all_alike_can_be_chosen_too():
    assert [one.row for one in plain(np.zeros((3, 2)), np.zeros((1, 2)), 3, np.zeros((3, 2)))] == [0, 1, 2]


@pytest.mark.parametrize("learner", ["nearest_mean", "ridge", "logistic"])
def test_asking_finds_rare_classes_and_beats_random_choice(learner):
    names, ahead, result = np.array(list("abcdefgh")), [], []
    for seed in range(15):
        random = np.random.default_rng(seed)
        centres = 4 * random.normal(size=(8, 4))
        y, asked_y = np.repeat(names, [30, 30, 30, 4, 4, 4, 4, 4]), np.repeat(names, 10)
        pool, question, first = (
            centres[np.searchsorted(names, labels)] + random.normal(size=(len(labels), 4))
            for labels in (y, asked_y, names[:3])
        )
        few = mw.FewShotClassifier(learner=learner).fit(first, names[:3])
        chosen = [one.row for one in few.which_next(pool, 8)]
        scores = []
        for places in (chosen, random.choice(len(pool), 8, replace=False)):
            more = clone(few).fit(np.concatenate([first, pool[places]]), [*names[:3], *y[places]])
            scores.append(more.score(question, asked_y))
            result.append(len(set(y[places]) - set(names[:3])))
        ahead.append(scores[0] - scores[1])
    assert np.mean(result[::2]) > 1.5 * np.mean(result[1::2])
    assert np.mean(ahead) > 2 * np.std(ahead) / len(ahead) ** 0.5


def test_labels_keep_their_type_and_texts_are_read():
    (one,) = mw.FewShotClassifier().fit([[0.0], [5.0]], [7, 9]).which_next([[2.4]])
    assert {one.label, one.runner_up} == {7, 9} and str(one).startswith("row 0: ")
    texts = mw.FewShotClassifier().fit(["cancel it", "refund please"], ["cancel", "refund"])
    assert [one.row for one in texts.which_next(["cancel it", "hello there", "hello you"], 1)] in ([1], [2])


@pytest.mark.parametrize(
    ("X", "n", "words"),
    [
        ([], 1, "there are no rows to choose from: give at least one"),
        (np.zeros((0, 1)), 1, "0 sample"),
        ([[1.0]], 2, "n is 2 and there are 1 rows without a label: give a number from 1 to 1"),
        ([[1.0]], 0, "n is 0 and"),
        ([["x"]], 1, "holds 'x' in column '0', which held numbers"),
    ],
)
def test_what_can_not_be_chosen_from_is_one_sentence(X, n, words):
    with pytest.raises(ValueError, match=words):
        mw.FewShotClassifier().fit([[0.0], [5.0]], ["newt", "toad"]).which_next(X, n)


def test_examples_of_one_class_are_refused():
    few = mw.FewShotClassifier().partial_fit([[0.0], [1.0]], ["newt", "newt"])
    with pytest.raises(ValueError, match="examples of one class, 'newt', so there is no other answer"):
        few.which_next([[0.0]])


EXTREMES = """
import numpy as np
from mapwise.predictors.evidence.label_next import best_to_label
random = np.random.default_rng(0)
rows, labelled, scores = random.normal(size=(60, 3)), random.normal(size=(4, 3)), random.normal(size=(60, 2))
plain = [one.row for one in best_to_label(rows, scores, labelled, "ab", 60)]
for size in (1e200, 1e-200, 1.7e308 / np.abs(rows).max()):
    print([one.row for one in best_to_label(rows * size, scores, labelled * size, "ab", 60)] == plain)
print(len(best_to_label(rows, scores * 1e307, labelled, "ab", 60)) == 60)
print(len(best_to_label(rows * 0, scores * 0, labelled * 0, "ab", 60)) == 60)
for parts in ((0, 0, np.nan), (1, 0, np.nan), (2, 0, np.nan), (0, 0, np.inf), (2, 3, -np.inf)):
    place, row, value = parts
    given = [rows.copy(), scores.copy(), labelled.copy()]
    given[place][row, 0] = value
    try:
        best_to_label(*given, "ab", 5)
    except ValueError as error:
        print(error)
"""


def test_extreme_rows_are_ordered_and_those_that_are_no_numbers_are_named():
    done = measured(EXTREMES)
    assert done.code == 0 and done.err == "", done
    assert done.out.splitlines() == [
        *["True"] * 5,
        "row 0 is NaN or infinite: leave the row out",
        "the score of row 0 is NaN or infinite: leave the row out",
        "labelled row 0 is NaN or infinite: leave the row out",
        "row 0 is NaN or infinite: leave the row out",
        "labelled row 3 is NaN or infinite: leave the row out",
    ]
