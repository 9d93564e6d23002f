"""How many names are found after five examples of each type? A trained finder, the same untrained, and frozen words.

    python -m benchmarks.few_examples.entities --data DATA [--run RUN] [--domains politics ai ...] [--shots 5]
        [--sentences] [--draws 10] [--ways finder untrained words] [--draws-file FILE] [--quick] [--json FILE]

The five domains of CrossNER (Liu et al. 2021): sentences are drawn from a domain's training part until each type has 5
to 10 spans (Ding et al. 2021, algorithm 1; types that it leaves short get further sentences), with --shots 0 all of the
part, with --sentences five sentences for each type that have a span of it, which are two to three times as many. A
predictor is fitted to them and judged on the domain's test part by strict entity F1. Types have their names in
words, such as "political party" for politicalparty.

finder:    `span_finder`, trained on the training parts of CoNLL-2003 and WNUT-17 before, in RUN; made where it isn't.
untrained: the same without that.
words:     vectors of words from the same model, frozen, and a logistic regression onto their tags.

A finished draw is a line of FILE, and isn't made again.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import row
from benchmarks.few_examples.finders import STEPS, WAYS, few, few_sentences, fitted, train_finder
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.data.annotated.conll import read_conll
from mapwise.data.annotated.texts import type_names
from mapwise.data.store import data_root
from mapwise.problems.spans import bootstrap_interval, entity_scores

DOMAINS = ("politics", "ai", "science", "music", "literature")
QUICK = 4, 20
"""Steps of training and tuning, and test sentences of a smoke test."""
ASKED = {("politics", 5): 57.0, ("ai", 5): 42.0, ("politics", 0): 66.0, ("ai", 0): 52.0}
"""Entity F1 to reach."""


def one_draw(options: argparse.Namespace, domain: str, way: str, draw: int) -> Line:
    """Fitted to one draw, and judged."""
    folder = data_root(options.data) / "crossner" / domain
    training, test = (read_conll(folder / f"{part}.txt").texts for part in ("train", "test"))
    test = test[: QUICK[1]] if options.quick else test
    texts = (few_sentences if options.sentences else few)(training, options.shots, draw)
    begun = time.process_time()
    finder = fitted(way, texts, options.run, QUICK[0] if options.quick else options.steps)
    fitting = time.process_time() - begun
    predicted = finder([text.text for text in test])
    true = [[span[:3] for span in text.spans] for text in test]
    scores = entity_scores(true, predicted)
    low, high = bootstrap_interval(true, predicted)
    untyped = [[[(start, end, "") for start, end, _ in spans] for spans in side] for side in (true, predicted)]
    return {
        "domain": domain,
        "way": way,
        "shots": options.shots,
        "draw": draw,
        "sentences": len(texts),
        "types": len(type_names(training)),
        "test": len(test),
        "f1": 100 * scores.all.f1,
        "low": 100 * low,
        "high": 100 * high,
        "precision": 100 * scores.all.precision,
        "recall": 100 * scores.all.recall,
        "macro": 100 * scores.macro_f1,
        "places": 100 * entity_scores(*untyped).all.f1,
        "seconds": fitting,
    }


def benchmark(options: argparse.Namespace) -> Row:
    if not options.quick:
        return measured(options)
    with tempfile.TemporaryDirectory() as folder:  # so few steps make no finder that is worth keeping
        options.run = Path(folder) / "finder"
        return measured(options)


def measured(options: argparse.Namespace) -> Row:
    torch.set_num_threads(1)
    domains, draws = (options.domains[:1], 2) if options.quick else (options.domains, options.draws)
    draws = draws if options.shots else 1
    if "finder" in options.ways:
        train_finder(data_root(options.data), options.run, QUICK[0] if options.quick else STEPS)
    file = options.draws_file
    done = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []
    known = {(line["domain"], line["way"], line["shots"], line["draw"]): line for line in done}
    lines = list[Line]()
    for domain, way in itertools.product(domains, options.ways):
        outcomes: list[Any] = []
        for draw in range(draws):
            line = known.get((domain, way, options.shots, draw))
            if line is None:
                line = one_draw(options, domain, way, draw)
                if file:
                    with file.open("a") as out:
                        out.write(json.dumps(line) + "\n")
            outcomes.append(line)
        columns = {name: np.array([line[name] for line in outcomes]) for name in ("f1", "places", "macro", "precision")}
        columns |= {name: np.array([line[name] for line in outcomes]) for name in ("recall", "sentences", "seconds")}
        lines.append(
            {
                "domain": domain,
                "types": outcomes[0]["types"],
                "sentences": f"{columns['sentences'].mean():.0f}",
                "predictor": way,
                "entity F1, %": _over_draws(columns["f1"])
                if draws > 1
                else f"{outcomes[0]['f1']:.1f} ({outcomes[0]['low']:.1f} to {outcomes[0]['high']:.1f})",
                "places alone, %": _over_draws(columns["places"]),
                "macro F1, %": _over_draws(columns["macro"]),
                "precision, %": _over_draws(columns["precision"]),
                "recall, %": _over_draws(columns["recall"]),
                "seconds to fit": f"{np.median(columns['seconds']):.0f}",
                "mean": float(columns["f1"].mean()),
            }
        )
    examples = "sentences with a span" if options.sentences else f"to {2 * options.shots} examples"
    given = f"{options.shots} {examples} of each type" if options.shots else "all training sentences"
    over = f"over {draws} draws" if draws > 1 else "by the bootstrap over its sentences"
    result = Row(
        "entities",
        "CrossNER",
        f"strict entity F1 on the test part of each domain after {given}, with the 95 % interval {over}; "
        f"tuned in {options.steps} steps; places alone: the F1 of spans whose type isn't judged; "
        "seconds are of one processor core",
        learner="span_finder on CrossNER",
    )
    means = {(line["domain"], line["predictor"]): line.pop("mean") for line in lines}
    result.tables.append((f"With {given}", lines))
    for domain in domains:
        goal = None if options.sentences else ASKED.get((domain, options.shots))
        if goal is not None and (domain, "finder") in means:
            result.targets.append(
                Target(f"entity F1 of the finder on {domain}, in per cent", means[domain, "finder"], goal)
            )
    options.rounds = None
    return result


def _over_draws(values: np.ndarray) -> str:
    return with_interval(values, 1) if len(values) > 1 else f"{values[0]:.1f}"


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds the data sets' folders")
    parser.add_argument("--run", type=Path, default=Path("runs/finder"), help="of the finder")
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), choices=DOMAINS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="what is compared")
    parser.add_argument("--shots", type=int, default=5, help="examples of each type, at least; 0: all sentences")
    parser.add_argument("--sentences", action="store_true", help="draw so many sentences for each type")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100, help="of tuning on the examples")
    parser.add_argument("--draws-file", type=Path, help="holds finished draws, one a line")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
