"""Sequences that are read and then asked about: their layout, their draws, and that they can be answered."""

import dataclasses

import numpy as np
import pytest
import torch

from mapwise.core.source import TaskSource
from mapwise.tasks.priority_sort import PrioritySort
from mapwise.tasks.repeat_copy import RepeatCopy
from mapwise.tasks.sequences import AssociativeRecall, Copy

SOURCES = [
    Copy(length="1-5", tasks=40),
    AssociativeRecall(items="2-4", tasks=40),
    RepeatCopy(length="1-3", repeats="1-4", tasks=40),
    PrioritySort(items="3-6", highest=3, tasks=40),
]
NAMES = [source.name for source in SOURCES]


def read(task, i):
    """The input of the rows that count and aren't silent, in their order: [R, C]."""
    rows, weight = task.support.x[i], task.support.weight[i]
    return rows[(weight > 0) & (rows[:, -1] == 0)][:, :-1]


def read_answers(task, i):
    """The bits that are due, by the numbers of their answers: {number: bits}."""
    counted = task.query.weight[i] > 0
    numbers = task.query.x[i][counted][:, -1].int().tolist()
    return dict(zip(numbers, task.query.y[i][counted].tolist(), strict=True))


def test_a_sequence_is_copied_after_its_mark():
    source: TaskSource = Copy(length="1-5", width=3, tasks=40)
    task = source(0)
    assert (source.problem.name, source.inputs.shape, source.outputs) == ("multilabel", (5,), 3)
    assert task.support.x.shape == (40, 5 + 1 + 5, 5) and task.query.y.shape == (40, 5, 3)
    lengths = set()
    for i in range(40):
        rows = read(task, i)
        vectors, mark = rows[:-1], rows[-1]
        assert mark.tolist() == [0, 0, 0, 1] and not bool(vectors[:, -1].any())
        assert read_answers(task, i) == {k + 1: bits for k, bits in enumerate(vectors[:, :3].tolist())}
        lengths.add(len(vectors))
    assert lengths == {1, 2, 3, 4, 5}
    assert source.about.shots == "1-5" and source.about.queries == 5 and source.about.ways == ""


def test_the_item_after_the_one_that_is_shown_again_is_recalled():
    source = AssociativeRecall(items="2-4", vectors=2, width=5, tasks=60)
    task = source(3)
    assert source.inputs.shape == (8,) and source.outputs == 5
    assert task.support.x.shape == (60, 4 * 3 + 4 + 2, 8)
    places = set()
    for i in range(60):
        rows = read(task, i)
        count = (len(rows) - 4) // 3
        marks = torch.zeros(len(rows), 2)
        marks[torch.arange(count) * 3, 0] = 1
        marks[[-4, -1], 1] = 1
        assert torch.equal(rows[:, 5:], marks) and not bool(rows[marks.any(1)][:, :5].any())
        items = rows[: 3 * count].reshape(count, 3, 7)[:, 1:, :5]
        answer = torch.tensor([read_answers(task, i)[1], read_answers(task, i)[2]])
        after = [k for k in range(count - 1) if torch.equal(items[k], rows[-3:-1, :5])]
        assert any(torch.equal(items[k + 1], answer) for k in after)
        places.add((count, after[0]))
    assert places == {(2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)}


def test_a_sequence_is_repeated_as_often_as_its_last_row_says_and_then_it_ends():
    source = RepeatCopy(length="1-3", repeats="1-4", width=2, tasks=80)
    task = source(0)
    assert source.inputs.shape == (4,) and source.outputs == 3
    assert task.support.x.shape == (80, 3 + 1 + 3 * 4 + 1, 4)
    drawn = set()
    for i in range(80):
        rows = read(task, i)
        vectors, number = rows[:-1], rows[-1]
        assert not bool(number[:2].any()) and not bool(vectors[:, 2].any())
        repeats = round(float(number[2]) * 8.25**0.5 + 5.5)
        expected = [[*bits, 0.0] for bits in vectors[:, :2].tolist() * repeats] + [[0.0, 0.0, 1.0]]
        assert read_answers(task, i) == {k + 1: bits for k, bits in enumerate(expected)}
        drawn.add((len(vectors), repeats))
    assert drawn == {(length, repeats) for length in (1, 2, 3) for repeats in (1, 2, 3, 4)}
    assert source.about.shots == "1-3 x 1-4" and source.about.queries == 13


def test_a_number_of_repeats_means_the_same_in_every_range():
    shown = {
        repeats: float(RepeatCopy(length="1", repeats=repeats, tasks=1)(0).support.x[0, 1, -2])
        for repeats in ("3", "10", "20")
    }
    assert shown == {repeats: pytest.approx((int(repeats) - 5.5) / 2.8723, abs=1e-4) for repeats in shown}
    usual = RepeatCopy(length="1", tasks=5000)(0).support.x[:, 1, -2]
    assert abs(float(usual.mean())) < 0.05 and float(usual.std()) == pytest.approx(1, abs=0.05)


