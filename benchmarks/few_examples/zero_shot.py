"""What does training on names of other classes add where a class has no example? Beside the names alone.

    python -m benchmarks.few_examples.zero_shot --data DATA [--encoder words] [--seeds 3] [--steps 200]
        [--ways 20 1000] [--quick] [--json FILE]

Episodes are drawn from hwu64 and liu54 together: the support of a task is the name of each class, its queries are
texts. Both data sets come from one collection and share texts, so classes that share a twentieth of their texts are kin
and are dealt to one split (60, 20 and 20 % of the groups). Contenders are trained on the classes of "train" and one is
chosen on those of "val"; it is trained again on both, once a seed, and asked about the classes of "test", and about the
test texts of banking77, all of its 77 classes at once. Names alone: the class whose name's embedding has the largest
cosine. An answer that is kin of the truth is right.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import row
from benchmarks.few_examples.names import banking77, json_lines
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import encoder_named
from mapwise.catalog.learners import LEARNERS
from mapwise.core.interval import half_width
from mapwise.core.learner import Learner
from mapwise.core.tree import Params
from mapwise.data.examples import examples
from mapwise.data.rows import LabelledRows
from mapwise.data.store import data_root
from mapwise.data.texts import LabelledTexts
from mapwise.encoders.encoder import Encoder
from mapwise.engine.train import train
from mapwise.learners.metric.zero_shot import ZeroShot
from mapwise.nets import Residual
from mapwise.tasks.episodes import Episodes

STEPS, QUERIES = 200, 8
WAYS = (20, 1000)
"""Classes of a training task, or as many as there are."""
ASKED = 100
"""Texts of a class that are asked, at most: some classes of liu54 are 200 times as large as others."""
QUICK = 20, 5
"""Classes of each corpus in a smoke test, and its steps."""


@dataclass(frozen=True)
class Corpus:
    """Texts and the names of their classes, encoded."""

    rows: LabelledRows
    names: LabelledRows
    kin: dict[str, int]
    """Class -> the number of its group."""

    @classmethod
    def of(cls, read: LabelledTexts, encoder: Encoder) -> "Corpus":
        splits = read.splits()
        rows = LabelledRows.of(encoder(read.texts), read.labels, name=read.name, splits=splits)
        names = LabelledRows.of(encoder(read.names()), read.classes, name=read.name, splits=splits)
        return cls(rows, names, {name: number for number, group in enumerate(read.kin()) for name in group})

    def episodes(self, part: str, ways: int, seed: int) -> Episodes:
        """Tasks of one split: names for support, texts for queries."""
        classes = len(self.rows.classes_of(part))
        return Episodes(
            *(self.rows, min(ways, classes)),
            queries=QUERIES,
            tasks=1,
            seed=seed,
            part=part,
            descriptions=self.names,
        )

    def right(self, learner: Learner, params: Params, part: str) -> np.ndarray:
        """Of every text of a split's classes whether it is answered right, all classes at once, [N]."""
        classes = np.sort(self.rows.classes_of(part))
        names = [self.rows.names[place] for place in classes]
        named, _ = examples(self.names.x[classes], names, names)
        groups = np.array([self.kin[self.rows.names[place]] for place in classes])
        random = np.random.default_rng(0)
        outcomes = []
        with torch.no_grad():
            fast = learner.adapt(params, named)
            for group, place in zip(groups, classes, strict=True):
                texts = self.rows.x[self.rows.starts[place] : self.rows.starts[place + 1]]
                chosen = texts[np.sort(random.permutation(len(texts))[:ASKED])]
                scores = learner.predict(params, fast, torch.from_numpy(chosen))
                assert isinstance(scores, torch.Tensor)
                outcomes.append(groups[scores.argmax(1).numpy()] == group)
        return np.concatenate(outcomes).astype(float)


def contenders(shape: tuple[int, ...]) -> dict[str, Learner]:
    """What can be trained on such episodes, each from where it answers as the names alone."""
    net = partial(Residual, shape)
    return {
        "two maps": ZeroShot(net),
        "a map of texts alone": ZeroShot(net, nn.Flatten),
        "one map of both": ZeroShot(net, shared=True),
    }


