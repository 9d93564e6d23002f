"""Which encoder `auto` chooses, by the examples alone, and what that costs beside the cheapest one.

    python -m benchmarks.few_examples.encoders --data DATA [--draws 10] [--quick] [--json FILE]

Five examples of each class: hand signs, brain MRI, Tiny ImageNet (whose classes the network of `photos` was trained
on), letters of unseen alphabets, and intents and topics of texts, 10 classes a draw where there are more. Each encoder
has the learner that cross-validation chooses. All fits of a draw get the same examples and the same queries. Every fit
starts without cached embeddings, so that its seconds are those of a user's first one.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import row
from benchmarks.few_examples import names, photographs
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import encoder_named, encoders_of
from mapwise.data.glyphs import glyphs
from mapwise.data.modality import Modality
from mapwise.data.store import data_root
from mapwise.predictors.classes import Predictor
from mapwise.predictors.examples import LabelledExamples
from mapwise.predictors.fit import fit
from mapwise.predictors.heads.head import AUTO

SHOTS, WAYS, QUERIES = 5, 10, 20
"""Examples of a class, classes of texts, and queries of a class."""
BEHIND = 2.0
"""Points that auto may be behind the encoder that is best on average."""


class Draw(NamedTuple):
    """Raw rows and the name of each one's class; the same row is never both."""

    examples: Sequence[Any]
    labels: Sequence[str]
    queries: Sequence[Any]
    answers: Sequence[str]


class Data(NamedTuple):
    """Draws of one data set by their seeds."""

    title: str
    modality: Modality
    draw: Callable[[int], Draw]


def pictures(data: photographs.Photographs) -> Data:
    """Of photographs."""

    def draw(seed: int) -> Draw:
        examples, queries = data.draw(seed)
        queries = queries[:, :QUERIES]
        return Draw(
            [data.pictures[place] for place in examples.ravel()],
            [str(column) for column in np.repeat(np.arange(len(examples)), examples.shape[1])],
            [data.pictures[place] for place in queries.ravel()],
            [str(column) for column in np.repeat(np.arange(len(queries)), queries.shape[1])],
        )

    return Data(data.title, "pictures", draw)


def letters() -> Data:
    """Of alphabets that no encoder was trained on."""
    rows = glyphs()
    classes = rows.splits["test"]

    def draw(seed: int) -> Draw:
        random = np.random.default_rng(seed)
        chosen = random.choice(classes, 5, replace=False)
        places = np.stack([random.permutation(np.arange(*rows.starts[one : one + 2])) for one in chosen])
        shown = 255 - np.asarray(rows.x)[places, 0]  # ink on paper
        columns = [str(column) for column in range(5)]
        return Draw(
            list(shown[:, :SHOTS].reshape(-1, *shown.shape[2:])),
            np.repeat(columns, SHOTS).tolist(),
            list(shown[:, SHOTS:].reshape(-1, *shown.shape[2:])),
            np.repeat(columns, shown.shape[1] - SHOTS).tolist(),
        )

    return Data("letters of unseen alphabets", "pictures", draw)


def texts(name: str, corpus: names.Corpus) -> Data:
    """Of texts of some of the classes, with their names."""
    every = sorted({label for _, label in corpus.train})

    def draw(seed: int) -> Draw:
        random = np.random.default_rng(seed)
        chosen = sorted(random.choice(every, min(WAYS, len(every)), replace=False).tolist())
        parts: list[list[str]] = [[], [], [], []]
        for label in chosen:
            given, questions = (
                random.permutation(np.array([text for text, one in part if one == label], dtype=object)).tolist()
                for part in corpus
            )
            parts[0] += given[:SHOTS]
            parts[1] += [label] * SHOTS
            parts[2] += questions[:QUERIES]
            parts[3] += [label] * len(questions[:QUERIES])
        return Draw(*parts)

    return Data(name, "texts", draw)


class Fit(NamedTuple):
    """One fit: the share of queries that is right, the encoder, and processor seconds."""

    accuracy: float
    encoder: str
    seconds: float


