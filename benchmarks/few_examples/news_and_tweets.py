"""Names in news after 1, 5 and 20 examples of a type, and in tweets, where a threshold leaves out what isn't sure.

    python -m benchmarks.few_examples.news_and_tweets --data DATA [--runs RUNS] [--parts news tweets]
        [--shots 1 5 20] [--draws 5] [--ways finder untrained words] [--thresholds 0 0.5 0.7 0.9]
        [--draws-file FILE] [--quick] [--json FILE]

CoNLL-2003: sentences are drawn from the training part until each of the four types has K to 2 K spans; a predictor is
fitted to them and judged on all of testa. One and the same prediction is judged three ways: the share of words with the
right tag, O included (the micro-averaged F1 of tags with O); the F1 of tags without O; and the F1 of whole entities,
each right if its start, its end and its type are. The finder has learned from WNUT-17's training part alone.

WNUT-17: the same with five examples of each of the six types, judged on the test part, whose names were rare and new.
Spans whose probability is below a threshold are left out. The finder has learned from CoNLL-2003's training part alone.

finder, untrained, words: see benchmarks.few_examples.entities. A finished draw is a line of FILE, and isn't made again.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import row
from benchmarks.few_examples.finders import WAYS, few, fit_finder, fitted, renamed, train_finder
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.core.tags import tags_of
from mapwise.data.annotated.conll import read_conll
from mapwise.data.annotated.texts import AnnotatedText
from mapwise.data.annotated.units import units_of
from mapwise.data.store import data_root
from mapwise.problems.spans import SpanScores, entity_scores

STEPS = 1200
"""Of the training of a finder on one corpus."""
LEARNED = {"news": "wnut17", "tweets": "conll2003"}
"""Part -> the corpus that its finder has learned from."""
TWEETS_SHOTS = 5
QUICK = 4, 20
"""Steps of training and tuning, and test sentences of a smoke test."""


class TagScores(NamedTuple):
    """The tags of words, judged by themselves."""

    right: float
    """The share of words with the right tag: with O, the micro-averaged F1 of tags."""
    f1: float
    """Micro-averaged, without O."""


def tag_scores(texts: Sequence[AnnotatedText], predicted: Sequence[Sequence[tuple[int, int, str]]]) -> TagScores:
    """How many words have the right tag."""
    pairs = list[tuple[str, str]]()
    for text, spans in zip(texts, predicted, strict=True):
        units = units_of(text.text, [*text.spans, *spans])
        true = [(span.start, span.end, span.type) for span in text.spans]
        pairs += zip(_tags(units, true), _tags(units, spans), strict=True)
    inside, claimed = (sum(pair[side] != "O" for pair in pairs) for side in (0, 1))
    both = sum(a == b != "O" for a, b in pairs)
    return TagScores(sum(a == b for a, b in pairs) / len(pairs), SpanScores.of(inside, claimed, both).f1)


def _tags(units: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int, str]]) -> list[str]:
    kinds = sorted({kind for _, _, kind in spans})
    starts = {start: place for place, (start, _) in enumerate(units)}
    ends = {end: place + 1 for place, (_, end) in enumerate(units)}
    tags = tags_of([(starts[start], ends[end], kinds.index(kind)) for start, end, kind in spans], len(units))
    return ["O" if tag == 0 else f"{'IB'[tag % 2]}-{kinds[(tag - 1) // 2]}" for tag in tags.tolist()]


def news_draw(options: argparse.Namespace, way: str, shots: int, draw: int) -> Line:
    """Fitted to one draw of CoNLL-2003, and judged on testa in three ways."""
    training, test = (renamed(read_conll(_file(options, "conll2003", f"eng.{part}.gz")).texts) for part in PARTS)
    test = test[: QUICK[1]] if options.quick else test
    texts = few(training, shots, draw)
    finder = fitted(way, texts, options.runs / LEARNED["news"], _steps(options))
    predicted = finder([text.text for text in test])
    tags = tag_scores(test, predicted)
    scores = entity_scores([[span[:3] for span in text.spans] for text in test], predicted).all
    return {
        "part": "news",
        "way": way,
        "shots": shots,
        "draw": draw,
        "sentences": len(texts),
        "tags": 100 * tags.right,
        "tag_f1": 100 * tags.f1,
        "f1": 100 * scores.f1,
    }


def tweets_draw(options: argparse.Namespace, draw: int) -> Line:
    """Fitted to one draw of WNUT-17, and judged on its test part above each threshold."""
    training, test = (
        renamed(read_conll(_file(options, "wnut17", name)).texts)
        for name in ("wnut17train.conll", "emerging.test.annotated")
    )
    test = test[: QUICK[1]] if options.quick else test
    texts = few(training, TWEETS_SHOTS, draw)
    predictor = fit_finder("finder", texts, options.runs / LEARNED["tweets"], _steps(options))
    spans = predictor.every_span([text.text for text in test])
    true = [[span[:3] for span in text.spans] for text in test]
    above: dict[str, Any] = {}
    for threshold in options.thresholds:
        sure = [[span[:3] for span in of_text if span.probability >= threshold] for of_text in spans]
        scores = entity_scores(true, sure).all
        above[f"{threshold:g}"] = {name: 100 * getattr(scores, name) for name in ("precision", "recall", "f1")}
    return {
        "part": "tweets",
        "way": "finder",
        "shots": TWEETS_SHOTS,
        "draw": draw,
        "sentences": len(texts),
        "above": above,
    }


PARTS = ("train", "testa")


def _file(options: argparse.Namespace, corpus: str, name: str) -> Path:
    return data_root(options.data) / corpus / name


def _steps(options: argparse.Namespace) -> int:
    return QUICK[0] if options.quick else int(options.steps)


def benchmark(options: argparse.Namespace) -> Row:
    if not options.quick:
        return measured(options)
    with tempfile.TemporaryDirectory() as folder:  # so few steps make no finder that is worth keeping
        options.runs, options.draws, options.shots, options.draws_file = Path(folder), 2, [1], None
        return measured(options)


def measured(options: argparse.Namespace) -> Row:
    torch.set_num_threads(1)
    for part in options.parts:
        name = LEARNED[part]
        train_finder(data_root(options.data), options.runs / name, QUICK[0] if options.quick else STEPS, [name])
    file = options.draws_file
    done = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []

    def outcome(part: str, way: str, shots: int, draw: int) -> Line:
        for line in done:
            if (line["part"], line["way"], line["shots"], line["draw"]) == (part, way, shots, draw):
                return dict(line)
        line = news_draw(options, way, shots, draw) if part == "news" else tweets_draw(options, draw)
        if file:
            with file.open("a") as out:
                out.write(json.dumps(line) + "\n")
        return line

    result = Row(
        "news_and_tweets",
        "CoNLL-2003, WNUT-17",
        f"testa of CoNLL-2003 and the test part of WNUT-17, {options.draws} draws of examples, with 95 % intervals "
        f"over them; tuned in {options.steps} steps",
        learner="span_finder on news and tweets",
    )
    if "news" in options.parts:
        result.tables.append(("CoNLL-2003, one prediction judged three ways", _news(options, outcome)))
    if "tweets" in options.parts:
        lines = [outcome("tweets", "finder", TWEETS_SHOTS, draw) for draw in range(options.draws)]
        result.tables.append(("WNUT-17, five to ten examples", _tweets(lines)))
        low, high = (f"{limit(options.thresholds):g}" for limit in (min, max))
        gains = [line["above"][high]["precision"] - line["above"][low]["precision"] for line in lines]
        what = f"points of precision that a threshold of {high} adds on WNUT-17"
        result.targets.append(Target(what, float(np.mean(gains)), 0.0))
    options.rounds = None
    return result


def _news(options: argparse.Namespace, outcome: Callable[[str, str, int, int], Line]) -> list[Line]:
    news = list[Line]()
    for shots in options.shots:
        for way in options.ways:
            lines = [outcome("news", way, shots, draw) for draw in range(options.draws)]
            columns = {name: np.array([line[name] for line in lines]) for name in ("tags", "tag_f1", "f1", "sentences")}
            news.append(
                {
                    "examples of a type": f"{shots} to {2 * shots}",
                    "sentences": f"{columns['sentences'].mean():.0f}",
                    "predictor": way,
                    "tags with O, %": with_interval(columns["tags"], 1),
                    "tags without O, F1 %": with_interval(columns["tag_f1"], 1),
                    "entities, F1 %": with_interval(columns["f1"], 1),
                }
            )
    return news


def _tweets(lines: Sequence[Line]) -> list[Line]:
    tweets = list[Line]()
    for threshold in lines[0]["above"]:
        columns = {
            name: np.array([line["above"][threshold][name] for line in lines]) for name in ("precision", "recall", "f1")
        }
        tweets.append(
            {
                "spans with a probability of at least": threshold,
                **{f"{name}, %": with_interval(columns[name], 1) for name in ("precision", "recall")},
                "F1, %": with_interval(columns["f1"], 1),
            }
        )
    return tweets


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds the data sets' folders")
    parser.add_argument("--runs", type=Path, default=Path("runs/finders"), help="of the two finders")
    parser.add_argument("--parts", nargs="+", default=list(LEARNED), choices=list(LEARNED))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="what is compared on news")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 20], help="examples of each type, at least")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.0, 0.5, 0.7, 0.9], help="of probabilities")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="of tuning on the examples")
    parser.add_argument("--draws-file", type=Path, help="holds finished draws, one a line")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