def benchmark(options: argparse.Namespace) -> Row:
    steps, seeds = (QUICK[1], 2) if options.quick else (options.steps, options.seeds)
    encoder = encoder_named(options.encoder, fetch=True)
    corpora = {name: Corpus.of(read(data_root(options.data), options.quick), encoder) for name, read in CORPORA.items()}
    training, banking = corpora["hwu64 and liu54"], corpora["banking77"]
    alone = LEARNERS["nearest_mean"].build()
    result = Row(
        "zero-shot",
        "hwu64, liu54, banking77",
        f"classes by their names and no example, behind {encoder.name}; trained for {steps} steps of one task with "
        f"{QUERIES} texts a class, Adam 0.001 with a cosine; accuracy in per cent, paired differences to the names "
        f"alone with the 95 % interval over texts, of {seeds} seeds each and of their mean",
        learner="zero_shot on texts",
    )
    # Of unit rows the nearest mean is the one of the largest cosine.
    bar = training.right(alone, {}, "val")
    every = contenders(training.rows.x.shape[1:])
    lines, chosen = list[Line](), dict[str, tuple[float, int]]()
    for name, learner in every.items():
        for ways in options.ways:
            source = training.episodes("train", ways, 0)
            right = training.right(learner, trained(learner, source, steps, 0), "val")
            lines.append({"trained": name, "ways": source.about.ways, **compared(bar, right)})
            chosen[name] = max(chosen.get(name, (-1.0, 0)), (float(right.mean()), ways), key=lambda one: one[0])
    classes = {part: len(training.rows.classes_of(part)) for part in ("train", "val", "trainval", "test")}
    title = f"to choose: {classes['train']} classes of hwu64 and liu54 to train on, {classes['val']} others to ask"
    result.tables.append((title, lines))
    best = max(chosen, key=lambda name: chosen[name][0])
    # The best one under every seed, and the others under one: how far they would have come.
    params = {
        name: [
            trained(every[name], training.episodes("trainval", chosen[name][1], seed), steps, seed)
            for seed in range(seeds if name == best else 1)
        ]
        for name in every
    }
    questions = (
        (training, "test", f"{classes['test']} other classes of hwu64 and liu54", "other classes", 1.0),
        (banking, "all", f"all {len(banking.rows.names)} classes of banking77", "banking77", 0.0),
    )
    for corpus, part, title, what, goal in questions:
        bar, lines = corpus.right(alone, {}, part), []
        for name in sorted(every, key=lambda name: name != best):
            rights = [corpus.right(every[name], weights, part) for weights in params[name]]
            title_of = f"{name} (chosen)" if name == best else name
            lines += [{"trained": title_of, "seed": str(seed), **compared(bar, one)} for seed, one in enumerate(rights)]
            if name == best:
                gains = 100 * (np.mean(rights, axis=0) - bar)
                lines.append({"trained": title_of, "seed": "mean", **compared(bar, np.mean(rights, axis=0))})
                lower = float(gains.mean() - half_width(gains))
                result.targets.append(Target(f"lower end of the points over the names alone, {what}", lower, goal))
        result.tables.append((f"{classes['trainval']} classes to train on; asked: {title}, {len(bar):,} texts", lines))
    options.rounds = None
    return result


def trained(learner: Learner, source: Episodes, steps: int, seed: int) -> Params:
    """The params after the last step."""
    done = train(
        learner,
        source,
        steps=steps,
        schedule="cosine",
        seed=seed,
        validate_every=steps,
        validation=source,
        validation_episodes=1,
        select="last",
        how="loop",
    )
    return done.params


def compared(alone: np.ndarray, right: np.ndarray) -> Line:
    """The two accuracies, and their paired difference."""
    return {
        "names alone, %": with_interval(100 * alone, 1),
        "trained, %": with_interval(100 * right, 1),
        "difference, points": with_interval(100 * (right - alone), 1),
    }


def intents(root: Path, quick: bool) -> LabelledTexts:
    """hwu64 and liu54 joined."""
    pairs = [
        (one["sentence"], one["label"])
        for name in ("hwu64", "liu54")
        for one in json_lines(root / name / "full.jsonl.gz")
    ]
    return labelled(pairs, "intents", quick)


def bank_questions(root: Path, quick: bool) -> LabelledTexts:
    """The test texts of banking77."""
    return labelled(banking77(root / "banking77").test, "banking77", quick)


def labelled(pairs: list[tuple[str, str]], name: str, quick: bool) -> LabelledTexts:
    """Every text of a class once; of few classes for a smoke test."""
    names = sorted({label for _, label in pairs})[: QUICK[0] if quick else None]
    texts, labels = zip(*dict.fromkeys(pair for pair in pairs if pair[1] in names), strict=True)
    return LabelledTexts(texts, labels, name)


CORPORA: dict[str, Callable[[Path, bool], LabelledTexts]] = {"hwu64 and liu54": intents, "banking77": bank_questions}


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds the data sets' folders")
    parser.add_argument("--encoder", default="words", help="of texts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="of every training")
    parser.add_argument("--ways", type=int, nargs="+", default=WAYS, help="classes of a training task, to choose from")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
