"""Every learner of the catalog keeps the laws, and every law catches the bug it is there for."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from conftest import ROOT
from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.sources import training_source
from mapwise.core import functional, tree
from mapwise.core.families.fixed_head import FixedHeadLearner
from mapwise.core.geometry import class_means
from mapwise.core.inner_loop import SGD, descend
from mapwise.core.learner import WAIVABLE, Learner
from mapwise.core.map_tasks import task_at
from mapwise.core.source import TaskSource
from mapwise.core.task import present_classes
from mapwise.data.rows import LabelledRows
from mapwise.engine import checkpoint
from mapwise.laws.case import Case
from mapwise.laws.check import LAWS, BrokenLaw, check
from mapwise.learners.generation.cnp import CNP
from mapwise.learners.generation.hypernet import HyperNet
from mapwise.learners.memory.mann import MANN
from mapwise.learners.memory.ntm import NTM
from mapwise.learners.metric.matching import Matching
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.metric.relation import Relation
from mapwise.learners.optimization.maml import MAML
from mapwise.learners.optimization.maml_pp import MAMLPlusPlus
from mapwise.learners.optimization.meta_sgd import MetaSGD
from mapwise.learners.optimization.proto_maml import ProtoMAML
from mapwise.learners.optimization.prox import all_rows
from mapwise.learners.row import BLUEPRINTS, LearnerRow
from mapwise.nets import MLP, Conv4, ResNet12
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.lines import Lines
from mapwise.tasks.sequences import Copy
from mapwise.tasks.sinusoid import Sinusoid

BY_NAME = {law.name: law for law in LAWS}
STRICT = {law.name for law in LAWS if not law.waivable}
TINY: dict[str, Any] = {"hidden": (16,), "activation": "tanh"}
SMALL: dict[str, Any] = {"filters": 4, "down": "average", "activation": "tanh"}
SETTINGS: dict[str, dict[str, Any]] = {
    "maml": {"inner_steps": 2},
    "fomaml": {"inner_steps": 2},
    "anil": {"inner_steps": 2},
    # At larger rates so narrow a body adapts as well before training as after it.
    "boil": {"inner_steps": 2, "inner_lr": 0.1},
    "reptile": {"inner_steps": 3, "inner_batch": 4, "train_steps": None, "train_batch": None, "inner_lr": 0.02},
    "maml_pp": {"train_steps": 2},
    "meta_lstm": {"inner_steps": 2},
    "imaml": {"inner_steps": 3, "inner_lr": 0.4, "cg_steps": 2, "pull": 1.0},
    "prox": {"inner_steps": 5, "inner_lr": 0.3},
    "proto_maml": {"inner_steps": 2},
    "finetune": {"tune_steps": 20},
    "abml": {"inner_steps": 2, "inner_samples": 2, "samples": 2, "log_sigma": -3.0, "inner_kl": 1e-3, "outer_kl": 1e-3},
    "vampire": {"inner_steps": 2, "inner_samples": 2, "samples": 2, "log_sigma": -3.0, "inner_kl": 1e-3},
    "r2d2": {"learn_ridge": True},
    "matching_fce": {"context_steps": 3},
    "relation": {"filters": 16},
    "versa": {"samples": 3, "units": 16, "log_variance": -4.0},
    "cnp": {"width": 16},
    "hypernet": {"hidden": 16},
    "ntm": {"units": 16, "slots": 4, "width": 6},
    "meta_networks": {"units": 16, "hidden": 8, "chunks": 3},
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
def pictures() -> Episodes:
    """16 x 16 pictures: a class is a stripe pattern of its own angle, under a random phase and noise."""
    random = np.random.default_rng(0)
    classes, rows = 40, 10
    angle = random.uniform(0, np.pi, classes)[:, None, None, None]
    phase = random.uniform(0, 2 * np.pi, (classes, rows, 1, 1))
    down, right = np.mgrid[:16, :16] / 2.5
    x = np.sin(np.cos(angle) * down + np.sin(angle) * right + phase) + 0.2 * random.normal(size=(classes, rows, 16, 16))
    x = x.reshape(-1, 1, 16, 16).astype(np.float32)
    return Episodes(LabelledRows.of(x, np.repeat(np.arange(classes), rows)), ways=3, shots=2, queries=4, tasks=4)


@cache
def copies() -> Copy:
    """One or two bits to be said again."""
    return Copy(length="1-2", width=1, tasks=16)


def family(row: LearnerRow) -> TaskSource:
    """Tasks of a kind that the learner is for."""
    return blobs() if row.takes("classification") else copies()


def built(name: str, tasks: TaskSource, make: Callable[..., Any], **options: Any) -> tuple[Learner, TaskSource]:
    row = LEARNERS[name]
    source = training_source(row, tasks)
    if row.blueprint is None:
        return row.build(None, {**SETTINGS.get(name, {}), **row.sizes(source)}), source
    outputs = source.outputs if BLUEPRINTS[row.blueprint] else None
    return row.build(partial(make, source.inputs.shape, outputs, **options), SETTINGS.get(name)), source


def regression() -> tuple[Learner, TaskSource]:
    net = partial(MLP, (1,), 1, hidden=(20, 20), activation="tanh")
    return MAML(net, inner_steps=2, inner_lr=0.05, loss="squared_error"), Sinusoid(shots=10, tasks=8)


def functions() -> tuple[Learner, TaskSource]:
    return CNP(partial(MLP, (1,), hidden=()), loss="gaussian", width=32), Sinusoid(shots=10, tasks=8)


def lines() -> tuple[Learner, TaskSource]:
    net = partial(MLP, (1,), 1, hidden=(16,), activation="tanh")
    return HyperNet(net, hidden=16, loss="squared_error"), Lines(tasks=8)


CASES: dict[str, Callable[[], tuple[Learner, TaskSource]]] = {
    **{
        name: partial(lambda name, row: built(name, family(row), MLP, **TINY), name, row)
        for name, row in LEARNERS.items()
    },
    **{
        f"{name} {norm}": partial(lambda name, norm: built(name, blobs(), MLP, norm=norm, **TINY), name, norm)
        for name in ("maml", "protonet")
        for norm in ("batch", "support", "group", "layer", "frozen")
    },
    "maml_pp support": lambda: built("maml_pp", blobs(), MLP, norm="support", **TINY),
    "maml_pp batch": lambda: built("maml_pp", blobs(), MLP, norm="batch", **TINY),
    "meta_lstm support": lambda: built("meta_lstm", blobs(), MLP, norm="support", **TINY),
    "imaml support": lambda: built("imaml", blobs(), MLP, norm="support", **TINY),
    "abml support": lambda: built("abml", blobs(), MLP, norm="support", **TINY),
    "proto_maml support": lambda: built("proto_maml", blobs(), MLP, norm="support", **TINY),
    "proto_maml first order": lambda: (
        ProtoMAML(partial(MLP, (8,), **TINY), inner_steps=2, first_order=True),
        blobs(),
    ),
    "siamese frozen": lambda: built("siamese", blobs(), MLP, norm="frozen", **TINY),
    "siamese batch": lambda: built("siamese", blobs(), MLP, norm="batch", **TINY),
    "matching set": lambda: (Matching(partial(MLP, (8,), **TINY), full_context="set", context_steps=3), blobs()),
    "matching_fce batch": lambda: built("matching_fce", blobs(), MLP, norm="batch", **TINY),
    "relation frozen": lambda: built("relation", blobs(), MLP, norm="frozen", **TINY),
    "relation support": lambda: built("relation", blobs(), MLP, norm="support", **TINY),
    "relation batch": lambda: built("relation", blobs(), MLP, norm="batch", **TINY),
    "relation batch of pairs": lambda: (Relation(partial(MLP, (8,), **TINY), filters=16, norm="batch"), blobs()),
    "versa support": lambda: built("versa", blobs(), MLP, norm="support", **TINY),
    "versa batch": lambda: built("versa", blobs(), MLP, norm="batch", **TINY),
    "cnp frozen": lambda: built("cnp", blobs(), MLP, norm="frozen", **TINY),
    "cnp support": lambda: built("cnp", blobs(), MLP, norm="support", **TINY),
    "cnp batch": lambda: built("cnp", blobs(), MLP, norm="batch", **TINY),
    "cnp regression": functions,
    "meta_networks support": lambda: built("meta_networks", blobs(), MLP, norm="support", **TINY),
    "meta_networks batch": lambda: built("meta_networks", blobs(), MLP, norm="batch", **TINY),
    "hypernet support": lambda: built("hypernet", blobs(), MLP, norm="support", **TINY),
    "hypernet whole and fit": lambda: (
        HyperNet(partial(MLP, (8,), 3, **TINY), writes=("*",), hidden=16, passes=2, inner_steps=1),
        blobs(),
    ),
    "hypernet regression": lines,
    "supervised batch": lambda: built("supervised", blobs(), MLP, norm="batch", **TINY),
    "supervised frozen": lambda: built("supervised", blobs(), MLP, norm="frozen", **TINY),
    "finetune batch": lambda: built("finetune", blobs(), MLP, norm="batch", **TINY),
    "finetune support": lambda: built("finetune", blobs(), MLP, norm="support", **TINY),
    "protonet conv4": lambda: built("protonet", pictures(), Conv4, norm="frozen", **SMALL),
    "maml regression": regression,
}


@pytest.mark.parametrize("name", CASES)
def test_every_learner_keeps_the_laws_it_does_not_waive(name):
    learner, source = CASES[name]()
    verdicts = check(learner, source)
    verdicts.raise_if_broken()
    assert [verdict.law for verdict in verdicts] == list(LAWS)
    undecided = {verdict.law.name for verdict in verdicts if verdict.holds is None}
    assert undecided == WAIVABLE - learner.keeps


def test_maml_on_a_convolutional_net_keeps_every_law():
    # All but `learns`, which takes longer than all the others: MLPs are asked for it, and so are the benchmarks.
    learner, source = built("maml", pictures(), Conv4, norm="support", **SMALL)
    case = Case(learner, source, steps=2)
    by_name = {
        law.name: law.examine(case) for law in LAWS if law.name != "learns" and law.name in learner.keeps | STRICT
    }
    assert {name: finding for name, finding in by_name.items() if not finding[0]} == {}
    assert BY_NAME["relabel"].examine(case)[0] is False


def test_relations_of_feature_maps_keep_every_law():
    learner, source = built("relation", pictures(), Conv4, norm="frozen", maps=True, halvings=2, **SMALL)
    case = Case(learner, source, steps=2)
    results = [law for law in LAWS if law.name != "learns" and (not law.waivable or law.name in learner.keeps)]
    assert {law.name: result for law in results if not (result := law.examine(case))[0]} == {}


FAMILIES = ("maml", "protonet", "meta_networks", "cnp", "supervised")
"""One learner of each."""
DEEP: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "conv4": (Conv4, SMALL),
    "resnet12": (ResNet12, {"filters": (4, 4, 4, 4), "pool": "average"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "support", "frozen", "group", "layer"])
@pytest.mark.parametrize("net", DEEP)
@pytest.mark.parametrize("name", FAMILIES)
def test_convolutional_nets_of_every_norm_keep_what_a_net_can_break(name, net, norm):
    make, options = DEEP[net]
    learner, source = built(name, pictures(), make, norm=norm, **options)
    case = Case(learner, source, steps=1)
    findings = {law: BY_NAME[law].judge(case) for law in ("map", "padding", "alone") if law in learner.keeps | STRICT}
    assert {law: finding for law, finding in findings.items() if not finding[0]} == {}


@pytest.mark.parametrize("name", CASES)
def test_a_waived_law_is_truly_broken(name):
    learner, source = CASES[name]()
    case = Case(learner, source, steps=10)
    for waived in WAIVABLE - learner.keeps:
        result, detail = BY_NAME[waived].judge(case)
        if waived == "relabel" and source.problem.columns != "classes":
            assert result is None and "no classes" in detail
        elif "not embedded once" in detail:
            assert waived == "embeds" and functional.statistics_kept(learner.encoder) - {"measured"}
        else:
            assert result is False, f"{waived} is waived and it holds: {detail}"


# The bugs each law is there for --------------------------------------------------------------------------


@dataclass(frozen=True)
class TakesAShortcutUnderVmap(ProtoNet):
    def adapt(self, params, support):
        fast = super().adapt(params, support)
        if torch._C._functorch.is_batchedtensor(support.y):
            fast = {**fast, "prototypes": fast["prototypes"].half().to(fast["prototypes"])}
        return fast


@dataclass(frozen=True)
class LooksAtANumber(ProtoNet):
    def objective(self, params, task):
        loss = super().objective(params, task)
        return loss if loss.item() < 10 else loss / 10


@dataclass(frozen=True)
class HidesWhatItsInnerLossUses(MAML):
    def adapt(self, params, support):
        def loss(weights, step):
            return self.criterion(functional.apply(self.net, weights, support.x), support)

        fast = descend(loss, params, SGD(self.inner_lr), self.inner_steps)
        return {**fast, "present": present_classes(support)}


@dataclass(frozen=True)
class TrainsOnADetachedLoss(ProtoNet):
    def objective(self, params, task):
        return super().objective(params, task).detach()


@dataclass(frozen=True)
class GuessesFromTheLabels(ProtoNet):
    """Its prototypes never see the inputs, so it can only guess."""

    def adapt(self, params, support):
        fast = super().adapt(params, support)
        return {**fast, "prototypes": torch.zeros_like(fast["prototypes"])}


@dataclass(frozen=True)
class DrawsFromTorch(ProtoNet):
    def adapt(self, params, support):
        fast = super().adapt(params, support)
        return {**fast, "prototypes": fast["prototypes"] + 0.01 * torch.rand(fast["prototypes"].shape[-1])}


@dataclass(frozen=True)
class DrawsFromNumpy(ProtoNet):
    def predict(self, params, fast, x):
        return super().predict(params, fast, x) * (1 + float(np.random.default_rng().random()))


@dataclass(frozen=True)
class RemembersOnItself(ProtoNet):
    def adapt(self, params, support):
        fast = super().adapt(params, support)
        object.__setattr__(self, "_prototypes", fast["prototypes"])
        return {"present": fast["present"]}

    def predict(self, params, fast, x):
        return super().predict(params, {**fast, "prototypes": self._prototypes}, x)


LATEST: dict[str, Any] = {}


@dataclass(frozen=True)
class RemembersInItsModule(ProtoNet):
    def adapt(self, params, support):
        LATEST.update(super().adapt(params, support))
        return {"present": LATEST["present"]}

    def predict(self, params, fast, x):
        return super().predict(params, {**LATEST, **fast}, x)


@dataclass(frozen=True)
class ReturnsAPlainNumber(ProtoNet):
    def adapt(self, params, support):
        return {**super().adapt(params, support), "ways": support.y.shape[1]}


@dataclass(frozen=True)
class CountsOnTheOrderOfNames(ProtoNet):
    def predict(self, params, fast, x):
        return super().predict(params, fast, x) * (1 + next(iter(params.values())).abs().mean())


@dataclass(frozen=True)
class ForgetsTheSecondOrder(MAML):
    """A first-order inner loop that is said to be differentiated through."""

    first_order: bool = True

    def surrogate(self, params, task):
        return Learner.surrogate(self, params, task)


@dataclass(frozen=True)
class SaysFirstOrderAndIsNot(MAML):
    def surrogate(self, params, task):
        return MAML.surrogate(dataclasses.replace(self, first_order=True), params, task)


@dataclass(frozen=True)
class DetachesThePrototypes(ProtoNet):
    def adapt(self, params, support):
        return tree.detach(super().adapt(params, support))


@dataclass(frozen=True)
class SaysNothing(ProtoNet):
    pass


@dataclass(frozen=True)
class NamesNoPaper(ProtoNet):
    """A class is the mean of its embedded support rows.

    Fast:    {"prototypes": [W, D]}.
    Loss:    cross-entropy.
    Differs: nothing.
    """


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
class TrustsEarlyRowsMore(ProtoNet):
    def adapt(self, params, support):
        trust = 0.9 ** torch.arange(len(support.weight)).to(support.weight)
        return super().adapt(params, support._replace(weight=support.weight * trust))


@dataclass(frozen=True)
class PrefersTheFirstClass(ProtoNet):
    def predict(self, params, fast, x):
        scores = super().predict(params, fast, x)
        return scores - 0.01 * torch.arange(scores.shape[1]).to(scores)


@dataclass(frozen=True)
class IgnoresRowWeights(ProtoNet):
    def adapt(self, params, support):
        unweighted = super().adapt(params, support._replace(weight=torch.ones_like(support.weight)))
        return {**unweighted, "present": present_classes(support)}


@dataclass(frozen=True)
class OffersAbsentClasses(ProtoNet):
    def adapt(self, params, support):
        fast = super().adapt(params, support)
        return {**fast, "present": torch.ones_like(fast["present"])}


@dataclass(frozen=True)
class JudgesOnPaddedQueries(ProtoNet):
    def objective(self, params, task):
        ones = torch.ones_like(task.query.weight)
        return super().objective(params, task._replace(query=task.query._replace(weight=ones)))


@dataclass(frozen=True)
class CentresTheQueries(ProtoNet):
    def predict(self, params, fast, x):
        return super().predict(params, fast, x - 0.1 * x.mean(0))


@dataclass(frozen=True)
class ClaimsToPredictAlone(ProtoNet):
    @property
    def keeps(self):
        return WAIVABLE


@dataclass(frozen=True)
class ReadsTheLabelWithTheRow(MANN):
    def causal(self, params, rows):
        return super().causal(params, rows._replace(y=rows.y.roll(-1, 0)))


@dataclass(frozen=True)
class ForgetsPaddingInItsPass(MANN):
    def causal(self, params, rows):
        return super().causal(params, rows._replace(weight=torch.ones_like(rows.weight)))


@dataclass(frozen=True)
class TrainsOnTheSecondHalf(MANN):
    def objective(self, params, task):
        late = torch.arange(len(task.support.y)) >= len(task.support.y) // 2
        counted = task.support._replace(weight=task.support.weight * late)
        return self.criterion(self.causal(params, task.support), counted)


@dataclass(frozen=True)
class VotesWithoutTheScatter(ProtoNet):
    def votes(self, params, fast, support, x):
        near = (self.embed(params, fast, x)[:, None] - self.embed(params, fast, support.x)).square().sum(-1)
        return -near[:, :, None] * support.y * support.weight[:, None] / support.y.sum(0)


@dataclass(frozen=True)
class CountsRowsOfWeightZero(ProtoNet):
    def votes(self, params, fast, support, x):
        whole = super().votes(params, fast, support, x)
        return whole + 1e-6 * (support.weight == 0)[:, None]


@dataclass(frozen=True)
class EncodesAnotherRow(ProtoNet):
    def encode(self, params, x):
        return super().encode(params, x + 1e-3)


@dataclass(frozen=True)
class ComparesElsewhereOnceEmbedded(ProtoNet):
    def over_embedded(self, params):
        over = super().over_embedded(params)
        return over._replace(learner=Turned(over.learner.encoder))


@dataclass(frozen=True)
class Turned(ProtoNet):
    """Distances, and so scores, stay as they are when the embedding is turned round."""

    def embed(self, params, fast, x):
        return -super().embed(params, fast, x)

    def embed_support(self, params, support):
        z, seen = super().embed_support(params, support)
        return -z, seen


@dataclass(frozen=True)
class TracesAnotherState(NTM):
    def trace(self, params, support):
        trace = super().trace(params, support)
        return trace._replace(fast={**trace.fast, "scores": trace.fast["scores"].roll(1, 0)})

    def adapt(self, params, support):
        return NTM.trace(self, params, support).fast


@dataclass(frozen=True)
class LooksAhead(NTM):
    def trace(self, params, support):
        trace = super().trace(params, support)
        return trace._replace(reads=trace.reads * support.weight.sum())


@dataclass(frozen=True)
class TakesAStepMore(MAML):
    def adapt(self, params, support):
        return MAML.adapt(dataclasses.replace(self, inner_steps=self.inner_steps + 1), params, support)


@dataclass(frozen=True)
class StartsFromZero(MAML):
    def start(self, params, support):
        return {**super().start(params, support), **tree.zeros_like(params)}


@dataclass(frozen=True)
class LooksAtANumberLater(ProtoNet):
    late: bool = False

    def at(self, progress):
        return dataclasses.replace(self, late=progress >= 0.5)

    def objective(self, params, task):
        loss = super().objective(params, task)
        return loss if not self.late or loss.item() < 10 else loss / 10


@dataclass(frozen=True)
class KeepsRatesOnItsClass(MAML):
    RATES: ClassVar[dict[str, torch.Tensor]] = {"all": torch.tensor(0.4)}

    def adapt(self, params, support):
        return MAML.adapt(dataclasses.replace(self, inner_lr=float(self.RATES["all"])), params, support)


@dataclass(frozen=True)
class DetachesEarlyLosses(MAMLPlusPlus):
    def objective(self, params, task):
        losses = self._query_losses(params, self._points(params, task.support), task)
        weighted = self._weighted([*(loss.detach() for loss in losses[:-1]), losses[-1]])
        return losses[-1].detach() + weighted - weighted.detach()


@dataclass(frozen=True)
class WeighsTheWrongStep(MAMLPlusPlus):
    """Its docstring promises another sum than it descends; both are its own, so only its value can give it away."""

    def objective(self, params, task):
        return self._weighted(self._query_losses(params, self._points(params, task.support), task)[::-1])


@dataclass(frozen=True)
class TurnsRoundForAWhile(ProtoNet):
    turned: bool = False

    def at(self, progress):
        return dataclasses.replace(self, turned=0.55 < progress < 0.95)

    def objective(self, params, task):
        loss = super().objective(params, task)
        return loss if not self.turned else loss.detach() * 2 - loss


@dataclass(frozen=True)
class DescendsAnotherSignForAWhile(TurnsRoundForAWhile):
    def objective(self, params, task):
        loss = ProtoNet.objective(self, params, task)
        return -loss if self.turned else loss


@dataclass(frozen=True)
class RoundsOnTheWay(ProtoNet):
    def predict(self, params, fast, x):
        return super().predict(params, fast, x).float().to(x)


@dataclass(frozen=True)
class LearnsANumberInVain(ProtoNet):
    def init(self, seed):
        return {**super().init(seed), "log_scale": torch.zeros(())}

    def encoder_weights(self, params, fast=None):
        return super().encoder_weights({name: leaf for name, leaf in params.items() if name != "log_scale"}, fast)


@dataclass(frozen=True)
class LearnsTheLabelWithItsRow(MANN):
    def _read(self, params, rows):
        return super()._read(params, rows._replace(y=rows.y.roll(-1, 0)))


@dataclass(frozen=True)
class AdaptsToTheQueriesToo(ProtoNet):
    def objective(self, params, task):
        return super().objective(params, task._replace(support=all_rows(task)))


@dataclass(frozen=True)
class JudgesTheSupport(ProtoNet):
    def objective(self, params, task):
        return super().objective(params, task._replace(query=task.support))


@dataclass(frozen=True)
class JudgesTheSupportOfItsSteps(MAML):
    def objective(self, params, task):
        return super().objective(params, task._replace(query=task.support))


@dataclass(frozen=True)
class MeasuresValidation(ProtoNet):
    def measure(self, params, source):
        return super().measure(params, source.split("val"))


@dataclass(frozen=True)
class MeasuresTest(ProtoNet):
    def measure(self, params, source):
        return super().measure(params, source.split("test"))


@dataclass(frozen=True)
class MeasuresWhatIsLearned(ProtoNet):
    def measure(self, params, source):
        return tree.map(lambda leaf: 0.9 * leaf, params)


@dataclass(frozen=True)
class CountsEveryRowOnce(ProtoNet):
    def adapt(self, params, support):
        return super().adapt(params, support._replace(weight=(support.weight > 0).to(support.weight)))


@dataclass(frozen=True)
class StepsByTheField(MetaSGD):
    def adapt(self, params, support):
        return super().adapt(
            {**params, "rates": tree.map(lambda leaf: 0 * leaf + self.inner_lr, params["rates"])}, support
        )


@dataclass(frozen=True)
class AttendsByTheField(Matching):
    def predict(self, params, fast, x):
        return super().predict({**params, "log_temperature": torch.tensor(self.temperature).log().to(x)}, fast, x)


PLANTED: list[tuple[str, type[Learner], str]] = [
    ("map", TakesAShortcutUnderVmap, "differ by"),
    ("map", LooksAtANumber, "works in a loop and not under vmap"),
    ("map", HidesWhatItsInnerLossUses, "kept: the inner loop's loss closes over 'support'"),
    ("map", LooksAtANumberLater, "works in a loop and not under vmap"),
    ("learns", TrainsOnADetachedLoss, "untrained"),
    ("learns", GuessesFromTheLabels, "chance"),
    ("repeats", DrawsFromTorch, "global generator"),
    ("repeats", DrawsFromNumpy, "gives other bits"),
    ("travels", RemembersOnItself, "can't use the saved"),
    ("travels", RemembersInItsModule, "scores differ by"),
    ("travels", CountsOnTheOrderOfNames, "scores differ by"),
    ("travels", ReturnsAPlainNumber, "not a nested dict of tensors"),
    ("travels", KeepsRatesOnItsClass, "kept on the class KeepsRatesOnItsClass as RATES"),
    ("gradient", DetachesEarlyLosses, "of the gradient"),
    ("gradient", TurnsRoundForAWhile, "of the gradient"),
    ("gradient", RoundsOnTheWay, "may be rounded to float32"),
    ("gradient", LearnsANumberInVain, "nothing depends on the learned log_scale"),
    ("gradient", StepsByTheField, "nothing depends on the learned rates"),
    ("gradient", AttendsByTheField, "nothing depends on the learned log_temperature"),
    ("gradient", ForgetsTheSecondOrder, "of the gradient"),
    ("gradient", SaysFirstOrderAndIsNot, "of the gradient"),
    ("gradient", DetachesThePrototypes, "of the gradient"),
    ("documented", SaysNothing, "no docstring"),
    ("documented", NamesNoPaper, "no line Paper: ..."),
    ("documented", WaivesWithoutAWord, "`order` is waived"),
    ("order", TrustsEarlyRowsMore, "shuffled"),
    ("relabel", PrefersTheFirstClass, "permuted"),
    ("padding", IgnoresRowWeights, "rows of weight 0"),
    ("padding", OffersAbsentClasses, "can be chosen"),
    ("padding", JudgesOnPaddedQueries, "the objective by"),
    ("alone", CentresTheQueries, "by itself"),
    ("alone", ClaimsToPredictAlone, "by itself"),
    ("causal", ReadsTheLabelWithTheRow, "after each prefix"),
    ("causal", ForgetsPaddingInItsPass, "after each prefix"),
    ("causal", TrainsOnTheSecondHalf, "the objective by"),
    ("causal", LearnsTheLabelWithItsRow, "other labels of a row and of later ones"),
    ("votes", VotesWithoutTheScatter, "votes and scores differ"),
    ("votes", CountsRowsOfWeightZero, "rows of weight 0 and absent classes"),
    ("embeds", EncodesAnotherRow, "scores differ by"),
    ("embeds", ComparesElsewhereOnceEmbedded, "embeddings by 2.0e+00"),
    ("traced", TracesAnotherState, "last traced state differ by"),
    ("traced", LooksAhead, "without the rows after"),
    ("steps", TakesAStepMore, "after no steps"),
    ("steps", StartsFromZero, "after no steps"),
    ("query_loss", AdaptsToTheQueriesToo, "the objective differs"),
    ("query_loss", JudgesTheSupport, "the objective differs"),
    ("query_loss", JudgesTheSupportOfItsSteps, "the objective differs"),
    ("query_loss", DescendsAnotherSignForAWhile, "the objective differs"),
    ("query_loss", WeighsTheWrongStep, "the objective differs"),
    ("measure", MeasuresValidation, "reads the split 'val'"),
    ("measure", MeasuresTest, "reads the split 'test'"),
    ("measure", MeasuresWhatIsLearned, "changes what is learned"),
    ("weights", CountsEveryRowOnce, "with the rows twice"),
    ("learned", StepsByTheField, "inner_lr is where a parameter starts"),
    ("learned", AttendsByTheField, "temperature is where a parameter starts"),
]


def with_a_bug(bug: type[Learner]) -> Learner:
    if issubclass(bug, FixedHeadLearner):
        return bug(
            partial(MLP, (8,), 3, **TINY), **{"train_steps" if issubclass(bug, MAMLPlusPlus) else "inner_steps": 2}
        )
    if issubclass(bug, NTM):
        return bug(**LEARNERS["ntm"].sizes(copies()), **SETTINGS["ntm"])
    norm = "batch" if bug is ClaimsToPredictAlone else None
    return bug(partial(MLP, (8,), norm=norm, **TINY))


@pytest.mark.parametrize(("law", "bug", "answer"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_every_law_catches_the_bug_planted_for_it(law, bug, answer):
    learner = with_a_bug(bug)
    source = copies() if isinstance(learner, NTM) else blobs()
    result, detail = BY_NAME[law].judge(Case(learner, source, steps=100 if law == "learns" else 10))
    assert result is False and answer in detail


def test_every_law_has_a_planted_bug():
    assert {law for law, _, _ in PLANTED} == {law.name for law in LAWS}


def test_the_laws_are_numbered_in_order_and_some_can_be_waived():
    assert [law.number for law in LAWS] == list(range(1, len(LAWS) + 1))
    assert {law.name for law in LAWS if law.waivable} == WAIVABLE


def test_broken_laws_are_named_with_what_they_say_and_what_was_seen():
    verdicts = check(with_a_bug(PrefersTheFirstClass), blobs(), steps=10)
    assert {verdict.law.name for verdict in verdicts.broken} == {"documented", "relabel", "votes"}
    with pytest.raises(
        BrokenLaw, match=r"law 8 `relabel`: permuting the classes permutes the scores\n +seen: .*differ"
    ):
        verdicts.raise_if_broken()
    assert "8 relabel    BROKEN" in str(verdicts)


def test_a_learner_that_raises_breaks_the_law_with_its_own_words():
    net = partial(MLP, (8,), 2, **TINY)
    verdicts = check(MAML(net), blobs(), steps=1)
    assert (
        "ValueError: the head has 2 columns and the task has 3 classes"
        in {v.law.name: v for v in verdicts}["map"].detail
    )


def test_a_waiver_that_was_not_needed_is_said():
    verdicts = check(WaivesWithoutAWord(partial(MLP, (8,), **TINY)), blobs(), steps=5)
    order = verdicts[6]
    assert order.holds is None and "it holds here" in order.detail


def test_training_that_diverges_is_a_broken_law_and_not_a_traceback():
    net = partial(MLP, (1,), 1, hidden=(20, 20))
    learner = MAML(net, inner_steps=5, inner_lr=1e6, loss="squared_error")
    verdict = check(learner, Sinusoid(tasks=4), steps=3)[1]
    assert verdict.holds is False and "lower lr" in verdict.detail


@dataclass(frozen=True)
class Bent(Learner):
    """Its loss has a bend a hair's breadth from where it is looked at."""

    def init(self, seed):
        return {"a": torch.zeros(3)}

    def objective(self, params, task):
        return torch.relu(params["a"] - 2e-5).sum() + 0 * task.query.weight.sum()


