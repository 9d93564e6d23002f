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
from typing import Any

import numpy as np
import pytest
import torch

from conftest import ROOT
from law_cases import (
    BY_NAME,
    SETTINGS,
    TINY,
    TRAINED,
    DetachesThePrototypes,
    PrefersTheFirstClass,
    Reader,
    WaivesWithoutAWord,
    blobs,
    copies,
    sentences,
    with_a_bug,
)
from mapwise.catalog.sources import training_source
from mapwise.core import functional
from mapwise.core.families.words import Vectors
from mapwise.core.geometry import class_means
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
from mapwise.learners.metric.matching import Matching
from mapwise.learners.metric.relation import Relation
from mapwise.learners.metric.span_finder import SpanFinder
from mapwise.learners.metric.zero_shot import ZeroShot
from mapwise.learners.optimization.maml import MAML
from mapwise.learners.optimization.proto_maml import ProtoMAML
from mapwise.learners.row import BLUEPRINTS, LearnerRow
from mapwise.nets import MLP, Conv4, ResNet12
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.lines import Lines
from mapwise.tasks.sinusoid import Sinusoid

STRICT = {law.name for law in LAWS if not law.waivable}
SMALL: dict[str, Any] = {"filters": 4, "down": "average", "activation": "tanh"}


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


def family(row: LearnerRow) -> TaskSource:
    """Tasks of a kind that the learner is for."""
    return blobs() if row.takes("classification") else copies() if row.takes("multilabel") else sentences()


def built(name: str, tasks: TaskSource, make: Callable[..., Any], **options: Any) -> tuple[Learner, TaskSource]:
    row = TRAINED[name]
    source = training_source(row, tasks)
    if row.blueprint is None:
        return row.build(None, {**SETTINGS.get(name, {}), **row.sizes(source)}), source
    if isinstance(source.inputs, dict):
        return row.build(Reader, SETTINGS.get(name)), source
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
        for name, row in TRAINED.items()
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
    "zero_shot shared": lambda: (ZeroShot(partial(MLP, (8,), **TINY), shared=True), blobs()),
    "zero_shot frozen": lambda: built("zero_shot", blobs(), MLP, norm="frozen", **TINY),
    "zero_shot support": lambda: built("zero_shot", blobs(), MLP, norm="support", **TINY),
    "zero_shot batch": lambda: built("zero_shot", blobs(), MLP, norm="batch", **TINY),
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


def test_a_finder_with_a_chain_keeps_every_law_but_that_of_the_loss_of_words():
    # Its loss falls below that without a chain before more spans are found, so it is trained three times as long.
    verdicts = check(SpanFinder(Reader, scale=2.0, chain=True), sentences(), steps=300)
    verdicts.raise_if_broken()
    undecided = {verdict.law.name: verdict.detail for verdict in verdicts if verdict.holds is None}
    assert undecided.keys() == {"relabel", "query_loss"} and "broken here" in undecided["query_loss"]


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


ELSEWHERE = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from mapwise.catalog.learners import LEARNERS
from mapwise.learners.row import BLUEPRINTS, LearnerRow
from mapwise.catalog.sources import training_source
from mapwise.engine import checkpoint
from mapwise.core.families.words import Vectors
from mapwise.nets import MLP

same = {}
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    saved, about = checkpoint.load(path)
    row = LEARNERS[about["learner"]]
    options = {**about["options"], "hidden": tuple(about["options"]["hidden"])}
    net = None if row.blueprint is None else lambda: MLP(tuple(about["shape"]), about["outputs"], **options)
    if about["pieces"]:
        net = lambda: Vectors((8,))
    learner = row.build(net, {k: tuple(v) if isinstance(v, list) else v for k, v in about["fields"].items()})
    scores = learner.predict(saved.get("params", {}), saved["fast"], saved["x"])
    same[path.stem] = torch.allclose(scores, saved["scores"], rtol=1e-5, atol=1e-6)
print(json.dumps(same))
"""


def with_vectors(x):
    """Words as a learner over vectors takes them."""
    with torch.no_grad():
        return {"vectors": functional.blueprint(Reader)(x), "described": x["described"]}


def test_every_learner_of_the_catalog_travels_to_another_process(tmp_path: Path):
    sent = []
    fixed = {"finetune": {"tune_steps": 5, "body_lr": 0.0}}
    for norm in ("support", "frozen"):
        for name, row in TRAINED.items():
            source = training_source(row, family(row))
            outputs = source.outputs if BLUEPRINTS.get(row.blueprint or "") else None
            fields = {**fixed.get(name, SETTINGS.get(name, {})), **row.sizes(source)}
            net = None if row.blueprint is None else partial(MLP, (8,), outputs, norm=norm, **TINY)
            support, query = task_at(family(row).split("val")(0), 0)
            of_pieces = isinstance(source.inputs, dict)
            if of_pieces:
                net = partial(Vectors, (8,))
                support, query = (rows._replace(x=with_vectors(rows.x)) for rows in (support, query))
            learner = row.build(net, fields)
            params = learner.measure(learner.init(0), source)
            fast = learner.adapt(params, support)
            scores = learner.predict(params, fast, query.x)
            about = {
                "learner": name,
                "fields": fields,
                "shape": [8],
                "pieces": of_pieces,
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
