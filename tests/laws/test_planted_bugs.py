"""Every law catches a bug that was planted for it."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from law_cases import (
    BY_NAME,
    ClaimsToPredictAlone,
    DetachesThePrototypes,
    PrefersTheFirstClass,
    WaivesWithoutAWord,
    blobs,
    copies,
    with_a_bug,
)
from mapwise.core import functional, tree
from mapwise.core.capabilities import OverEmbedded
from mapwise.core.inner_loop import SGD, Carry, descend
from mapwise.core.learner import Learner
from mapwise.core.task import present_classes
from mapwise.laws.case import Case
from mapwise.laws.check import LAWS
from mapwise.learners.memory.mann import MANN
from mapwise.learners.memory.ntm import NTM
from mapwise.learners.metric.matching import Matching
from mapwise.learners.metric.protonet import ProtoNet
from mapwise.learners.optimization.learned_optimizer import LearnedOptimizer
from mapwise.learners.optimization.maml import MAML
from mapwise.learners.optimization.maml_pp import MAMLPlusPlus
from mapwise.learners.optimization.meta_sgd import MetaSGD
from mapwise.learners.optimization.prox import all_rows


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
class TrustsEarlyRowsMore(ProtoNet):
    def adapt(self, params, support):
        trust = 0.9 ** torch.arange(len(support.weight)).to(support.weight)
        return super().adapt(params, support._replace(weight=support.weight * trust))


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
class ResumesElsewhere(ProtoNet):
    def adapt(self, params, support):
        return {**super().adapt(params, support), "own": params}

    def over_adapted(self, fast):
        return OverEmbedded(lambda x: x, self, fast["own"])

    def resume(self, params, fast, support, steps):
        return self.adapt(params, support._replace(y=support.y.roll(1, 0)))


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
class LooksAheadInAGate(NTM):
    def trace(self, params, support):
        trace = super().trace(params, support)
        return trace._replace(gates={"gate": trace.writes[:, 0, 0] * support.weight.sum()})


@dataclass(frozen=True)
class TakesAStepMore(MAML):
    def adapt(self, params, support):
        return MAML.adapt(dataclasses.replace(self, inner_steps=self.inner_steps + 1), params, support)


@dataclass(frozen=True)
class StartsFromZero(MAML):
    def start(self, params, support):
        return {**super().start(params, support), **tree.zeros_like(params)}


@dataclass(frozen=True)
class ForgetsItsState(LearnedOptimizer):
    unroll: int | None = 1

    def window(self, params, task, carry, first, steps):
        return super().window(params, task, Carry(carry.point, self.rule(params).start(carry.point)), first, steps)


@dataclass(frozen=True)
class BeginsElsewhere(LearnedOptimizer):
    def begin(self, params, task):
        carry = super().begin(params, task)
        return carry._replace(point=tree.map(lambda leaf: leaf + 0.01, carry.point))


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
    ("traced", LooksAheadInAGate, "without the rows after"),
    ("steps", TakesAStepMore, "after no steps"),
    ("steps", StartsFromZero, "after no steps"),
    ("resumes", ResumesElsewhere, "resumed without a step"),
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
    ("unrolled", ForgetsItsState, "scores after all windows differ"),
    ("unrolled", BeginsElsewhere, "scores after all windows differ"),
]


@pytest.mark.parametrize(("law", "bug", "answer"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_every_law_catches_the_bug_planted_for_it(law, bug, answer):
    learner = with_a_bug(bug)
    source = copies() if isinstance(learner, NTM) else blobs()
    result, detail = BY_NAME[law].judge(Case(learner, source, steps=100 if law == "learns" else 10))
    assert result is False and answer in detail


def test_every_law_has_a_planted_bug():
    assert {law for law, _, _ in PLANTED} == {law.name for law in LAWS}
