"""SupervisedSource: every training row once an epoch, in one task of all base classes."""

import numpy as np
import pytest
import torch

from mapwise.data.rows import LabelledRows
from mapwise.tasks.augment import augmentation
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.supervised import SupervisedSource


def episodes(seed: int = 0, **settings) -> Episodes:
    sizes = [5, 9, 6, 7, 8, 6, 6]
    labels = [f"c{c}" for c, size in enumerate(sizes) for _ in range(size)]
    x = np.arange(len(labels), dtype=np.float32)[:, None]  # a row's value is its place
    splits = {"train": ["c4", "c0", "c1"], "val": ["c2", "c3"], "test": ["c5", "c6"]}
    rows = LabelledRows.of(x, labels, splits=splits)
    return Episodes(rows, ways=2, shots=1, queries=2, tasks=3, seed=seed, **settings)


def test_a_step_is_one_task_of_all_base_classes_without_support():
    source = SupervisedSource(episodes(), batch=4)
    task = source(0)
    assert source.outputs == 3 and source.inputs.shape == (1,) and source.problem.name == "classification"
    assert task.support.x.shape == (1, 0, 1) and task.support.y.shape == (1, 0, 3)
    assert task.support.weight.shape == (1, 0) and task.support.key.shape == (1,)
    assert task.query.x.shape == (1, 4, 1) and task.query.y.shape == (1, 4, 3)
    assert torch.equal(task.query.weight, torch.ones(1, 4))
    assert source.names(0) == [["c4", "c0", "c1"]]
    assert (source.about.ways, source.about.shots, source.about.queries) == ("3", "0", 4)


def test_a_row_comes_with_its_own_class():
    source = SupervisedSource(episodes(), batch=22)
    query = source(3).query
    names = source.names(3)[0]
    rows = source.episodes.rows
    for value, column in zip(query.x[0, :, 0].long().tolist(), query.y[0].argmax(1).tolist(), strict=True):
        c = rows.names.index(names[column])
        assert rows.starts[c] <= value < rows.starts[c + 1]


@pytest.mark.parametrize("batch", [1, 5, 11, 22, 50])
def test_every_training_row_comes_once_an_epoch_whatever_the_batch(batch):
    source = SupervisedSource(episodes(), batch=batch)
    seen = torch.cat([source(step).query.x[0, :, 0] for step in range(3 * 22 // batch + 1)])[: 3 * 22].reshape(3, 22)
    expected = sorted([*range(14), *range(27, 35)])  # classes c0, c1 and c4
    assert all(sorted(epoch.tolist()) == expected for epoch in seen)
    assert not torch.equal(seen[0], seen[1])


def test_a_batch_is_a_pure_function_of_seed_and_step():
    one, again, other = (SupervisedSource(episodes(seed), batch=6) for seed in (0, 0, 1))
    late = one(40).query.x
    for step in (0, 1, 40):
        assert torch.equal(one(step).query.x, again(step).query.x)
        assert torch.equal(one(step).query.key, again(step).query.key)
    assert torch.equal(one(40).query.x, late)
    assert not torch.equal(one(0).query.x, other(0).query.x)
    assert one(0).query.key != one(1).query.key


def test_other_splits_are_few_shot_episodes_of_classes_never_trained_on():
    source = SupervisedSource(episodes(), batch=4)
    assert source.split("train") is source
    for name in ("val", "test"):
        part = source.split(name)
        assert isinstance(part, Episodes) and part.part == name
        assert not {n for names in part.names(0) for n in names} & set(source.names(0)[0])
        assert part(0).support.x.shape == (3, 2, 1)
    with pytest.raises(ValueError, match="no split 'dev'"):
        source.split("dev")


def test_training_batches_are_augmented_and_other_splits_are_not():
    rows = LabelledRows.of(
        np.random.default_rng(0).integers(0, 256, (40, 1, 12, 12), dtype=np.uint8),
        [f"c{i % 4}" for i in range(40)],
        splits={"train": ["c0", "c1"], "val": ["c2", "c3"], "test": ["c2", "c3"]},
    )
    few = Episodes(rows, ways=2, queries=2, tasks=1, augment=augmentation(["shift"]))
    plain = Episodes(rows, ways=2, queries=2, tasks=1)
    source, bare = SupervisedSource(few, batch=8), SupervisedSource(plain, batch=8)
    assert not torch.equal(source(0).query.x, bare(0).query.x)
    assert torch.equal(source(0).query.x, SupervisedSource(few, batch=8)(0).query.x)
    assert torch.equal(source.split("val")(0).query.x, bare.split("val")(0).query.x)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="batch is 0"):
        SupervisedSource(episodes(), batch=0)
