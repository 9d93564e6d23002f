"""Episodes of spans: K to 2 K spans of each type, with names, in one shape, whatever the corpora are."""

from collections import Counter

import numpy as np
import pytest
import torch

from mapwise.core.tags import spans_of, types_of
from mapwise.data.annotated.read import Corpus, read_annotated, read_corpora
from mapwise.data.annotated.texts import AnnotatedText, Span
from mapwise.encoders.minilm import model_pieces
from mapwise.problems.spans import Spans
from mapwise.tasks.span_episodes import SpanBatches, SpanEpisodes, sample
from mapwise.tasks.span_rows import AnnotatedRows

TYPES = ["PER", "LOC", "creative-work", "ORG", "X", "Y", "Z"]


def corpus(name="news", sentences=200, types=TYPES, parts=True, seed=0):
    """Each sentence has 0 to 4 spans of some types, of one or two words; the words say which."""
    random = np.random.default_rng(seed)
    texts = []
    for number in range(sentences):
        words, spans, at = [], list[Span](), 0
        for _ in range(int(random.integers(0, 5))):
            kind = types[int(random.integers(len(types)))]
            for word in [f"w{number}", *["so"] * int(random.integers(2))]:
                words.append(word)
                at += len(word) + 1
            entity = " ".join([f"{kind[0]}{random.integers(100)}", *["Two"] * int(random.integers(2))])
            spans.append(Span(at, at + len(entity), kind))
            words.append(entity)
            at += len(entity) + 1
        texts.append(AnnotatedText(" ".join([*words, f"end{number}"]), tuple(spans)))
    third = sentences // 3
    ranges = {"train": range(third), "val": range(third, 2 * third), "test": range(2 * third, sentences)}
    origins = tuple(f"line {place} of {name}" for place in range(sentences))
    return Corpus(name, tuple(texts), origins, ranges if parts else {})


@pytest.fixture(scope="module")
def rows():
    return AnnotatedRows.of([corpus()], model_pieces(), 40)


def spans_in(part, task, names):
    """The spans of each row of a task, with their types, in words."""
    kinds = types_of(names)
    result = []
    for y, weight in zip(part.y[task], part.weight[task], strict=True):
        tags = y[weight > 0].argmax(-1).numpy()
        result.append([(first, end, kinds[kind]) for first, end, kind in spans_of(tags)])
    return result


@pytest.mark.parametrize("shots", [1, 2, 5])
@pytest.mark.parametrize("ways", [1, 3, 5])
def test_every_type_has_k_to_twice_k_spans_in_support_and_query(rows, ways, shots):
    source = SpanEpisodes(rows, ways=ways, shots=shots, queries=2, tasks=6)
    for step in range(5):
        task = source(step)
        for place, names in enumerate(source.names(step)):
            types = types_of(names)
            assert len(set(types)) == ways and names[0] == "O"
            for part, first, k in ((task.support, ways, shots), (task.query, 0, 2)):
                counts = Counter(kind for row in spans_in(part, place, names)[first:] for *_, kind in row)
                assert all(k <= counts[kind] <= 2 * k for kind in types), counts


def faulty_sample(random, counts, shots):
    """As the sampler that was released with Few-NERD first: the verdict of the last type of a sentence counts alone."""
    total = np.zeros(counts.shape[1], int)
    while (total < shots).any():
        row = counts[random.integers(len(counts))]
        valid = False
        for kind in np.flatnonzero(row):
            if row[kind] + total[kind] > 2 * shots:
                valid = False
            elif total[kind] < shots:
                valid = True
        if valid:
            total += row
    return total


def test_a_type_never_has_more_than_twice_k_as_it_had_by_the_fault_of_the_released_sampler():
    random = np.random.default_rng(0)
    counts = random.poisson(0.7, (400, 5))
    over = [faulty_sample(random, counts, 1).max() > 2 for _ in range(200)]
    assert np.mean(over) > 0.2
    for _ in range(200):
        total = counts[sample(random, counts, 1, np.arange(400))].sum(0)
        assert total.min() >= 1 and total.max() <= 2


def test_a_support_that_can_t_be_full_is_the_fullest():
    counts = np.array([[1, 3], [3, 1], [1, 0]])
    chosen = sample(np.random.default_rng(0), counts, 1, np.arange(3))
    assert chosen.tolist() == [2]
    assert sample(np.random.default_rng(0), counts, 1, np.arange(0)).tolist() == []


def test_support_and_query_share_no_sentence_and_repeat_by_their_seed(rows):
    source = SpanEpisodes(rows, ways=3, shots=2, tasks=8)
    task, again = source(3), source.with_(tasks=8)(3)
    assert torch.equal(task.support.x["pieces"], again.support.x["pieces"])
    assert torch.equal(task.query.y, again.query.y) and source.names(3) == again_names(source)
    for support, query in zip(task.support.x["pieces"], task.query.x["pieces"], strict=True):
        rows_of = [{tuple(row.tolist()) for row in part if row.any()} for part in (support, query)]
        assert not rows_of[0] & rows_of[1]
    other = source.with_(seed=1)(3)
    assert not torch.equal(task.support.x["pieces"], other.support.x["pieces"])
    assert (task.support.key == task.query.key).all() and len(set(task.support.key.tolist())) == 8


