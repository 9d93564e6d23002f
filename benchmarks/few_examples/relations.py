"""Which relation holds between two marked entities? FewRel with one example and with five, within and across domains.

    python -m benchmarks.few_examples.relations --data DATA [--episodes 1000] [--seeds 3] [--quick] [--json FILE]

Of the 16 relations of val_wiki (sentences of Wikipedia) 11 are to choose by and to train on, and 5 are asked, with the
relations of val_pubmed (abstracts), of val_semeval (sentences of the web) and of val_nyt (news) that are not among the
11. An episode has 5 relations, 1 or 5 sentences of each as examples, and 10 others of each as queries; every contender
gets the same ones. All but the last two are not trained: a relation is the mean of its examples. A name counts as one
example. The trained ones are ProtoNet on a linear map of the vectors, which starts as the identity.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import row
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import encoder_named
from mapwise.catalog.learners import LEARNERS
from mapwise.core import functional
from mapwise.core.interval import half_width
from mapwise.core.task import Examples
from mapwise.data.annotated.pairs import pair_of, row_of
from mapwise.data.class_names import read_name
from mapwise.data.rows import LabelledRows
from mapwise.data.store import data_root
from mapwise.encoders.encoder import description_rows
from mapwise.engine.train import train
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.nets import Residual
from mapwise.tasks.episodes import Episodes

WAYS, SHOTS, QUERIES, TRAINING = 5, (1, 5), 10, 11
STEPS, RATE, TASKS = 200, 3e-4, 8
"""Of a training; chosen by relations held out of the 11."""
QUICK, QUICK_EPISODES = 24, 20
"""Sentences of a relation in a smoke test, and episodes."""
DOMAINS = ("val_wiki", "val_pubmed", "val_semeval", "val_nyt")
MEAN = LEARNERS["nearest_mean"].build()
FLOOR, BOTH, NAMED, TRAINED, TRAINED_NAMED = (
    "minilm, no marks",
    "relations",
    "relations, names",
    "relations, trained",
    "relations, trained, names",
)


@dataclass(frozen=True)
class Domain:
    """Sentences with a head and a tail, one relation after another.

    names:  of every relation, as words.
    starts: where the sentences of each begin, and the end of the last.
    """

    relations: list[str]
    names: list[str]
    sentences: list[str]
    starts: np.ndarray

    @classmethod
    def read(cls, root: Path, name: str, most: int | None) -> "Domain":
        """A part of FewRel; most: sentences of a relation, from the first."""
        titles = _json(root / "pid2name.json.gz")
        part = {relation: given[:most] for relation, given in sorted(_json(root / f"{name}.json.gz").items())}
        names = [titles[relation][0] if relation in titles else read_name(relation) for relation in part]
        sentences = [_marked(one) for given in part.values() for one in given]
        return cls(list(part), names, sentences, np.cumsum([0, *map(len, part.values())]))


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return content


def _marked(one: dict[str, Any]) -> str:
    """A sentence of FewRel with its marks, where an entity stands first; its words are joined by spaces."""
    text, places = "", list[tuple[int, int]]()
    for word in map(str.strip, one["tokens"]):
        start = len(text) + bool(text and word)
        text += f" {word}" if text and word else word
        places.append((start, len(text)))
    head, tail = ((places[one[role][2][0][0]][0], places[one[role][2][0][-1]][1]) for role in "ht")
    return row_of(text, head, tail)


Encode = Callable[[Sequence[str]], np.ndarray]
"""Sentences with marks -> [N, D]."""


def encoders() -> dict[str, Encode]:
    """What is compared without training."""
    minilm, relations = (encoder_named(name, fetch=False) for name in ("minilm", "relations"))

    def parts(first: int, last: int) -> Encode:
        return lambda rows: relations(rows).reshape(len(rows), 4, -1)[:, first:last].reshape(len(rows), -1)

    def written(write: Callable[[str, str, str], str]) -> Encode:
        return lambda rows: minilm([write(*_words(one)) for one in rows])

    return {
        FLOOR: written(lambda text, head, tail: text),
        "minilm, HEAD and TAIL: TEXT": written(lambda text, head, tail: f"{head} and {tail}: {text}"),
        "relations, head and tail alone": parts(0, 2),
        "relations, the rest alone": parts(2, 4),
        BOTH: relations,
    }


def _words(sentence: str) -> tuple[str, str, str]:
    """The text without marks, its head and its tail."""
    text, *spans = pair_of(sentence)
    head, tail = (text[span.start : span.end] for span in spans)
    return text, head, tail


class Contender(NamedTuple):
    """What a relation is the mean of.

    rows:  [N, D], of the sentences.
    names: [R, D], a row for every relation, as one more example; None: none.
    """

    rows: np.ndarray
    names: np.ndarray | None = None

    def right(self, support: np.ndarray, queries: np.ndarray, relations: np.ndarray) -> float:
        """The share of the queries of an episode that is answered right.

        support, queries: [W, K] and [W, Q] places among the rows; relations: [W].
        """
        given = self.rows[support]  # [W, K, D]
        if self.names is not None:
            given = np.concatenate([given, self.names[relations][:, None]], axis=1)
        y = torch.eye(len(relations)).repeat_interleave(given.shape[1], 0)
        x = torch.from_numpy(given.reshape(-1, given.shape[-1]))
        fast = MEAN.adapt({}, Examples(x, y, torch.ones(len(x)), torch.zeros((), dtype=torch.int64)))
        scores = MEAN.predict({}, fast, torch.from_numpy(self.rows[queries.ravel()]))
        assert isinstance(scores, torch.Tensor)
        answers = scores.argmax(1).numpy().reshape(queries.shape)
        return float((answers == np.arange(len(relations))[:, None]).mean())


def accuracies(
    contenders: dict[str, Contender], domain: Domain, relations: np.ndarray, shots: int, episodes: int
) -> dict[str, np.ndarray]:
    """Of each contender the accuracy in each episode; all get the same episodes."""
    random = np.random.default_rng(shots)
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(episodes):
        chosen = random.choice(relations, WAYS, replace=False)
        places = np.stack(
            [
                domain.starts[one] + random.permutation(domain.starts[one + 1] - domain.starts[one])[: shots + QUERIES]
                for one in chosen
            ]
        )
        for name, contender in contenders.items():
            values[name].append(contender.right(places[:, :shots], places[:, shots:], chosen))
    return {name: np.asarray(of_one) for name, of_one in values.items()}


Map = Callable[[np.ndarray], np.ndarray]
"""[N, D] -> [N, D]"""


def trained(rows: np.ndarray, domain: Domain, relations: np.ndarray, steps: int, seed: int) -> Map:
    """The map that ProtoNet learns on these relations of a domain; behind it, it answers as nearest mean does."""
    labels = np.repeat(domain.relations, np.diff(domain.starts))
    among = np.isin(labels, np.asarray(domain.relations)[relations])
    names = sorted(set(labels[among]))
    splits = dict.fromkeys(("train", "val", "test"), names)
    source = Episodes(
        LabelledRows.of(rows[among], labels[among], name="val_wiki", splits=splits),
        *(WAYS, 1),
        queries=QUERIES,
        tasks=TASKS,
        seed=seed,
    )
    net = Residual(rows.shape[1:])
    done = train(
        *(ProtoNet(partial(Residual, rows.shape[1:])), source),
        steps=steps,
        schedule="cosine",
        optimizer=f"Adam lr={RATE:g}",
        seed=seed,
        validate_every=steps,
        validation=source,
        validation_episodes=1,
        select="last",
    )
    return lambda x: functional.apply(net, done.params, torch.from_numpy(x)).detach().numpy()


def benchmark(options: argparse.Namespace) -> Row:
    quick = options.quick
    episodes, seeds, steps = (QUICK_EPISODES, 2, 3) if quick else (options.episodes, options.seeds, STEPS)
    root = data_root(options.data) / "fewrel"
    domains = {name: Domain.read(root, name, QUICK if quick else None) for name in DOMAINS}
    wiki = domains["val_wiki"]
    order = np.random.default_rng(0).permutation(len(wiki.relations))
    training, test = np.sort(order[:TRAINING]), np.sort(order[TRAINING:])
    known = {wiki.relations[place] for place in training}
    encoded = {
        title: {name: encode(domain.sentences).astype(np.float32) for name, domain in domains.items()}
        for title, encode in encoders().items()
    }
    relations = encoder_named("relations", fetch=False)
    names = {name: relations(description_rows(relations, domain.names)) for name, domain in domains.items()}
    runs = [trained(encoded[BOTH]["val_wiki"], wiki, training, steps, seed) for seed in range(seeds)]
    columns = {
        f"to choose: the {len(training)} of val_wiki": ("val_wiki", training),
        f"{len(test)} others of val_wiki": ("val_wiki", test),
    }
    for name in DOMAINS[1:]:
        places = np.asarray([place for place, one in enumerate(domains[name].relations) if one not in known])
        columns[f"{len(places)} of {name}"] = (name, places)
    result = Row(
        "relations",
        "fewrel",
        f"{WAYS} ways, {QUERIES} queries a class, {episodes:,} episodes that all contenders share; accuracy in per "
        f"cent with the 95 % interval over episodes; trained: the mean of {seeds} seeds, {steps} steps of {TASKS} "
        f"tasks with 1 shot, Adam {RATE:g} with a cosine",
        learner="protonet on relations",
    )
    differences = list[Line]()
    for shots in SHOTS:
        lines = {title: Line(rows=title) for title in (*encoded, NAMED, TRAINED, TRAINED_NAMED)}
        seen = dict[str, dict[str, np.ndarray]]()
        for column, (name, places) in columns.items():
            contenders = {title: Contender(arrays[name]) for title, arrays in encoded.items()}
            rows = encoded[BOTH][name]
            contenders[NAMED] = Contender(rows, names[name])
            if places is not training:
                for seed, run in enumerate(runs):
                    contenders[f"{TRAINED} {seed}"] = Contender(run(rows))
                    contenders[f"{TRAINED_NAMED} {seed}"] = Contender(run(rows), run(names[name]))
            values = seen[column] = accuracies(contenders, domains[name], places, shots, episodes)
            if places is not training:
                for title in (TRAINED, TRAINED_NAMED):
                    values[title] = np.mean([values[f"{title} {seed}"] for seed in range(seeds)], axis=0)
            for title, line in lines.items():
                line[column] = with_interval(100 * values[title], 1) if title in values else ""
        result.tables.append((f"{WAYS} ways, {shots} shot{'s' * (shots > 1)}", list(lines.values())))
        for title, one, other in (
            ("relations over no marks", BOTH, FLOOR),
            ("names over none", NAMED, BOTH),
            *((f"training over none, seed {seed}", f"{TRAINED} {seed}", BOTH) for seed in range(seeds)),
            ("training over none, with names", TRAINED_NAMED, NAMED),
        ):
            gains = {column: 100 * (values[one] - values[other]) for column, values in seen.items() if one in values}
            line = {"shots": str(shots), "points": title}
            line |= {column: with_interval(gains[column], 1) if column in gains else "" for column in columns}
            differences.append(line)
            if one in (BOTH, f"{TRAINED} 0") and shots == 1:
                result.targets += [
                    Target(f"lower end of {title}, {column}, {shots} shot", float(gain.mean() - half_width(gain)), 0.0)
                    for column, gain in gains.items()
                    if columns[column][1] is not training
                ]
    result.tables.append(("paired differences, in points", differences))
    result.notes.append(f"the relations of val_wiki that are asked: {', '.join(wiki.names[place] for place in test)}")
    options.rounds = None
    return result


def main(words: list[str]) -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds the data sets' folders")
    parser.add_argument("--episodes", type=int, default=1000, help="of every column")
    parser.add_argument("--seeds", type=int, default=3, help="of the training")
    return row.run(parser, benchmark, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
