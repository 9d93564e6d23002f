"""What do the names of classes teach? With names, without, and with shuffled names, beside the same examples.

    python -m benchmarks.few_examples.names --data DATA [--encoder text-hash|hf] [--learner logistic] [--quick]
        [--json FILE]

banking77 (77 intents), hwu64 (64 intents), huffpost (41 topics of headlines) and agnews (4 topics of news) with 0, 1, 5
and 10 examples a class. banking77 and agnews are asked of their own test texts; of the others half is drawn from, and
half asked. At most 3,000 texts are asked. Shuffled names are those of other classes: every name moves.
"""

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import row
from benchmarks.few_examples.texts import standard
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import encoder_named
from mapwise.data.store import data_root
from mapwise.encoders.encoder import Encoder
from mapwise.predictors.classes import Predictor
from mapwise.predictors.examples import LabelledExamples
from mapwise.predictors.fit import fit

SHOTS = (0, 1, 5, 10)
ASKED = 3000
KINDS = ("names", "without", "shuffled")
LOST = 1.0
"""Points that shuffled names may cost from five examples on."""
QUICK, QUICK_SHOTS = 5, (0, 5)
"""Classes of a smoke test, and its examples a class."""

ORIGINAL = "hf"
"""The encoder of `benchmarks.few_examples.texts`."""

Pairs = list[tuple[str, str]]
"""Texts, each with its class."""


class Corpus(NamedTuple):
    """Texts to draw examples from, and texts to ask."""

    train: Pairs
    test: Pairs

    def fewer(self) -> "Corpus":
        """Of few classes, for a smoke test."""
        names = sorted({name for _, name in self.train})[:QUICK]
        return Corpus(*([pair for pair in part if pair[1] in names] for part in self))


def benchmark(options: argparse.Namespace) -> Row:
    seeds = 2 if options.quick else options.seeds
    encoder = encoder_named(standard() if options.encoder == ORIGINAL else options.encoder, fetch=True)
    title = "all-MiniLM-L6-v2 of 90 MB" if options.encoder == ORIGINAL else encoder.name
    result = Row(
        "names",
        ", ".join(CORPORA),
        f"names of classes as further examples, behind {title} with {options.learner}; accuracy in per cent "
        f"over {seeds} draws of the examples, the same for all, with the 95 % interval over draws by Student's t, and "
        "paired differences; believed: draws in which the names got a weight",
        learner=options.learner,
    )
    for name, read in CORPORA.items():
        corpus = read(data_root(options.data) / name)
        corpus = corpus.fewer() if options.quick else corpus
        lines = list[Line]()
        for shots in QUICK_SHOTS if options.quick else SHOTS:
            draws = [measured(encoder, options.learner, corpus, shots, seed) for seed in range(seeds if shots else 1)]
            lines.append(line(shots, draws))
            if shots >= 5:
                lost = float(np.mean([one["without"][0] - one["shuffled"][0] for one in draws]))
                what = f"points lost by shuffled names, {name}, {shots} examples a class"
                result.targets.append(Target(what, lost, LOST, at_least=False))
        classes = len({label for _, label in corpus.train})
        result.tables.append((f"{name}: {classes} classes, {min(len(corpus.test), ASKED):,} texts asked", lines))
    options.rounds = None
    return result


Outcome = dict[str, tuple[float, bool]]
"""Of each kind of names: the accuracy in per cent, and whether they were believed."""


