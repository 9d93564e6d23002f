"""Is all-MiniLM-L6-v2 in eight bits the same encoder? The encoder minilm beside the original, ten draws, paired.

    python -m benchmarks.few_examples.minilm --data DATA [--original hf:FOLDER] [--quick] [--json FILE]

banking77 (77 intents of its training texts, asked of its own 3,080 test texts) and hwu64 (64 intents, asked of all
texts that were not drawn), with 5 examples a class. Both encoders and all heads of a draw see the same examples.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import row
from benchmarks.few_examples.texts import Texts, accuracies, banking77, standard
from benchmarks.few_examples.words import hwu64
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import encoder_named
from mapwise.core.interval import half_width
from mapwise.data.store import data_root
from mapwise.predictors.heads.head import AUTO

HEADS = ("nearest_mean", "ridge", "logistic", AUTO)
SHOTS = 5
COSINE = 0.99
BEYOND = 0.0
"""Points that a head's mean difference may lie beyond its 95 % interval."""
TIMED = 500
"""Texts."""


def benchmark(options: argparse.Namespace) -> Row:
    seeds = 2 if options.quick else options.seeds
    names = {"original": options.original, "minilm": "minilm"}
    encoders = {title: encoder_named(name, fetch=True) for title, name in names.items()}
    result = Row(
        "minilm",
        "banking77, hwu64",
        f"{SHOTS} examples of each class, drawn {seeds} times; accuracy in per cent of each head behind "
        "all-MiniLM-L6-v2 as published (float32, sentence-transformers) and behind the encoder minilm (8 bits, "
        "onnxruntime), with the 95 % interval over draws by Student's t, and the paired difference",
        learner="none: texts",
    )
    for name, read in DATA.items():
        data = Texts.of(*read(data_root(options.data) / name), options.quick)
        rows = [encoder(data.texts) for encoder in encoders.values()]
        both = 100 * np.array(
            [
                [accuracies(encoder, data, x, HEADS, SHOTS, seed) for seed in range(seeds)]
                for encoder, x in zip(encoders.values(), rows, strict=True)
            ]
        )  # [encoders, draws, heads]
        result.tables.append((f"{name}: {len(set(data.labels))} classes, {len(data.texts):,} texts", lines(both)))
        cosines = (rows[0] * rows[1]).sum(1)
        result.targets.append(Target(f"mean cosine to the original, {name}", float(cosines.mean()), COSINE))
        result.notes.append(f"The lowest cosine of a text of {name} to the original is {cosines.min():.4f}.")
        for place, head in enumerate(HEADS):
            difference = both[1, :, place] - both[0, :, place]
            beyond = max(0.0, abs(float(difference.mean())) - half_width(difference))
            what = f"points beyond the interval, {name}, {head}"
            result.targets.append(Target(what, beyond, BEYOND, at_least=False))
    result.tables.append(("From the start of a process", times(names, options.quick)))
    options.rounds = None
    return result


def lines(both: np.ndarray) -> list[Line]:
    """A head a line."""
    return [
        {
            "head": head,
            "original, %": with_interval(both[0, :, place], 1),
            "minilm, %": with_interval(both[1, :, place], 1),
            "minilm minus original": with_interval(both[1, :, place] - both[0, :, place], 2),
        }
        for place, head in enumerate(HEADS)
    ]


def times(names: dict[str, str], quick: bool) -> list[Line]:
    """Seconds until a first text is encoded, in a new process without a cache, and then for more."""
    return [{"encoder": title, **_time(name, 5 if quick else TIMED)} for title, name in names.items()]


def _time(name: str, count: int) -> Line:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _SCRIPT, name, str(count)], check=True, capture_output=True, text=True)
    whole, more = time.perf_counter() - start, float(done.stdout)
    return {"first text, s": round(whole - more, 2), f"{count} more of 12 words, s": round(more, 2)}


_SCRIPT = """
import sys, time
from mapwise.catalog.encoders import encoder_named
encoder = encoder_named(sys.argv[1], fetch=False).encoder
encoder(["hello"])
start = time.perf_counter()
encoder([f"please tell me where my order number {i} is, and who brings it" for i in range(int(sys.argv[2]))])
print(time.perf_counter() - start)
"""


DATA = {"banking77": banking77, "hwu64": hwu64}


def main(words: Sequence[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds banking77/ and hwu64/")
    parser.add_argument("--original", default=standard(), help="the model as published")
    parser.add_argument("--seeds", type=int, default=10)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