def test_vectors_of_highest_priority_are_named_from_the_highest_down():
    source = PrioritySort(items="3-6", highest=3, width=4, tasks=60)
    task = source(2)
    assert source.inputs.shape == (7,) and source.outputs == 4 and source.about.queries == 3
    counts, priorities = set(), []
    for i in range(60):
        rows = read(task, i)
        items, mark = rows[:-1], rows[-1]
        assert mark.tolist() == [0, 0, 0, 0, 0, 1] and not bool(items[:, 5].any())
        best = sorted(items.tolist(), key=lambda item: -item[4])[:3]
        assert read_answers(task, i) == {k + 1: item[:4] for k, item in enumerate(best)}
        counts.add(len(items))
        priorities += items[:, 4].tolist()
    assert counts == {3, 4, 5, 6}
    assert -1 <= min(priorities) < -0.9 and 0.9 < max(priorities) <= 1 and abs(np.mean(priorities)) < 0.1
    assert PrioritySort(tasks=1)(0).query.y.shape == (1, 16, 8) and PrioritySort().about.shots == "20"


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_silent_rows_are_numbered_and_tell_nothing(source):
    support, query = source(0)
    silent = support.x[:, :, -1] > 0
    assert not bool(support.x[silent][:, :-1].any()) and not bool(query.x[:, :, :-1].any())
    assert not bool(support.y.any())
    for i in range(source.tasks):
        due = silent[i] & (support.weight[i] > 0)
        # They come last, in their order, and are as many as are asked for.
        assert torch.equal(support.x[i][due][:, -1], query.x[i][query.weight[i] > 0][:, -1])
        assert int(due.nonzero()[0]) > int(((support.weight[i] > 0) & ~silent[i]).nonzero()[-1])


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_padding_is_empty_and_weighs_nothing(source):
    for rows in source(1):
        assert set(rows.weight.unique().tolist()) <= {0.0, 1.0}
        assert not bool(rows.x[rows.weight == 0][:, :-1].any()) and not bool(rows.y[rows.weight == 0].any())
        assert rows.x.dtype == rows.y.dtype == rows.weight.dtype == torch.float32
        assert rows.key.shape == (source.tasks,) and rows.key.dtype == torch.int64


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_a_step_is_always_the_same_batch_and_another_step_seed_or_part_another(source):
    def flat(task):
        return torch.cat([rows.x.flatten() for rows in task])

    first = flat(source(7))
    source(8)
    assert torch.equal(first, flat(dataclasses.replace(source)(7)))
    others = [source(8), dataclasses.replace(source, seed=2)(7), source.split("val")(7), source.split("test")(7)]
    assert len({tuple(flat(task).tolist()) for task in others} | {tuple(first.tolist())}) == 5
    assert source.names(0) == [[]] * 40


def test_bits_and_lengths_are_drawn_evenly():
    task = Copy(length="1-4", tasks=4000)(0)
    length = task.query.weight.sum(1)
    assert np.allclose([float((length == n).float().mean()) for n in (1, 2, 3, 4)], 0.25, atol=0.035)
    assert float(task.query.y[task.query.weight > 0].mean()) == pytest.approx(0.5, abs=0.01)


def test_one_length_needs_no_padding():
    sources = (
        Copy(length="6", tasks=3),
        AssociativeRecall(items="3", tasks=3),
        RepeatCopy(length="2", repeats="3", tasks=3),
        PrioritySort(tasks=3),
    )
    for source in sources:
        assert all(bool((rows.weight == 1).all()) for rows in source(0))


@pytest.mark.parametrize(
    ("make", "settings", "answer"),
    [
        (Copy, {"length": "0"}, "length is '0'"),
        (Copy, {"length": "5-2"}, "length is '5-2'"),
        (Copy, {"length": "long"}, "length is 'long'"),
        (Copy, {"width": 0}, "width is 0"),
        (Copy, {"tasks": 0}, "tasks is 0"),
        (Copy, {"seed": -1}, "seed is -1"),
        (Copy, {"part": "trainval"}, "choose one of train, val, test"),
        (AssociativeRecall, {"items": "1-6"}, "items is '1-6'"),
        (AssociativeRecall, {"vectors": 0}, "vectors is 0"),
        (AssociativeRecall, {"width": -1}, "width is -1"),
        (RepeatCopy, {"length": "0-3"}, "length is '0-3'"),
        (RepeatCopy, {"repeats": "0"}, "repeats is '0'"),
        (RepeatCopy, {"width": 0}, "width is 0"),
        (PrioritySort, {"items": "0"}, "items is '0'"),
        (PrioritySort, {"items": "9-30"}, "highest is 16 and a sequence may have 9 items"),
        (PrioritySort, {"highest": 0}, "highest is 0"),
    ],
)
def test_a_wrong_setting_is_a_one_line_error(make, settings, answer):
    with pytest.raises(ValueError, match=answer) as caught:
        make(**settings)
    assert "\n" not in str(caught.value)