def measured(encoder: Encoder, learner: str, corpus: Corpus, shots: int, seed: int) -> Outcome:
    """Of one draw of examples: so many of each class."""
    classes = sorted({name for _, name in corpus.train})
    random = np.random.default_rng([seed, shots])
    by_class = {name: [text for text, label in corpus.train if label == name] for name in classes}
    texts = [text for name in classes for text in random.permutation(by_class[name])[:shots].tolist()]
    labels = np.asarray([name for name in classes for _ in range(shots)], dtype=object)
    questions = [corpus.test[place] for place in np.random.default_rng(0).permutation(len(corpus.test))[:ASKED]]
    queries, truth = encoder([text for text, _ in questions]), [name for _, name in questions]
    # The same predictor, its classes called by others' names.
    order = random.permutation(classes).tolist()
    moved = dict(zip(order, [*order[1:], order[0]], strict=True))
    outcomes: Outcome = {}
    for kind in KINDS if shots else ("names",):
        called = moved if kind == "shuffled" else {name: name for name in classes}
        examples = LabelledExamples(
            *(texts, "texts", np.asarray([called[label] for label in labels], dtype=object)),
            classes=[] if shots else classes,
            use_names=kind != "without",
        )
        predictor: Predictor = fit(examples, encoder=encoder.name, learner=learner).predictor
        predictor = replace(predictor, known_temperature=1.0)  # it changes no answer
        answers = [predictor.classes[place] for place in predictor.answers(queries)]
        right = [answer == called[name] for answer, name in zip(answers, truth, strict=True)]
        outcomes[kind] = (100 * float(np.mean(right)), predictor.description_rows is not None)
    return outcomes


def line(shots: int, draws: list[Outcome]) -> Line:
    """One number of examples."""
    kinds = [kind for kind in KINDS if kind in draws[0]]
    accuracy = {kind: np.array([one[kind][0] for one in draws]) for kind in kinds}
    result: Line = {"examples a class": str(shots)}
    for kind in kinds:
        values = accuracy[kind]
        result[f"{kind}, %"] = with_interval(values, 1) if len(values) > 1 else f"{values[0]:.1f}"
    for kind in ("names", "shuffled"):
        if "without" in accuracy:
            result[f"{kind} minus without"] = with_interval(accuracy[kind] - accuracy["without"], 1)
            result[f"{kind} believed"] = f"{sum(one[kind][1] for one in draws)} of {len(draws)}"
    return result


def banking77(folder: Path) -> Corpus:
    """Its training and its test texts."""
    parts = []
    for name in ("train.csv", "test.csv"):
        with open(folder / name, encoding="utf-8", newline="") as file:
            parts.append([(one["text"], one["category"]) for one in csv.DictReader(file)])
    return Corpus(*parts)


def hwu64(folder: Path) -> Corpus:
    """Half to draw from, half to ask."""
    return halved([(one["sentence"], one["label"]) for one in json_lines(folder / "full.jsonl.gz")])


def huffpost(folder: Path) -> Corpus:
    """Half to draw from, half to ask; its labels are numbers, which a file names."""
    names = json.loads((folder / "label_names.json").read_text(encoding="utf-8"))
    return halved([(one["raw"], names[str(one["label"])]) for one in json_lines(folder / "huffpost.jsonl.gz")])


def agnews(folder: Path) -> Corpus:
    """Its part for development to draw from, and its test part."""
    parts = []
    for name in ("dev", "test"):
        with gzip.open(folder / f"{name}.tsv.gz", "rt", encoding="utf-8") as file:
            parts.append([(text, label) for text, _, label in (one.rstrip("\n").partition("\t") for one in file)])
    return Corpus(*parts)


def json_lines(path: Path) -> list[dict[str, str]]:
    """The objects of a compressed file, one a line."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(one) for one in file]


def halved(pairs: Pairs) -> Corpus:
    """Two halves, drawn by a fixed seed."""
    order = np.random.default_rng(0).permutation(len(pairs))
    half = len(pairs) // 2
    return Corpus([pairs[place] for place in order[:half]], [pairs[place] for place in order[half:]])


CORPORA: dict[str, Callable[[Path], Corpus]] = {
    "banking77": banking77,
    "hwu64": hwu64,
    "huffpost": huffpost,
    "agnews": agnews,
}


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds the data sets' folders")
    parser.add_argument("--encoder", default="text-hash", help=f"of texts; {ORIGINAL}: the original all-MiniLM-L6-v2")
    parser.add_argument("--learner", default="logistic", help="behind the encoder")
    parser.add_argument("--seeds", type=int, default=10)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
