"""Learners and tasks on which the laws are tested."""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import nn

from mapwise.catalog.learners import LEARNERS
from mapwise.core import tree
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.learner import WAIVABLE, Learner
from mapwise.data.annotated.read import Corpus
from mapwise.data.annotated.texts import AnnotatedText, Span
from mapwise.data.rows import LabelledRows
from mapwise.laws.check import LAWS
from mapwise.learners.memory.ntm import NTM
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.maml_pp import MAMLPlusPlus
from mapwise.nets import MLP
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.sequences import Copy
from mapwise.tasks.span_episodes import SpanEpisodes
from mapwise.tasks.span_rows import AnnotatedRows

TRAINED = {name: row for name, row in LEARNERS.items() if not row.of_runs}
"""The learners of the catalog that are trained themselves, by name."""
BY_NAME = {law.name: law for law in LAWS}
TINY: dict[str, Any] = {"hidden": (16,), "activation": "tanh"}
SETTINGS: dict[str, dict[str, Any]] = {
    "maml": {"inner_steps": 2},
    "fomaml": {"inner_steps": 2},
    "anil": {"inner_steps": 2},
    # At larger rates so narrow a body adapts as well before training as after it.
    "boil": {"inner_steps": 2, "inner_lr": 0.1},
    "reptile": {"inner_steps": 3, "inner_batch": 4, "train_steps": None, "train_batch": None, "inner_lr": 0.02},
    "maml_pp": {"train_steps": 2},
    "meta_lstm": {"inner_steps": 2},
    "learned_optimizer": {"inner_steps": 6, "unroll": 3, "hidden": 8, "initial_scale": 0.3},
    "imaml": {"inner_steps": 3, "inner_lr": 0.4, "cg_steps": 2, "pull": 1.0},
    "prox": {"inner_steps": 5, "inner_lr": 0.3},
    "proto_maml": {"inner_steps": 2},
    "finetune": {"tune_steps": 20},
    "baseline_pp": {"tune_steps": 20},
    "span_finder": {"scale": 2.0},
    "token_matching": {"scale": 2.0, "beyond": 0.3},
    "abml": {"inner_steps": 2, "inner_samples": 2, "samples": 2, "log_sigma": -3.0, "inner_kl": 1e-3, "outer_kl": 1e-3},
    "vampire": {"inner_steps": 2, "inner_samples": 2, "samples": 2, "log_sigma": -3.0, "inner_kl": 1e-3},
    "r2d2": {"learn_ridge": True},
    "matching_fce": {"context_steps": 3},
    "relation": {"filters": 16},
    "versa": {"samples": 3, "units": 16, "log_variance": -4.0},
    "cnp": {"width": 16},
    "viml": {"width": 16, "latent": 8, "samples": 3},
    "distribution_calibration": {"samples": 6, "base_rows": 4, "solver_steps": 30},
    "linear_probe": {"solver_steps": 30},
    "hypernet": {"hidden": 16},
    "ntm": {"units": 16, "slots": 4, "width": 6},
    "dnc": {"units": 16, "slots": 4, "width": 6, "reads": 2},
    "meta_networks": {"units": 16, "hidden": 8, "chunks": 3},
    "memory_network": {"width": 8},
    "memory_network_nearest": {"width": 8, "slots": 5},
    "snail": {"keys": (8, 16), "values": (8, 16), "filters": 8, "reach": 4},
}


@cache
def blobs() -> Episodes:
    """Classes that differ in two inputs of eight, the others being loud noise."""
    random = np.random.default_rng(0)
    classes, rows = 60, 12
    centres = np.zeros((classes, 8))
    centres[:, :2] = 2 * random.normal(size=(classes, 2))
    x = centres[:, None] + random.normal(size=(classes, rows, 8)) * ([0.3] * 2 + [2.0] * 6)
    table = LabelledRows.of(x.reshape(-1, 8).astype(np.float32), np.repeat(np.arange(classes), rows), name="blobs")
    return Episodes(table, ways=3, shots=2, queries=5, tasks=8)


@cache
def copies() -> Copy:
    """One or two bits to be said again."""
    return Copy(length="1-2", width=1, tasks=16)


class FewPieces:
    """Each word is one piece of a small vocabulary, whose last numbers stand around a text."""

    vocabulary, start, end = 40, 38, 39

    def __call__(self, unit):
        return [1 + int(unit[1:]) % 30 if unit[1:].isdigit() else 31 + len(unit) % 7]


@cache
def sentences() -> SpanEpisodes:
    """Short sentences whose words say by their piece of which type they are, and by their case that they are of one."""
    random = np.random.default_rng(0)
    texts = []
    for _ in range(360):
        words, spans = [], list[Span]()
        for _ in range(6):
            at = len(" ".join([*words, ""]))
            kind = int(random.integers(12))
            named = kind < 6
            word = f"{'N' if named else 'w'}{kind + 6 * int(random.integers(2)) if named else 12 + kind}"
            words.append(word)
            spans += [Span(at, at + len(word), f"type{kind}")] if named else []
        texts.append(AnnotatedText(" ".join(words), tuple(spans)))
    parts = {part: range(120 * place, 120 * (place + 1)) for place, part in enumerate(("train", "val", "test"))}
    corpus = Corpus("sentences", tuple(texts), ("",) * len(texts), parts)
    rows = AnnotatedRows.of([corpus], FewPieces(), 8)
    return SpanEpisodes(rows, ways=2, shots=2, tasks=8)


class Reader(nn.Module):
    """A vector for each piece of a text, from the piece and its case."""

    output_shape = (8,)

    def __init__(self):
        super().__init__()
        self.pieces, self.cases = nn.Embedding(FewPieces.vocabulary, 8), nn.Embedding(7, 8)
        self.out = nn.Linear(8, 8)

    def forward(self, x):
        return self.out(torch.tanh(self.pieces(x["pieces"]) + self.cases(x["cases"])))


@dataclass(frozen=True)
class DetachesThePrototypes(ProtoNet):
    def adapt(self, params, support):
        return tree.detach(super().adapt(params, support))


@dataclass(frozen=True)
class WaivesWithoutAWord(ProtoNet):
    """A class is the mean of its embedded support rows.

    Paper:   Snell 2017.
    Fast:    {"prototypes": [W, D]}.
    Loss:    cross-entropy.
    Differs: nothing.
    """

    @property
    def keeps(self):
        return WAIVABLE - {"order"}


@dataclass(frozen=True)
class PrefersTheFirstClass(ProtoNet):
    def predict(self, params, fast, x):
        scores = super().predict(params, fast, x)
        return scores - 0.01 * torch.arange(scores.shape[1]).to(scores)


@dataclass(frozen=True)
class ClaimsToPredictAlone(ProtoNet):
    @property
    def keeps(self):
        return WAIVABLE


def with_a_bug(bug: type[Learner]) -> Learner:
    if issubclass(bug, FixedHeadLearner):
        return bug(
            partial(MLP, (8,), 3, **TINY), **{"train_steps" if issubclass(bug, MAMLPlusPlus) else "inner_steps": 2}
        )
    if issubclass(bug, NTM):
        return bug(**LEARNERS["ntm"].sizes(copies()), **SETTINGS["ntm"])
    norm = "batch" if bug is ClaimsToPredictAlone else None
    return bug(partial(MLP, (8,), norm=norm, **TINY))