def test_a_loss_with_kinks_is_not_judged_rather_than_misjudged():
    result, detail = BY_NAME["gradient"].examine(Case(Bent(), blobs(), steps=0))
    assert result is None and "smooth" in detail


@dataclass(frozen=True)
class BentByItsNet(Bent):
    net: torch.nn.Module = dataclasses.field(default_factory=lambda: torch.nn.Sequential(torch.nn.ReLU()))

    def objective(self, params, task):
        return self.net(params["a"] - 2e-5).sum() + 0 * task.query.weight.sum()


def test_a_net_with_kinks_is_judged_by_its_smooth_variant():
    result, detail = BY_NAME["gradient"].examine(Case(BentByItsNet(), blobs(), steps=0))
    assert result is True and "on the smooth variant of the net" in detail
    net = partial(Conv4, (1, 16, 16), filters=4, activation="relu", down="pool", norm="frozen")
    result, detail = BY_NAME["gradient"].examine(Case(DetachesThePrototypes(net), pictures(), steps=1))
    assert result is False


# Another process -----------------------------------------------------------------------------------------

ELSEWHERE = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from mapwise.catalog.learners import LEARNERS
from mapwise.learners.row import BLUEPRINTS, LearnerRow
from mapwise.catalog.sources import training_source
from mapwise.engine import checkpoint
from mapwise.nets import MLP

