"""Episodes: pure functions of seed and step, disjoint, padded, and drawn evenly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mapwise.data.rows import LabelledRows, deal
from mapwise.tasks.augment import augmentation
from mapwise.tasks.episodes import Episodes, without_replacement


def numbered(sizes: list[int], splits: dict[str, list[str]] | None = None) -> LabelledRows:
    """Rows whose value is their place in the array."""
    names = [f"c{i:03d}" for i in range(len(sizes))]
    labels = [name for name, size in zip(names, sizes, strict=True) for _ in range(size)]
    everything = {"train": names, "val": names, "test": names}
    return LabelledRows.of(np.arange(len(labels), dtype=np.float32)[:, None], labels, splits=splits or everything)


def values(examples, task: int) -> list[int]:
    weighted = examples.weight[task] > 0
    return examples.x[task, weighted, 0].long().tolist()


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.lists(st.integers(7, 30), min_size=4, max_size=9))
def test_support_and_query_never_share_a_row_and_every_row_is_of_its_class(seed, step, sizes):
    source = Episodes(numbered(sizes), ways=4, shots=3, queries=4, tasks=5, seed=seed)
    task, names = source(step), source.names(step)
    for t in range(5):
        support, query = values(task.support, t), values(task.query, t)
        assert len(set(support + query)) == 4 * 7
        assert len(set(names[t])) == 4
        for examples, result in ((task.support, support), (task.query, query)):
            for value, column in zip(result, examples.y[t].argmax(1).tolist(), strict=True):
                c = source.rows.names.index(names[t][column])
                assert source.rows.starts[c] <= value < source.rows.starts[c + 1]


def test_the_same_seed_and_step_give_the_same_bits_and_any_other_do_not():
    one, again, other = (Episodes(numbered([9] * 12), tasks=4, seed=seed) for seed in (3, 3, 4))
    late = one(1000)
    for a, b in zip(one(7), again(7), strict=True):
        assert all(torch.equal(left, right) for left, right in zip(a, b, strict=True))
    assert torch.equal(one(1000).query.x, late.query.x) and torch.equal(one(1000).query.key, late.query.key)
    for different in (one(8), other(7)):
        assert not torch.equal(one(7).support.x, different.support.x)
        assert not torch.equal(one(7).support.key, different.support.key)


def test_drawn_ways_and_shots_are_padded_with_absent_classes_and_rows_of_weight_zero():
    source = Episodes(numbered([20] * 10), ways=(2, 6), shots=(1, 4), queries=5, tasks=200)
    task, names = source(0), source.names(0)
    assert task.support.x.shape == (200, 24, 1) and task.query.x.shape == (200, 30, 1)
    ways, shots = set(), set()
    for t in range(200):
        present = [i for i, name in enumerate(names[t]) if name]
        assert present == list(range(len(present)))
        per_class = task.support.y[t].sum(0)
        assert set(per_class[: len(present)].tolist()) == {per_class[0].item()}
        assert per_class[len(present) :].sum() == 0
        assert task.query.y[t].sum(0).tolist() == [5.0] * len(present) + [0.0] * (6 - len(present))
        ways.add(len(present))
        shots.add(int(per_class[0]))
    for part in task:
        assert torch.equal(part.y.sum(2), part.weight)
        assert set(part.weight.unique().tolist()) == {0.0, 1.0}
    assert ways == {2, 3, 4, 5, 6} and shots == {1, 2, 3, 4}
    assert (source.about.ways, source.about.shots, source.outputs) == ("2-6", "1-4", 6)


def test_classes_of_unequal_size_give_all_their_rows():
    source = Episodes(numbered([6, 40, 11]), ways=3, shots=1, queries=2, tasks=400)
    task = source(0)
    seen = set(task.support.x.flatten().long().tolist()) | set(task.query.x.flatten().long().tolist())
    assert seen == set(range(57))


def test_the_default_number_of_queries_is_what_the_smallest_class_leaves_and_fifteen_at_most():
    assert Episodes(numbered([9, 30]), ways=2, shots=4).queries_per_class == 5
    assert Episodes(numbered([40, 30]), ways=2, shots=4).queries_per_class == 15
    splits = {"train": ["c000", "c001"], "val": ["c002", "c003"], "test": ["c004", "c005"]}
    source = Episodes(numbered([40, 40, 8, 9, 3, 7], splits), ways=2)
    assert [source.split(part).queries_per_class for part in ("train", "val", "test")] == [15, 7, 2]


def chi_square(counts: np.ndarray) -> float:
    """The statistic in standard deviations above its mean."""
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


def test_every_class_and_every_row_is_drawn_equally_often():
    source = Episodes(numbered([20] * 30), ways=(2, 5), shots=1, queries=3, tasks=2000)
    rows, first, classes = np.zeros(600), np.zeros(600), np.zeros(30)
    for step in range(10):
        task = source(step)
        for part in task:
            drawn = part.x[..., 0][part.weight > 0].long().numpy()
            np.add.at(rows, drawn, 1)
        np.add.at(first, task.support.x[..., 0][task.support.weight > 0].long().numpy(), 1)
        for names in source.names(step):
            for name in filter(None, names):
                classes[int(name[1:])] += 1
    # Draws without replacement vary less than independent ones, so only the upper tail condemns; whole
    # classes come together, so rows are judged within their class.
    assert chi_square(classes) < 4
    assert np.mean([chi_square(of_class) for of_class in first.reshape(30, 20)]) < 1
    assert np.mean([chi_square(of_class) for of_class in rows.reshape(30, 20)]) < 1
    assert rows.min() > 0.8 * rows.mean()


@given(st.integers(0, 2**32), st.lists(st.integers(3, 12), min_size=1, max_size=6), st.integers(1, 3))
def test_distinct_numbers_are_distinct_and_below_their_size(seed, sizes, k):
    drawn = without_replacement(np.random.default_rng(seed), np.asarray(sizes), k)
    assert drawn.shape == (len(sizes), k)
    for row, size in zip(drawn, sizes, strict=True):
        assert len(set(row.tolist())) == k and row.min() >= 0 and row.max() < size


def test_distinct_pairs_come_in_every_order_equally_often():
    drawn = without_replacement(np.random.default_rng(0), np.full(60_000, 4), 2)
    counts = np.bincount(drawn[:, 0] * 4 + drawn[:, 1], minlength=16)
    ordered = counts[[i for i in range(16) if i // 4 != i % 4]]
    assert counts.sum() == ordered.sum()
    assert chi_square(ordered) < 4


def test_only_training_rows_are_augmented():
    rows = LabelledRows.of(
        np.random.default_rng(0).integers(0, 256, (120, 1, 14, 14), dtype=np.uint8), [f"c{i % 12}" for i in range(120)]
    )
    augmented = Episodes(rows, ways=2, queries=2, part="train", augment=augmentation(["shift", "flip"]))
    plain = Episodes(rows, ways=2, queries=2, part="train")
    assert not torch.equal(augmented(0).support.x, plain(0).support.x)
    assert torch.equal(augmented(0).support.x, augmented(0).support.x)
    assert augmented.split("train").augment is augmented.augment
    for part in ("val", "test"):
        assert augmented.split(part).augment is None
        assert torch.equal(augmented.split(part)(0).query.x, plain.split(part)(0).query.x)


def test_bytes_are_scaled_to_one_when_gathered_and_stay_bytes_at_rest():
    rows = LabelledRows.of(np.full((12, 3), 255, np.uint8), ["a", "b"] * 6)
    assert rows.x.dtype == np.uint8
    task = Episodes(rows, ways=2, queries=2)(0)
    assert task.support.x.dtype == torch.float32 and torch.equal(task.query.x, torch.ones_like(task.query.x))


def test_dealt_classes_cover_everything_once_and_leave_no_split_empty():
    for classes in range(3, 40):
        dealt = deal(classes, seed=classes)
        assert sorted(np.concatenate(list(dealt.values())).tolist()) == list(range(classes))
        assert all(len(chosen) for chosen in dealt.values())
    assert deal(20, 0)["train"].tolist() != deal(20, 1)["train"].tolist()


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"shots": 4, "queries": 4}, r"class 'c001' has 7 rows, and 4 shots \+ 4 queries need 8: lower shots"),
        ({"shots": 7}, r"class 'c001' has 7 rows, and 7 shots \+ 1 queries need 8"),
        ({"ways": 9}, "ways is 9 and the train split of arrays has 4 classes: lower ways to at most 4"),
        ({"ways": (2, 9)}, "ways is 9"),
        ({"ways": 1}, "ways is 1: at least 2 classes"),
        ({"ways": (3, 2)}, r"ways is \(3, 2\): give a number from 1 up, or a range"),
        ({"shots": 0}, "shots is 0: give a number from 1 up"),
        ({"part": "dev"}, "no split 'dev': choose one of train, val, test"),
    ],
)
def test_tasks_that_cannot_be_cut_are_refused_in_a_sentence(settings, answer):
    with pytest.raises(ValueError, match=answer) as refused:
        Episodes(numbered([9, 7, 9, 9]), **({"ways": 3} | settings))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_arrays_with_nan_or_infinity_are_refused_with_their_row(bad):
    x = np.zeros((6, 2))
    x[4, 1] = bad
    with pytest.raises(ValueError, match=r"NaN or infinity, first in row 4 \(1 of 6 rows\)"):
        LabelledRows.of(x, list("aabbcc"))


def test_labels_that_do_not_align_or_name_one_class_are_refused():
    with pytest.raises(ValueError, match="there are 6 rows and 5 labels: give one label for each row"):
        LabelledRows.of(np.zeros((6, 2)), list("aabbc"))
    with pytest.raises(ValueError, match="the labels name only one"):
        LabelledRows.of(np.zeros((3, 2)), list("aaa"))


def test_shuffled_labels_keep_the_rows_and_deal_every_class_equally_often():
    rows = numbered([20] * 10)
    plain = Episodes(rows, ways=5, shots=2, tasks=2000)
    dealt = Episodes(rows, ways=5, shots=2, tasks=2000, shuffle_labels=True)
    true, shuffled = plain(0), dealt(0)
    assert torch.equal(true.support.x, shuffled.support.x) and torch.equal(true.query.y, shuffled.query.y)
    assert torch.equal(true.support.y.sum(1), shuffled.support.y.sum(1))
    same = (true.support.y * shuffled.support.y).sum(-1).mean()
    assert abs(float(same) - 0.2) < 0.01  # one in five by chance


def test_a_learner_falls_to_chance_when_the_labels_are_shuffled():
    from torch import nn

    from mapwise.core.estimate import Estimate
    from mapwise.engine.evaluate import episode_values
    from mapwise.learners.metric.protonet import ProtoNet

    random = np.random.default_rng(0)
    x = (np.arange(10)[:, None, None] * 10 + random.normal(size=(10, 20, 1))).reshape(200, 1)
    rows = LabelledRows.of(x, np.repeat(np.arange(10), 20), splits={"train": [str(c) for c in range(10)]})
    learner = ProtoNet(encoder=nn.Flatten())
    model = Estimate.of(episode_values(learner, {}, Episodes(rows, tasks=100), 500))
    fooled = Estimate.of(episode_values(learner, {}, Episodes(rows, tasks=100, shuffle_labels=True), 500))
    assert model.mean > 0.99
    assert abs(fooled.mean - 0.2) < 2 * fooled.ci95


def described(ways: int = 3, **settings) -> Episodes:
    """Rows, and two descriptions of each class whose values are the class's number times ten, and one more."""
    rows = numbered([6] * 8)
    values = np.array([10 * c + i for c in range(8) for i in range(2)], np.float32)[:, None]
    texts = LabelledRows.of(-values - 1, [name for name in rows.names for _ in range(2)])
    return Episodes(rows, ways=ways, tasks=4, descriptions=texts, **settings)


