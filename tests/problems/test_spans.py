"""Spans are judged as seqeval judges them, within rows, and only whole."""

import json

import numpy as np
import pytest
import torch
from rich.console import Console
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2, IOBES

import mapwise as mw
from mapwise.core.problem import Answers
from mapwise.core.source import About
from mapwise.core.tags import spans_of, tag_names, tags_of
from mapwise.core.task import Examples
from mapwise.engine.results import Findings, Protocol, Report
from mapwise.problems import PROBLEMS
from mapwise.problems.spans import SpanScores, bootstrap_interval, entity_scores
from mapwise.report import table
from mapwise.report.run_page import run_page, run_summary

SPANS = mw.Spans()
NAMES = tag_names(["X", "Y", "Z"])


def random_spans(random, length=14):
    edges = np.sort(random.choice(length + 1, size=2 * random.integers(0, 4), replace=False)).tolist()
    return [(a, b, int(random.integers(3))) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def iobes(spans, length=14):
    tags = ["O"] * length
    for first, end, kind in spans:
        name = "XYZ"[kind]
        tags[first:end] = [f"I-{name}"] * (end - first)
        tags[first], tags[end - 1] = f"B-{name}", f"E-{name}"
        if end == first + 1:
            tags[first] = f"S-{name}"
    return tags


def named(spans):
    return [(first, end, "XYZ"[kind]) for first, end, kind in spans]


def near(random, spans):
    """Some of the spans, some of another type, and some others."""
    draws = [(a, b, kind if random.random() < 0.8 else int(random.integers(3))) for a, b, kind in spans]
    return draws if random.random() < 0.6 else random_spans(random)


@pytest.mark.filterwarnings("ignore:.*ill-defined.*")
@pytest.mark.parametrize("scheme", [IOB2, IOBES])
def test_numbers_are_those_of_seqeval_in_strict_mode(scheme):
    random = np.random.default_rng(0)
    for case in range(500):
        count = int(random.integers(1, 5))
        true = [random_spans(random) for _ in range(count)]
        if scheme is IOB2 and case % 2:  # tags that no reading keeps whole
            rows = random.integers(0, 7, (count, 14))
            predicted, tags = [spans_of(row) for row in rows], [[NAMES[tag] for tag in row] for row in rows]
        else:
            predicted = [near(random, spans) for spans in true]
            tags = [
                iobes(spans) if scheme is IOBES else [NAMES[tag] for tag in tags_of(spans, 14)] for spans in predicted
            ]
        truth = [iobes(spans) if scheme is IOBES else [NAMES[tag] for tag in tags_of(spans, 14)] for spans in true]
        scores = entity_scores(list(map(named, true)), list(map(named, predicted)))
        for name, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            for average, ours in (("micro", getattr(scores.all, name)), ("macro", None)):
                if not scores.types and average == "macro":
                    continue  # a mean over no types
                theirs = function(truth, tags, average=average, mode="strict", scheme=scheme, zero_division=0)
                if ours is None:
                    ours = np.mean([getattr(part, name) for part in scores.types.values()] or [0.0])
                assert ours == pytest.approx(theirs, abs=1e-12), (case, name, average)
        if scores.types:
            by_type = classification_report(
                truth, tags, mode="strict", scheme=scheme, output_dict=True, zero_division=0
            )
            for name, part in scores.types.items():
                assert part.f1 == pytest.approx(by_type[name]["f1-score"], abs=1e-12)
                assert part.true == by_type[name]["support"]


def test_nothing_true_and_nothing_predicted_is_nought():
    assert entity_scores([[]], [[]]).all == SpanScores(0.0, 0.0, 0.0, 0, 0, 0)
    assert entity_scores([], []).macro_f1 == 0
    with pytest.raises(ValueError, match="true spans of 1 texts and predicted ones of 2"):
        entity_scores([[]], [[], []])


def test_the_interval_covers_as_often_as_it_says():
    """Texts of one span, predicted with probability 0.7: the F1 of all texts is 2 p / (1 + p)."""
    random = np.random.default_rng(0)
    p, inside = 0.7, 0
    for case in range(200):
        hits = random.random(150) < p
        true = [[(0, 1, "X")] for _ in hits]
        low, high = bootstrap_interval(true, [[(0, 1, "X")] * int(hit) for hit in hits], resamples=400, seed=case)
        inside += low <= 2 * p / (1 + p) <= high
    assert 180 <= inside <= 199
    assert bootstrap_interval(true, true) == (1.0, 1.0)
    assert bootstrap_interval([[]], [[]]) == (0.0, 0.0)
    with pytest.raises(ValueError, match="no texts"):
        bootstrap_interval([], [])
    with pytest.raises(ValueError, match="resamples is 0"):
        bootstrap_interval(true, true, resamples=0)


def test_the_interval_is_that_of_resampled_texts():
    random = np.random.default_rng(1)
    true = [named(random_spans(random)) for _ in range(30)]
    predicted = [spans if random.random() < 0.6 else spans[:1] for spans in true]
    low, high = bootstrap_interval(true, predicted, resamples=3000, seed=3)
    values = []
    for _ in range(3000):
        places = random.integers(0, 30, 30)
        values.append(entity_scores([true[i] for i in places], [predicted[i] for i in places]).all.f1)
    assert np.allclose([low, high], np.percentile(values, [2.5, 97.5]), atol=0.02)
    assert (low, high) == bootstrap_interval(true, predicted, resamples=3000, seed=3)


def answers(true, predicted, *, pieces=2, padding=3):
    """The answers of one task for rows of spans of 14 words, `pieces` a word, with padding."""
    length = 14 * pieces + padding
    y, scores = torch.zeros(1, len(true), length, 7), torch.randn(1, len(true), length, 7)
    weight = torch.zeros(1, len(true), length)
    for row, (here, there) in enumerate(zip(true, predicted, strict=True)):
        for word, (tag, other) in enumerate(zip(tags_of(here, 14), tags_of(there, 14), strict=True)):
            y[0, row, word * pieces, tag] = 1
            scores[0, row, word * pieces] = 9 * torch.eye(7)[other]
            weight[0, row, word * pieces] = 1
    rows = Examples(torch.zeros(1, len(true), length), y, weight, torch.zeros(1, dtype=torch.int64))
    return Answers.of(scores, rows, [NAMES])


def test_an_episode_is_the_f1_of_all_its_spans():
    random = np.random.default_rng(2)
    for _ in range(30):
        true = [random_spans(random) for _ in range(4)]
        predicted = [near(random, spans) for spans in true]
        expected = entity_scores(list(map(named, true)), list(map(named, predicted)))
        result = answers(true, predicted)
        (value,) = SPANS.episode_values(result)
        assert value == pytest.approx(expected.all.f1, abs=1e-12)
        figures = SPANS.figures([SPANS.tally(result, None)] * 2)
        assert figures["precision"] == pytest.approx(expected.all.precision)
        assert figures["micro_f1"] == pytest.approx(expected.all.f1)
        assert figures["spans"] == {name: 2 * getattr(expected.all, name) for name in ("true", "predicted", "correct")}
        for name, part in expected.types.items():
            assert figures["types"][name]["f1"] == pytest.approx(part.f1)


def test_spans_end_with_their_row():
    true = [[(13, 14, 0)], [(0, 2, 0)]]
    whole = answers(true, true, pieces=1, padding=0)
    assert whole.tokens == 14 and SPANS.episode_values(whole).tolist() == [1.0]
    # Run together, the second row would continue the first.
    inside = whole.scores.clone()
    inside[0, 14] = torch.eye(7)[2] * 9
    value = SPANS.episode_values(whole._replace(scores=inside))[0]
    assert value == 1.0, "I can't begin a row, so the best path makes it B or drops it"
    assert SPANS.episode_values(whole._replace(scores=inside, tokens=28)) != 1.0


def test_tokens_say_what_they_hide():
    result = answers([[(0, 4, 0)]], [[(0, 3, 0)]])
    figures = SPANS.figures([SPANS.tally(result, None)])
    assert SPANS.episode_values(result)[0] == 0.0 and figures["micro_f1"] == 0.0
    assert figures["token_accuracy"] == pytest.approx(13 / 14) and figures["token_f1"] == pytest.approx(6 / 7)


def test_what_is_masked_changes_nothing_and_what_is_not_allowed_is_not_answered():
    true = [[(2, 4, 1)], []]
    result = answers(true, true)
    noise = torch.where(result.weight[..., None] > 0, result.scores, 1e6 * torch.randn_like(result.scores))
    assert SPANS.episode_values(result._replace(scores=noise))[0] == 1.0
    lonely = result.scores.clone()
    lonely[0, 8 * 2] = torch.tensor([0.0, 0, 5, 0, 0, 0, 0])  # I of the first type behind O
    assert SPANS.tally(result._replace(scores=lonely), None).counts["X"][1] <= 1


def test_a_type_that_can_t_be_is_not_answered():
    result = answers([[(0, 2, 0)]], [[(0, 2, 2)]])
    low = torch.finfo(torch.float32).min / 2
    barred = torch.where(torch.tensor([0, 0, 0, 0, 0, 1, 1]) > 0, low, result.scores)
    absent = result._replace(names=[tag_names(["X", "Y", ""])])
    figures = SPANS.figures([SPANS.tally(absent._replace(scores=barred), None)])
    assert set(figures["types"]) == {"X", "Y"}
    chosen = SPANS.figures([SPANS.tally(absent, None)])
    assert set(chosen["types"]) == {"X", "Y"} and chosen["classes"].confusions == {}
    assert chosen["spans"] == {"true": 1, "predicted": 1, "correct": 0}, "an absent type is a wrong answer"


def test_the_guess_is_the_best_of_calling_every_word_a_span():
    true = [[(0, 1, 0), (3, 4, 1), (5, 6, 1), (8, 12, 2)], [(13, 14, 1), (0, 3, 1)]]
    result = answers(true, true)
    best = 0.0
    for name in "XYZ":
        words = [[(word, word + 1, name) for word in range(14)] for _ in true]
        best = max(best, entity_scores(list(map(named, true)), words).all.f1)
    rows = Examples(None, result.y, result.weight, torch.zeros(1))
    assert SPANS.guess(rows, rows).tolist() == [pytest.approx(best)]
    assert SPANS.figures([SPANS.tally(result, None)])["chance"] == pytest.approx(best)
    nothing = rows._replace(weight=torch.zeros_like(rows.weight))
    assert SPANS.guess(nothing, nothing).tolist() == [0.0]


def report(name, seed):
    random = np.random.default_rng(seed)
    values, tallies = [], []
    for _ in range(20):
        true = [random_spans(random) for _ in range(4)]
        result = answers(true, [near(random, spans) for spans in true])
        values.append(SPANS.episode_values(result))
        tallies.append(SPANS.tally(result, None))
    about = About("news", "test", "3", "5~10", 5, 0)
    protocol = Protocol(
        name, about.source, about.split, SPANS, about.ways, about.shots, about.queries, 20, 0, transductive=False
    )
    return Report(protocol, np.concatenate(values), SPANS.figures(tallies), 1.0, "same")


def test_a_report_comes_back_from_its_numbers():
    result = report("crf", 0)
    data = json.loads(json.dumps(result.to_json()))
    again = Report.from_json(data, result.values)
    assert again.protocol == result.protocol and again.metric == "entity_f1"
    assert {**result.figures, "classes": None} == {**again.figures, "classes": None}
    assert data["types"]["X"]["true"] > 0 and 0 < data["token_f1"] <= 1
    assert PROBLEMS["spans"].metric.title == "entity F1"


def test_a_report_is_shown_in_its_words():
    reports = [report("crf", 0), report("nearest", 1)]
    summary = run_summary(reports)
    assert summary.startswith(
        "Given 5~10 examples each of 3 types of spans it has never seen, crf finds spans with an F1 of"
    )
    assert "nearest gets" in summary and "chance is" in summary
    console = Console(width=220)
    with console.capture() as capture:
        console.print(table.accuracy_table(reports, title="news"))
    assert "tokens in spans" in capture.get() and "3 types 5~10-shot, 5 queries a type, 20 episodes" in capture.get()
    html = run_page(Findings("news", reports))
    assert "Macro F1 is the mean over types." in html and "s spans. Grey" in html and "query rows" not in html
