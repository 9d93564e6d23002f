"""What a finder of names is asked beside names: which text to annotate next, how good it is, one type more.

    python -m benchmarks.few_examples.entity_questions --data DATA [--run RUN] [--parts next report type] [--draws 10]
        [--reports 100] [--draws-file FILE] [--quick] [--json FILE]

next:   On politics of CrossNER: one to two examples of each type, then three times five more sentences of the training
        part, chosen by `which_next` or at random; judged on the test part after each. Both begin with the same
        sentences. The sentences that `which_next` takes are longer, so that their words are counted too.
report: 40 sentences of politics' development part; does the interval of the report hold the F1 on the others?
type:   All types but one are fitted to five to ten examples each; the last is added with `add_type`. How far does the
        F1 of the others move, what does the new type reach beside a fit of all, and how long does it take?

A finished draw is a line of FILE, and isn't made again.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import row
from benchmarks.few_examples.finders import STEPS, few, fit_finder, train_finder
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.data.annotated.conll import read_conll
from mapwise.data.annotated.texts import AnnotatedText, type_names
from mapwise.data.store import data_root
from mapwise.predictors.spans.predictor import SpanPredictor
from mapwise.predictors.spans.report import cross_validate
from mapwise.predictors.spans.which_next import next_texts
from mapwise.problems.spans import EntityScores, entity_scores

ROUNDS, EACH = 3, 5
"""How often, and how many sentences are annotated."""
REPORTED = 40
"""Sentences behind a report."""
QUICK = 2, 40
"""Steps of training and tuning, and sentences of each part in a smoke test."""


def judge(predictor: SpanPredictor, texts: Sequence[AnnotatedText]) -> EntityScores:
    """How many spans it finds in these texts."""
    predicted = predictor.predict([text.text for text in texts])
    return entity_scores(
        [[span[:3] for span in text.spans] for text in texts], [[span[:3] for span in spans] for spans in predicted]
    )


def next_draw(options: argparse.Namespace, draw: int) -> Line:
    """Sentences by which_next, and at random: the F1 after each round."""
    training, test = _politics(options, "train"), _politics(options, "test")
    begun = few(training, 1, draw)
    line: Line = {"f1 at first": 100 * judge(_fit(options, begun), test).all.f1}
    for way in ("which_next", "random"):
        texts = list(begun)
        pool = [text for text in training if text not in texts]
        order = random.Random(f"{draw} at random")
        for number in range(1, _rounds(options) + 1):
            if way == "random":
                chosen = order.sample(range(len(pool)), EACH)
            else:
                predictor = _fit(options, texts)
                chosen = [one.place for one in next_texts(predictor, [text.text for text in pool], EACH)]
            texts += [pool[place] for place in chosen]
            pool = [text for place, text in enumerate(pool) if place not in chosen]
            line[f"{way} {number}"] = 100 * judge(_fit(options, texts), test).all.f1
        line[f"{way} words"] = sum(len(text.text.split()) for text in texts) / len(texts)
    return line


def report_draw(options: argparse.Namespace, draw: int) -> Line:
    """The interval of a report, and the F1 on sentences of the same part that are in none of its folds."""
    texts = _politics(options, "dev")
    order = random.Random(draw).sample(range(len(texts)), len(texts))
    reported = min(REPORTED, len(texts) // 2)
    own, others = ([texts[place] for place in some] for some in (order[:reported], order[reported:]))
    predictor = _fit(options, own)
    report = cross_validate(predictor)
    return {
        "low": 100 * report.low,
        "high": 100 * report.high,
        "reported": 100 * report.scores.all.f1,
        "true": 100 * judge(predictor, others).all.f1,
        "too_few": report.too_few,
    }


def type_draw(options: argparse.Namespace, draw: int) -> Line:
    """A type added to the others, beside a fit of all."""
    texts, test = few(_politics(options, "train"), 5, draw), _politics(options, "test")
    types = type_names(texts)
    new = types[draw % len(types)]
    rest = [AnnotatedText(one.text, tuple(span for span in one.spans if span.type != new)) for one in texts]
    holding = [place for place, one in enumerate(texts) if any(span.type == new for span in one.spans)]
    without = [one for place, one in enumerate(rest) if place not in holding]
    before = _fit(options, without)
    added = [
        AnnotatedText(texts[place].text, tuple(span for span in texts[place].spans if span.type == new))
        for place in holding
    ]
    begun = time.perf_counter()
    after = before.with_type(new, added)
    seconds = time.perf_counter() - begun
    all_at_once = _fit(options, texts)
    scores = {name: judge(of, test) for name, of in (("before", before), ("after", after), ("all", all_at_once))}

    def others(of: EntityScores) -> float:
        rest_of = [scores for name, scores in of.types.items() if name != new]
        true, predicted, correct = (
            sum(getattr(one, part) for one in rest_of) for part in ("true", "predicted", "correct")
        )
        return 200 * correct / max(1, true + predicted)

    return {
        "type": new,
        "texts": len(added),
        "seconds": seconds,
        "others before": others(scores["before"]),
        "others after": others(scores["after"]),
        "others of all": others(scores["all"]),
        "new after": 100 * scores["after"].types[new].f1,
        "new of all": 100 * scores["all"].types[new].f1,
    }


PARTS: dict[str, Callable[[argparse.Namespace, int], Line]] = {
    "next": next_draw,
    "report": report_draw,
    "type": type_draw,
}


def _rounds(options: argparse.Namespace) -> int:
    return 1 if options.quick else ROUNDS


def _fit(options: argparse.Namespace, texts: Sequence[AnnotatedText]) -> SpanPredictor:
    return fit_finder("finder", texts, options.run, options.steps)


def _politics(options: argparse.Namespace, part: str) -> list[AnnotatedText]:
    texts = list(read_conll(data_root(options.data) / "crossner" / "politics" / f"{part}.txt").texts)
    return texts[: QUICK[1]] if options.quick else texts


def benchmark(options: argparse.Namespace) -> Row:
    if not options.quick:
        return measured(options)
    with tempfile.TemporaryDirectory() as folder:  # so few steps make no finder that is worth keeping
        options.run, options.steps, options.draws, options.reports = Path(folder) / "finder", QUICK[0], 2, 2
        return measured(options)


def measured(options: argparse.Namespace) -> Row:
    torch.set_num_threads(1)
    train_finder(data_root(options.data), options.run, QUICK[0] if options.quick else STEPS)
    file = options.draws_file
    done = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []
    result = Row(
        "entity_questions",
        "CrossNER, politics",
        f"a finder that has learned from CoNLL-2003 and WNUT-17, tuned in {options.steps} steps; 95 % intervals over "
        "draws",
        learner="span_finder, asked",
    )
    for part in options.parts:
        lines = list[Line]()
        for draw in range(options.reports if part == "report" else options.draws):
            line = next((line for line in done if (line["part"], line["draw"]) == (part, draw)), None)
            if line is None:
                line = {"part": part, "draw": draw, **PARTS[part](options, draw)}
                if file:
                    with file.open("a") as out:
                        out.write(json.dumps(line) + "\n")
            lines.append(line)
        {"next": _next, "report": _report, "type": _type}[part](result, lines)
    options.rounds = None
    return result


def _column(lines: Sequence[Line], name: str) -> np.ndarray:
    return np.array([line[name] for line in lines], float)


def _next(result: Row, lines: Sequence[Line]) -> None:
    shown = list[Line]()
    rounds = range(1, sum(name.startswith("random ") for name in lines[0]))  # but for its words
    for number in rounds:
        chosen, drawn = (_column(lines, f"{way} {number}") for way in ("which_next", "random"))
        shown.append(
            {
                "further sentences": EACH * number,
                "which_next, F1 %": with_interval(chosen, 1),
                "at random, F1 %": with_interval(drawn, 1),
                "difference, paired": with_interval(chosen - drawn, 1),
            }
        )
    gains = [_column(lines, f"which_next {number}") - _column(lines, f"random {number}") for number in rounds]
    mean = np.mean(gains, 0)
    shown.append(
        {
            "further sentences": "mean",
            "which_next, F1 %": "",
            "at random, F1 %": "",
            "difference, paired": with_interval(mean, 1),
        }
    )
    words = [f"{_column(lines, f'{way} words').mean():.0f}" for way in ("which_next", "random")]
    result.notes.append(f"A sentence has {words[0]} words by which_next, and {words[1]} at random.")
    result.tables.append(("Which sentence to annotate next", shown))
    result.targets.append(Target("points that which_next gains over random choice", float(mean.mean()), 0.0))


def _report(result: Row, lines: Sequence[Line]) -> None:
    low, high, true, reported = (_column(lines, name) for name in ("low", "high", "true", "reported"))
    share = 100 * float(((low <= true) & (true <= high)).mean())
    result.tables.append(
        (
            f"The report on {REPORTED} sentences",
            [
                {
                    "reports": len(lines),
                    "F1 of the reports, %": with_interval(reported, 1),
                    "F1 on all others, %": with_interval(true, 1),
                    "width of the interval": with_interval(high - low, 1),
                    "intervals that hold the F1, %": f"{share:.0f}",
                    "F1 below, %": f"{100 * (true < low).mean():.0f}",
                    "F1 above, %": f"{100 * (true > high).mean():.0f}",
                }
            ],
        )
    )
    result.targets.append(Target("intervals of 100 that hold the F1, at least", share, 88.0))
    result.targets.append(Target("intervals of 100 that hold the F1, at most", share, 98.0, at_least=False))


def _type(result: Row, lines: Sequence[Line]) -> None:
    names = ("others before", "others after", "others of all", "new after", "new of all")
    moved = _column(lines, "others after") - _column(lines, "others before")
    shown = {f"{name}, F1 %": with_interval(_column(lines, name), 1) for name in names}
    seconds = float(np.median(_column(lines, "seconds")))
    result.tables.append(
        ("One type more", [{**shown, "others move by": with_interval(moved, 1), "seconds": f"{seconds:.2f}"}])
    )
    result.targets.append(
        Target("points that the F1 of the others moves", abs(float(moved.mean())), 2.0, at_least=False)
    )
    result.targets.append(Target("seconds to add a type, median", seconds, 1.0, at_least=False))


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds the data sets' folders")
    parser.add_argument("--run", type=Path, default=Path("runs/finder"), help="of the finder")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--reports", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50, help="of tuning on the examples")
    parser.add_argument("--draws-file", type=Path, help="holds finished draws, one a line")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
