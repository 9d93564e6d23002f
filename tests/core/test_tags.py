"""Tags and spans say the same, strictly."""

from itertools import product

import numpy as np
import pytest
import torch

from mapwise.core.chain import BARRED, best_path
from mapwise.core.tags import allowed, spans_of, tag_names, tags_of, types_of

O, B, I, B2, I2 = range(5)  # noqa: E741 (the scheme's own letters)


def test_columns_are_named_in_pairs():
    names = tag_names(["PER", "", "LOC"])
    assert names == ["O", "B-PER", "I-PER", "", "", "B-LOC", "I-LOC"]
    assert types_of(names) == ["PER", "", "LOC"]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ([], []),
        ([O, O], []),
        ([B], [(0, 1, 0)]),
        ([B, I, I], [(0, 3, 0)]),
        ([B, B], [(0, 1, 0), (1, 2, 0)]),
        ([B, I, O, B2, I2], [(0, 2, 0), (3, 5, 1)]),
        ([I, I], []),
        ([B, I2, I2], [(0, 1, 0)]),
        ([B, I2, I], [(0, 1, 0)]),
        ([B, O, I], [(0, 1, 0)]),
        ([B2, I2, B, I], [(0, 2, 1), (2, 4, 0)]),
    ],
)
def test_spans_are_read_strictly(tags, spans):
    assert spans_of(tags) == spans
    assert spans_of(np.array(tags, np.int32)) == spans


def test_spans_written_as_tags_are_read_back():
    random = np.random.default_rng(0)
    for _ in range(300):
        edges = np.sort(random.choice(21, size=2 * random.integers(0, 6), replace=False)).tolist()
        spans = [(first, end, int(random.integers(3))) for first, end in zip(edges[::2], edges[1::2], strict=True)]
        tags = tags_of(spans, 20)
        assert len(tags) == 20 and spans_of(tags) == spans


def test_what_is_allowed_is_what_the_strict_reading_keeps():
    transitions, start = allowed(2)
    assert transitions.dtype == start.dtype == torch.float32
    assert set(transitions.unique().tolist()) == {BARRED, 0.0}
    for tags in product(range(5), repeat=3):
        moves = [start[tags[0]], transitions[tags[0], tags[1]], transitions[tags[1], tags[2]]]
        whole = bool((tags_of(spans_of(tags), 3) == np.array(tags)).all())
        assert whole == (sum(float(move) for move in moves) == 0)


def test_a_task_without_types_has_one_tag():
    transitions, start = allowed(0)
    assert transitions.shape == (1, 1) and transitions[0, 0] == start[0] == 0 and tag_names([]) == ["O"]


def test_the_best_allowed_path_of_any_scores_is_whole():
    scores = torch.randn(50, 12, 7, generator=torch.Generator().manual_seed(1))
    for path in best_path(scores, *allowed(3), torch.ones(50, 12)).numpy():
        assert (tags_of(spans_of(path), 12) == path).all()