same = {}
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    saved, about = checkpoint.load(path)
    row = LEARNERS[about["learner"]]
    options = {**about["options"], "hidden": tuple(about["options"]["hidden"])}
    net = None if row.blueprint is None else lambda: MLP(tuple(about["shape"]), about["outputs"], **options)
    learner = row.build(net, about["fields"])
    scores = learner.predict(saved.get("params", {}), saved["fast"], saved["x"])
    same[path.stem] = torch.allclose(scores, saved["scores"], rtol=1e-5, atol=1e-6)
print(json.dumps(same))
"""


def test_every_learner_of_the_catalog_travels_to_another_process(tmp_path: Path):
    sent = []
    fixed = {"finetune": {"tune_steps": 5, "body_lr": 0.0}}
    for norm in ("support", "frozen"):
        for name, row in LEARNERS.items():
            source = training_source(row, family(row))
            outputs = source.outputs if BLUEPRINTS.get(row.blueprint or "") else None
            fields = {**fixed.get(name, SETTINGS.get(name, {})), **row.sizes(source)}
            net = None if row.blueprint is None else partial(MLP, (8,), outputs, norm=norm, **TINY)
            learner = row.build(net, fields)
            params = learner.measure(learner.init(0), source)
            support, query = task_at(family(row).split("val")(0), 0)
            fast = learner.adapt(params, support)
            scores = learner.predict(params, fast, query.x)
            about = {
                "learner": name,
                "fields": fields,
                "shape": [8],
                "outputs": outputs,
                "options": {**TINY, "norm": norm},
            }
            tensors = {"params": params, "fast": fast, "x": query.x, "scores": scores}
            checkpoint.save(tmp_path / f"{name}-{norm}.safetensors", tensors, about)
            sent.append(f"{name}-{norm}")
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == dict.fromkeys(sorted(sent), True)


def test_a_users_own_learner_on_a_plain_module_passes_in_a_few_lines():
    @dataclass(frozen=True)
    class Centroid(Learner):
        """The class whose mean row is nearest.

        Paper:   none; the oldest classifier there is.
        Fast:    {"means": [W, D], "present": [W]}.
        Loss:    cross-entropy.
        Differs: nothing.
        """

        encoder: torch.nn.Module

        def init(self, seed):
            return functional.initial_weights(self.encoder, seed)

        def adapt(self, params, support):
            z = functional.apply(self.encoder, params, support.x)
            return {"means": class_means(z, support), "present": present_classes(support)}

        def predict(self, params, fast, x):
            z = functional.apply(self.encoder, params, x)
            scores = -((z[:, None] - fast["means"][None]) ** 2).sum(-1)
            return torch.where(fast["present"] > 0, scores, torch.finfo(scores.dtype).min / 2)

    torch.manual_seed(0)
    learner = Centroid(torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)))
    check(learner, blobs()).raise_if_broken()
