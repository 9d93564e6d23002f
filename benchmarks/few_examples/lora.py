"""What does tuning the encoder add? `lora` beside every head behind the frozen encoder, on the same draws, paired.

    python -m benchmarks.few_examples.lora NAME --data DATA [--shots 8] [--draws 10] [--asked 1000]
        [--quick] [--json FILE]

NAME is financial-phrasebank or banking77, drawn as in texts.py; of the texts that may be asked, so many are,
drawn once. `auto` chooses among the heads of a frozen encoder. With --crossed the tuned encoder is judged by the
examples too, a third of them at a time left out; then what it says of itself stands beside the truth, and `auto, all`
is the choice among all heads. Seconds are the processor's.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import row
from benchmarks.few_examples.texts import DATA, FROZEN, Texts, drawn, standard
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row
from mapwise.catalog.encoders import encoder_named
from mapwise.data.store import data_root
from mapwise.encoders.cached import Cached
from mapwise.interfaces.printing import note
from mapwise.predictors.choose import USUAL, choose
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics.cross_validation import report

TUNED, CHOSEN, ALL = "lora", "auto", "auto, all"
PATIENCE = 1e6
"""Seconds that judging may take: what is measured here must not depend on how busy the machine is."""


class Draw(NamedTuple):
    accuracy: dict[str, float]
    """Of every contender, in per cent."""
    claim: float
    """What the tuned predictor says of itself; NaN where it wasn't asked."""
    seconds: float
    """To tune the encoder, and to judge it where that was asked."""


def benchmark(options: argparse.Namespace) -> Row:
    draws, shots, least = (2, 3, 20) if options.quick else (options.draws, options.shots, options.asked)
    data = Texts.of(*DATA[options.name](data_root(options.data) / options.name), options.quick)
    results = [one(options.encoder, data, shots, seed, least, options.crossed) for seed in range(draws)]
    about = "all-MiniLM-L6-v2" if options.encoder == standard() else options.encoder
    result = Row(
        "lora",
        options.name,
        f"{shots} examples of each of {len(set(data.labels))} classes: the encoder {about} tuned on them, and every "
        f"head behind the frozen one; accuracy in per cent on {least:,} other texts over {draws} draws of the "
        "examples, the same for all, with the 95 % interval over draws by Student's t, and paired differences",
        learner="none: texts",
    )
    result.tables.append(("lora beside frozen heads", [line(results)]))
    if options.crossed:
        answer, true = (np.array(part) for part in zip(*((r.claim, r.accuracy[TUNED]) for r in results), strict=True))
        message: Line = {
            "lora says of itself, %": with_interval(answer, 1),
            "the truth, %": with_interval(true, 1),
            "said minus true": with_interval(answer - true, 1),
        }
        result.tables.append(("what lora says of itself, by examples that its encoder was not tuned on", [message]))
    options.rounds = None
    return result


def line(results: list[Draw]) -> Line:
    """All contenders, and what lora is ahead of the best frozen head and of the automatic choice."""
    of = {name: np.array([draw.accuracy[name] for draw in results]) for name in results[0].accuracy}
    best = max(FROZEN, key=lambda name: of[name].mean())
    result: Line = {f"{name}, %": with_interval(values, 1) for name, values in of.items()}
    for other in dict.fromkeys([best, *(name for name in (CHOSEN, ALL) if name in of)]):
        result[f"lora minus {other}"] = with_interval(of[TUNED] - of[other], 1)
    return result | {"seconds of lora": with_interval(np.array([draw.seconds for draw in results]), 0)}


def one(name: str, data: Texts, shots: int, seed: int, least: int, crossed: bool) -> Draw:
    """Every contender taught one draw of the examples, and asked the same texts."""
    encoder = encoder_named(name, fetch=True)
    assert isinstance(encoder, Cached)
    classes, columns = np.unique(data.labels, return_inverse=True)
    examples, others = drawn(data, shots, seed)
    others = np.random.default_rng(0).permutation(others)[:least]
    answer, options = ([data.texts[place] for place in places] for places in (examples, others))
    names = tuple(str(name) for name in classes)
    # Without the part that can be tuned: the choice is among the other heads.
    still = Cached(encoder.encoder, encoder.file)
    first = Predictor.of(still, USUAL, answer, columns[examples], np.ones(len(answer)), names)
    by_name = {head: first.with_head(head, answer, PATIENCE) for head in FROZEN}
    by_name[CHOSEN] = choose(first, answer)[0]
    start = time.process_time()
    untuned = Predictor.of(encoder, TUNED, answer, columns[examples], np.ones(len(answer)), names)
    by_name[TUNED] = untuned.with_head(TUNED, answer, PATIENCE if crossed else 0.0)
    seconds = time.process_time() - start
    message = report(by_name[TUNED]).accuracy if crossed else None
    if message is not None:
        mine = report(by_name[CHOSEN]).accuracy
        by_name[ALL] = by_name[TUNED if mine is not None and message > mine else CHOSEN]
    right = {
        name: 100 * float(np.mean(predictor.scores(options).argmax(1) == columns[others]))
        for name, predictor in by_name.items()
    }
    note(f"draw {seed}: " + ", ".join(f"{name} {share:.1f} %" for name, share in right.items()) + f", {seconds:.0f} s")
    return Draw(right, float("nan") if message is None else 100 * message, seconds)


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("name", choices=DATA, help="the texts")
    parser.add_argument("--data", type=Path, help="the folder that holds banking77/ and financial-phrasebank/")
    parser.add_argument("--encoder", default=standard(), help="of texts (default all-MiniLM-L6-v2)")
    parser.add_argument("--shots", type=int, default=8, help="examples of each class (default 8)")
    parser.add_argument("--draws", type=int, default=10, help="of the examples (default 10)")
    parser.add_argument("--asked", type=int, default=1000, help="texts that are asked (default 1,000)")
    parser.add_argument("--crossed", action="store_true", help="also what the tuned encoder says of itself")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