def test_a_described_task_has_descriptions_for_support_and_any_rows_for_queries():
    source = described(shots=2, queries=6)  # every row of a class may be asked
    task, names = source(3), source.names(3)
    for t in range(4):
        for column, name in enumerate(names[t]):
            c = source.rows.names.index(name)
            of_class = task.support.y[t, :, column] > 0
            assert sorted(task.support.x[t, of_class, 0].tolist()) == [-10 * c - 2, -10 * c - 1]
            numbers = task.query.x[t, task.query.y[t, :, column] > 0, 0].tolist()
            assert sorted(numbers) == list(range(int(source.rows.starts[c]), int(source.rows.starts[c + 1])))
    assert source.about.source == "arrays by descriptions" and source.split("test").descriptions is not None
    assert all(torch.equal(a, b) for a, b in zip(source(3).support, task.support, strict=True))


def test_descriptions_do_not_decide_which_classes_are_drawn_of_others():
    assert described(shots=1, queries=2).names(5) == described(shots=2, queries=2).names(5)


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"shots": 3}, "shots is 3 and a class has 2 descriptions: lower shots to 2"),
        ({"queries": 7}, "class 'c000' has 6 rows, and 7 queries need 7: lower shots or queries"),
    ],
)
def test_too_few_descriptions_or_rows_are_refused(settings, answer):
    with pytest.raises(ValueError, match=answer):
        described(**settings)


def test_descriptions_of_other_classes_or_of_another_shape_are_refused():
    source = described()
    fewer = LabelledRows.of(np.zeros((2, 1), np.float32), ["c000", "c001"])
    with pytest.raises(ValueError, match="the descriptions are of other classes than the rows"):
        source.with_(descriptions=fewer)
    wide = LabelledRows.of(np.zeros((8, 2), np.float32), source.rows.names)
    with pytest.raises(ValueError, match=r"a description has shape \(2,\) and a row \(1,\): embed both"):
        source.with_(descriptions=wide)