def fits(data: Data, seed: int) -> dict[str, Fit]:
    """Of one draw, behind each encoder and behind `auto`."""
    draw = data.draw(seed)
    examples = LabelledExamples(list(draw.examples), data.modality, np.asarray(draw.labels, dtype=object))
    outcomes = {}
    for name in [*(encoder.name for encoder in encoders_of(data.modality)), AUTO]:
        with _no_cache():
            encoder_named(name, fetch=False)(draw.examples[:1]) if name != AUTO else None  # its model is opened
            start = time.process_time()
            predictor: Predictor = fit(examples, encoder=name, budget="5m").predictor
            seconds = time.process_time() - start
        rows = predictor.encoded(list(draw.queries))
        answers = [predictor.classes[place] for place in predictor.answers(rows)]
        right = float(np.mean([one == other for one, other in zip(answers, draw.answers, strict=True)]))
        outcomes[name] = Fit(100 * right, predictor.encoder.name, seconds)
    return outcomes


@contextmanager
def _no_cache() -> Iterator[None]:
    """Without embeddings of before."""
    before, folder = os.environ.get("XDG_CACHE_HOME"), tempfile.mkdtemp()
    os.environ["XDG_CACHE_HOME"] = folder
    try:
        yield
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        os.environ |= {"XDG_CACHE_HOME": before} if before is not None else {}
        shutil.rmtree(folder)


def line(draws: Sequence[dict[str, Fit]]) -> tuple[Line, float]:
    """One data set, and the points that auto is behind the encoder that is best on average."""
    encoders = [name for name in draws[0] if name != AUTO]
    accuracy = {name: np.array([one[name].accuracy for one in draws]) for name in draws[0]}
    best = max(encoders, key=lambda name: accuracy[name].mean())
    result: Line = {f"{name}, %": with_interval(values, 1) for name, values in accuracy.items()}
    result[f"{AUTO} minus {encoders[0]}"] = with_interval(accuracy[AUTO] - accuracy[encoders[0]], 1)
    result[f"{AUTO} minus the best"] = with_interval(accuracy[AUTO] - accuracy[best], 1)
    chosen = Counter(one[AUTO].encoder for one in draws)
    result["chosen"] = ", ".join(f"{name} {count}" for name, count in chosen.most_common())
    for name in (encoders[0], AUTO):
        result[f"{name}, s"] = f"{np.median([one[name].seconds for one in draws]):.2f}"
    return result, float((accuracy[best] - accuracy[AUTO]).mean())


def benchmark(options: argparse.Namespace) -> Row:
    draws = 2 if options.quick else options.draws
    folder = data_root(options.data)
    result = Row(
        "encoders",
        "sign-digits, brain-tumor-mri, tiny-imagenet-fewshot, glyphs, banking77, hwu64, huffpost, agnews",
        f"{SHOTS} examples of each class, the learner by cross-validation; accuracy in per cent over {draws} draws, "
        "the same for all encoders, with the 95 % interval over draws by Student's t, and paired differences; s: "
        "median processor seconds of a fit on one thread, its encoding included; a model is opened before, and by auto "
        "within",
        learner="none: FewShotClassifier behind the encoder that the examples choose",
    )
    for data in datasets(folder):
        about, behind = line([fits(data, seed) for seed in range(draws)])
        result.tables.append((data.title, [about]))
        what = f"points behind the encoder that is best on average, {data.title}"
        result.targets.append(Target(what, behind, BEHIND, at_least=False))
    options.rounds = None
    return result


def datasets(folder: Path) -> Iterator[Data]:
    """Photographs, drawings and texts."""
    for photographed in (photographs.signs, photographs.scans, photographs.natural):
        yield pictures(photographed(folder))
    yield letters()
    for name, corpus in names.CORPORA.items():
        yield texts(name, corpus(folder / name))


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds the data sets")
    parser.add_argument("--draws", type=int, default=10)
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
