"""What do the encoders of texts that need no download know? Each before every head, ten draws of the examples, paired.

    python -m benchmarks.few_examples.words --data DATA [--start FOLDER] [--quick] [--json FILE]

banking77 (77 intents of its training texts, asked of its own 3,080 test texts), hwu64 (64 intents) and agnews (4 topics
of its test part), both asked of all texts that were not drawn; with 1 and 5 examples a class. All encoders and heads of
a draw see the same examples. --start takes the table before its fit, which `bundle_words --start FOLDER` writes.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import row
from benchmarks.few_examples.texts import Pairs, Texts, accuracies, banking77
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.data.store import data_root
from mapwise.encoders.text_hash import TextHash
from mapwise.encoders.words import PIECES, VECTORS, Meanings, WordVectors, meanings

HEADS = ("nearest_mean", "ridge", "logistic")
SHOTS = (1, 5)
ENCODER = "words"
GOALS = {"banking77": {1: 40.0, 5: 65.0}}
"""Per cent of a data set's texts, by examples a class."""
MILLISECONDS = 0.1
"""That a text may take at most."""


def benchmark(options: argparse.Namespace) -> Row:
    seeds = 2 if options.quick else options.seeds
    encoders: dict[str, Callable[[Sequence[str]], np.ndarray]] = {"text-hash": TextHash()}
    if options.start:
        files = ((options.start / name).read_bytes() for name in (VECTORS, PIECES))
        encoders["table before its fit"] = Meanings.of(*files)
    encoders |= {"table": meanings(), ENCODER: WordVectors()}
    result = Row(
        "words",
        "banking77, hwu64, agnews",
        f"each encoder of texts before the same heads; accuracy in per cent over {seeds} draws of the examples, the "
        "same for all, with the 95 % interval over draws by Student's t; ahead: logistic, paired; milliseconds of one "
        "core",
        learner="none: texts",
    )
    for name, read in DATA.items():
        data = Texts.of(*read(data_root(options.data) / name), options.quick)
        draws, speed = measured(encoders, data, SHOTS[: 1 if options.quick else None], seeds)
        result.tables.append(
            (f"{name}: {len(set(data.labels))} classes, {len(data.texts):,} texts", lines(draws, speed))
        )
        if name in GOALS:
            result.targets += targets(name, draws, speed)
    options.rounds = None
    return result


Draws = dict[tuple[str, int], np.ndarray]
"""Of an encoder and a number of examples: per cent right, [draws, heads]."""


def measured(
    encoders: dict[str, Callable[[Sequence[str]], np.ndarray]], data: Texts, all_shots: Sequence[int], seeds: int
) -> tuple[Draws, dict[str, float]]:
    """Accuracies, and the milliseconds of the processor that a text takes."""
    draws, speed = Draws(), dict[str, float]()
    for name, encoder in encoders.items():
        encoder(data.texts[:1])  # what is read at first use is no part of a text's time
        start = time.process_time()
        rows = encoder(data.texts)
        speed[name] = 1000 * (time.process_time() - start) / len(rows)
        for shots in all_shots:
            shares = [accuracies(WordVectors(), data, rows, HEADS, shots, seed) for seed in range(seeds)]
            draws[name, shots] = 100 * np.array(shares)
    return draws, speed


def targets(name: str, draws: Draws, speed: dict[str, float]) -> list[Target]:
    """What `words` before logistic is to get right on a data set, and how fast."""
    right = [
        Target(
            f"{name}, {shots} examples a class, {ENCODER} and logistic, %",
            float(draws[ENCODER, shots][:, HEADS.index("logistic")].mean()),
            goal,
        )
        for shots, goal in GOALS[name].items()
        if (ENCODER, shots) in draws
    ]
    return [*right, Target(f"{name}, milliseconds a text", speed[ENCODER], MILLISECONDS, at_least=False)]


def lines(draws: Draws, speed: dict[str, float]) -> list[Line]:
    """An encoder and a number of examples a line: every head, and what logistic is ahead of that behind text-hash."""
    place = HEADS.index("logistic")
    result = []
    for (encoder, shots), accuracy in draws.items():
        line: Line = {"examples a class": str(shots), "encoder": encoder}
        line |= {f"{head}, %": with_interval(accuracy[:, column], 1) for column, head in enumerate(HEADS)}
        if encoder != "text-hash":
            line["ahead of text-hash"] = with_interval(accuracy[:, place] - draws["text-hash", shots][:, place], 1)
        line["ms a text"] = f"{speed[encoder]:.2f}"
        result.append(line)
    return sorted(result, key=lambda line: int(line["examples a class"]))


def hwu64(folder: Path) -> tuple[Pairs, Pairs]:
    """All texts, each with its intent; there is no test part."""
    with gzip.open(folder / "full.jsonl.gz", "rt", encoding="utf-8") as file:
        return [(line["sentence"], line["label"]) for line in map(json.loads, file)], []


def agnews(folder: Path) -> tuple[Pairs, Pairs]:
    """The texts of its test part, each with its topic."""
    with gzip.open(folder / "test.tsv.gz", "rt", encoding="utf-8", newline="\n") as file:
        parted = [line.rstrip("\n").rpartition("\t") for line in file]
    return [(text, topic) for text, _, topic in parted], []


DATA = {"banking77": banking77, "hwu64": hwu64, "agnews": agnews}


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds banking77/, hwu64/ and agnews/")
    parser.add_argument("--start", type=Path, help="a folder with the table before its fit")
    parser.add_argument("--seeds", type=int, default=10)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