def again_names(source):
    return source.with_(tasks=8).names(3)


def test_names_are_rows_of_the_support(rows):
    source = SpanEpisodes(rows, ways=5, shots=1, tasks=4)
    task = source(0)
    pieces = model_pieces()
    spelled = {"creative-work": "creative work"}
    for place, names in enumerate(source.names(0)):
        assert task.support.x["described"][place].tolist() == [1] * 5 + [0] * 5
        for row, kind in enumerate(types_of(names)):
            words = spelled.get(kind, kind.lower())
            numbers = [pieces.start, *pieces.cut(words), pieces.end]
            assert task.support.x["pieces"][place, row, : len(numbers)].tolist() == numbers
            assert spans_in(task.support, place, names)[row] == [(0, len(words.split()), kind)]
    assert not task.query.x["described"].any()
    without = source.with_(describe=False)(0)
    assert without.support.y.shape[1] == 5 and torch.equal(without.support.y, task.support.y[:, 5:])


def test_padding_is_nought_and_words_count_once(rows):
    task = SpanEpisodes(rows, ways=3, shots=2, tasks=4)(0)
    for part in task:
        pieces, cases, weight = part.x["pieces"], part.x["cases"], part.weight
        assert part.y.shape == (*weight.shape, 7) and set(weight.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(part.y.sum(-1), weight), "one tag for each word, and none elsewhere"
        assert torch.equal(part.x["starts"], weight.long())
        assert (weight[pieces == 0] == 0).all() and (cases[pieces == 0] == 0).all()
        assert (pieces < rows.vocabulary).all() and (cases < 7).all()
        empty = (pieces == 0).all(-1)
        assert (weight[empty] == 0).all() and pieces.dtype == cases.dtype == part.x["described"].dtype == torch.int64
    source = SpanEpisodes(rows, ways=3, shots=2, tasks=4)
    assert {name: spec.shape for name, spec in source.inputs.items()} == {
        "pieces": (40,), "cases": (40,), "starts": (40,), "described": ()
    }  # fmt: skip
    assert source.outputs == 7 and source.problem == Spans()


def test_spans_of_other_types_are_outside(rows):
    source = SpanEpisodes(rows, ways=1, shots=2, tasks=30)
    task = source(0)
    assert any(
        len(row) < 3 and float(task.support.weight[place, 1 + i].sum()) > 6
        for place, names in enumerate(source.names(0))
        for i, row in enumerate(spans_in(task.support, place, names)[1:])
    )
    assert task.support.y.shape[-1] == 3


def test_parts_of_a_corpus_are_its_splits(rows):
    texts = corpus().texts
    source = SpanEpisodes(rows, ways=5, shots=1)
    for part, places in (("train", range(66)), ("val", range(66, 132)), ("test", range(132, 200)), ("all", range(200))):
        split = source.split(part)
        assert [texts[place].text for place in split.splits[0].rows] == [texts[place].text for place in places]
        assert split.about.split == part and split.class_counts == (7, 7)


def test_a_single_file_is_split_by_types_and_by_sentences():
    one = corpus(parts=False)
    source = SpanEpisodes(AnnotatedRows.of([one], model_pieces(), 40), ways=2, shots=1, tasks=8)
    seen, sentences = {}, {}
    for part in ("train", "val", "test"):
        split = source.split(part)
        seen[part] = {kind for step in range(5) for names in split.names(step) for kind in types_of(names) if kind}
        sentences[part] = set(split.splits[0].rows.tolist())
    assert [len(seen[part]) for part in ("train", "val", "test")] == [2 + 3, 1, 1]
    assert not any(seen[a] & seen[b] or sentences[a] & sentences[b] for a, b in [("train", "val"), ("val", "test")])
    assert len(set.union(*sentences.values())) == 200 and source.class_counts == (5, 7)
    assert source.split("val").about.ways == "1" and source.split("val").names(0)[0][3:] == ["", ""]
    assert source.split("val").outputs == 5, "one shape for all splits"


def test_an_episode_is_of_one_corpus_and_smaller_corpora_have_absent_types():
    corpora = [corpus("a", types=["P", "Q", "R", "S"]), corpus("b", types=["M", "N"], seed=1)]
    source = SpanEpisodes(AnnotatedRows.of(corpora, model_pieces(), 40), ways=3, tasks=40)
    kinds = [{kind for kind in types_of(names) if kind} for names in source.names(0)]
    assert all(of_task <= set("PQRS") or of_task == set("MN") for of_task in kinds)
    assert {len(of_task) for of_task in kinds} == {2, 3}
    assert source.about.ways == "2-3" and source.about.source == "a, b" and source.outputs == 7
    task = source(0)
    absent = torch.tensor([len(of_task) == 2 for of_task in kinds])
    assert not task.support.y[absent][..., 5:].any() and not task.support.weight[absent][:, 2].any()


def test_long_repeated_and_rare_are_left_out_and_remarked():
    texts = [AnnotatedText(f"Anna met Bob{i}", (Span(0, 4, "PER"),)) for i in range(9)]
    texts += [texts[0], AnnotatedText("so " * 50), AnnotatedText("in Rome", (Span(3, 7, "LOC"),))]
    rows = AnnotatedRows.of([Corpus("tiny", tuple(texts), ("",) * 12, {"train": range(12)})], model_pieces(), 20)
    source = SpanEpisodes(rows, ways=2, shots=1)
    assert list(source.remarks) == [
        "1 of 12 sentences of tiny repeat another and are left out",
        "1 of 11 sentences of tiny are longer than 20 pieces",
        "tiny has no part to validate on: a tenth of its training sentences does",
        "1 of the train types of tiny have too few spans for an episode and are left out",
    ]
    assert source.names(0)[0] == ["O", "B-PER", "I-PER", "", ""]
    whole = AnnotatedRows.of([Corpus("tiny", tuple(texts), ("",) * 12)], model_pieces(), None)
    assert whole.length == 52


def test_batches_hold_every_sentence_once_an_epoch(rows):
    source = SpanBatches(SpanEpisodes(rows, tasks=2, seed=5), batch=11)
    epoch = Counter()
    for step in range(3):
        task = source(step)
        assert task.support.y.shape == (2, 7, 40, 15) and (task.support.x["described"] == 1).all()
        assert task.query.y.shape == (2, 11, 40, 15) and not task.query.x["described"].any()
        assert (task.query.weight.sum(-1) > 0).all()
        epoch.update(tuple(row.tolist()) for row in task.query.x["pieces"].flatten(0, 1))
    assert len(epoch) == 66 and set(epoch.values()) == {1}
    assert types_of(source.names(0)[0]) == sorted(TYPES) and source.names(0)[0] == source.names(9)[1]
    val = source.split("val").with_(tasks=1, batch=4)
    assert val(0).query.y.shape == (1, 4, 40, 15) and val.about.split == "val" and val.about.shots == "0"
    assert torch.equal(source(7).query.y, source(7).query.y)


def test_batches_of_several_corpora_come_as_often_as_the_corpora_are_large():
    corpora = [corpus("a", types=["P", "Q", "R", "S"]), corpus("b", types=["M", "N"], seed=1)]
    source = SpanBatches(SpanEpisodes(AnnotatedRows.of(corpora, model_pieces(), 40), tasks=2), batch=8)
    batches = [-(-len(table.split("train").rows) // 8) for table in source.episodes.rows.corpora]
    names = [types_of(of_task) for step in range(sum(batches)) for of_task in source.names(step)]
    for epoch in (names[: sum(batches)], names[sum(batches) :]):
        assert [epoch.count(types) for types in (["P", "Q", "R", "S"], ["M", "N", "", ""])] == batches
    assert names[: sum(batches)] != names[sum(batches) :]
    assert source.outputs == 9 and source(0).query.y.shape == (2, 8, 40, 9) and source.about.ways == "2-4"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ways": 0}, "ways is 0"),
        ({"shots": 0}, "shots is 0"),
        ({"queries": 0}, "queries is 0"),
        ({"tasks": 0}, "tasks is 0"),
        ({"ways": (2, 3)}, "ways is"),
        ({"seed": -1}, "seed is -1"),
        ({"shots": 10_000}, "no type of news has 20000 spans"),
        ({"part": "nowhere"}, "no split 'nowhere'"),
        ({"device": "moon"}, "device is 'moon'"),
    ],
)
def test_settings_that_can_t_be_are_one_sentence(rows, change, sentence):
    with pytest.raises(ValueError) as error:
        SpanEpisodes(rows).with_(**change)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_corpora_that_can_t_be_are_one_sentence():
    one = corpus()
    for corpora, length, sentence in (
        ([], 40, "no corpus"),
        ([Corpus("bare", (AnnotatedText("x"),), ("",))], 40, "no annotated span"),
        ([one, one], 40, "two corpora are called 'news'"),
        ([one], 3, "longer than 3 pieces"),
        ([one], 2, "length is 2"),
    ):
        with pytest.raises(ValueError, match=sentence):
            AnnotatedRows.of(corpora, model_pieces(), length)


def test_real_corpora_have_episodes_in_every_split(shared_data):
    rows = AnnotatedRows.of(
        [*read_corpora(shared_data / "crossner"), read_annotated(shared_data / "wnut17")], model_pieces()
    )
    for part in ("train", "val", "test"):
        source = SpanEpisodes(rows, ways=5, shots=2, part=part, tasks=30)
        task = source(0)
        for place, names in enumerate(source.names(0)):
            counts = Counter(kind for row in spans_in(task.query, place, names) for *_, kind in row)
            assert max(counts.values()) <= 4 and set(counts) <= set(types_of(names))
