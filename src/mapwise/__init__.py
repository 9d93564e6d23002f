"""Meta-learning for PyTorch: a learner maps a small support set to a predictor.

adapt(params, support)   -> fast       what this task taught
predict(params, fast, x) -> scores     what the predictor says
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mapwise.core.estimate import Estimate
    from mapwise.core.laws import check
    from mapwise.core.learner import Learner
    from mapwise.core.problem import Metric, Problem
    from mapwise.core.task import Examples, Task, TaskSource, examples
    from mapwise.engine.evaluate import evaluate
    from mapwise.engine.gradient import meta_gradient
    from mapwise.engine.ranks import Ranks
    from mapwise.engine.results import Paired, Report
    from mapwise.engine.train import Trained, train
    from mapwise.interfaces.estimator import FewShotClassifier
    from mapwise.interfaces.regressor import FewShotRegressor
    from mapwise.learners.generation.abml import ABML
    from mapwise.learners.generation.cnp import CNP
    from mapwise.learners.generation.hypernet import HyperNet
    from mapwise.learners.generation.versa import VERSA
    from mapwise.learners.memory.mann import MANN
    from mapwise.learners.memory.meta_networks import MetaNetworks
    from mapwise.learners.memory.ntm import NTM
    from mapwise.learners.metric.matching import Matching
    from mapwise.learners.metric.protonet import ProtoNet
    from mapwise.learners.metric.relation import Relation
    from mapwise.learners.metric.siamese import Siamese
    from mapwise.learners.metric.simpleshot import SimpleShot
    from mapwise.learners.optimization.imaml import IMAML
    from mapwise.learners.optimization.maml import MAML
    from mapwise.learners.optimization.maml_pp import MAMLPlusPlus
    from mapwise.learners.optimization.meta_lstm import MetaLSTM
    from mapwise.learners.optimization.meta_sgd import MetaSGD
    from mapwise.learners.optimization.proto_maml import ProtoMAML
    from mapwise.learners.optimization.prox import Prox
    from mapwise.learners.optimization.r2d2 import R2D2
    from mapwise.learners.optimization.reptile import Reptile
    from mapwise.learners.pretraining.finetune import Finetune
    from mapwise.learners.pretraining.supervised import Supervised
    from mapwise.problems.classification import Classification
    from mapwise.problems.multilabel import Multilabel
    from mapwise.problems.regression import Regression
    from mapwise.tasks.episodes import Episodes
    from mapwise.tasks.gaussian_process import GaussianProcess
    from mapwise.tasks.lines import Lines
    from mapwise.tasks.rows import LabelledRows
    from mapwise.tasks.sequences import AssociativeRecall, Copy
    from mapwise.tasks.sinusoid import Sinusoid
    from mapwise.tasks.stream import Stream

# Names are looked up when first used, so that `mapwise --help` starts without importing torch.
_HOME = {
    "Regression": "mapwise.problems.regression",
    "Problem": "mapwise.core.problem",
    "Multilabel": "mapwise.problems.multilabel",
    "Metric": "mapwise.core.problem",
    "Classification": "mapwise.problems.classification",
    "ABML": "mapwise.learners.generation.abml",
    "CNP": "mapwise.learners.generation.cnp",
    "IMAML": "mapwise.learners.optimization.imaml",
    "MAML": "mapwise.learners.optimization.maml",
    "NTM": "mapwise.learners.memory.ntm",
    "MANN": "mapwise.learners.memory.mann",
    "R2D2": "mapwise.learners.optimization.r2d2",
    "AssociativeRecall": "mapwise.tasks.sequences",
    "Copy": "mapwise.tasks.sequences",
    "VERSA": "mapwise.learners.generation.versa",
    "Episodes": "mapwise.tasks.episodes",
    "Estimate": "mapwise.core.estimate",
    "Examples": "mapwise.core.task",
    "FewShotClassifier": "mapwise.interfaces.estimator",
    "FewShotRegressor": "mapwise.interfaces.regressor",
    "Finetune": "mapwise.learners.pretraining.finetune",
    "GaussianProcess": "mapwise.tasks.gaussian_process",
    "HyperNet": "mapwise.learners.generation.hypernet",
    "LabelledRows": "mapwise.tasks.rows",
    "Learner": "mapwise.core.learner",
    "Lines": "mapwise.tasks.lines",
    "MAMLPlusPlus": "mapwise.learners.optimization.maml_pp",
    "Matching": "mapwise.learners.metric.matching",
    "MetaLSTM": "mapwise.learners.optimization.meta_lstm",
    "MetaNetworks": "mapwise.learners.memory.meta_networks",
    "MetaSGD": "mapwise.learners.optimization.meta_sgd",
    "Paired": "mapwise.engine.results",
    "ProtoMAML": "mapwise.learners.optimization.proto_maml",
    "ProtoNet": "mapwise.learners.metric.protonet",
    "Prox": "mapwise.learners.optimization.prox",
    "Ranks": "mapwise.engine.ranks",
    "Relation": "mapwise.learners.metric.relation",
    "Report": "mapwise.engine.results",
    "Reptile": "mapwise.learners.optimization.reptile",
    "Siamese": "mapwise.learners.metric.siamese",
    "SimpleShot": "mapwise.learners.metric.simpleshot",
    "Sinusoid": "mapwise.tasks.sinusoid",
    "Stream": "mapwise.tasks.stream",
    "Supervised": "mapwise.learners.pretraining.supervised",
    "Task": "mapwise.core.task",
    "TaskSource": "mapwise.core.task",
    "Trained": "mapwise.engine.train",
    "check": "mapwise.core.laws",
    "evaluate": "mapwise.engine.evaluate",
    "examples": "mapwise.core.task",
    "meta_gradient": "mapwise.engine.gradient",
    "train": "mapwise.engine.train",
}

__all__ = [
    "ABML",
    "CNP",
    "IMAML",
    "MAML",
    "MANN",
    "NTM",
    "R2D2",
    "VERSA",
    "AssociativeRecall",
    "Classification",
    "Copy",
    "Episodes",
    "Estimate",
    "Examples",
    "FewShotClassifier",
    "FewShotRegressor",
    "Finetune",
    "GaussianProcess",
    "HyperNet",
    "LabelledRows",
    "Learner",
    "Lines",
    "MAMLPlusPlus",
    "Matching",
    "MetaLSTM",
    "MetaNetworks",
    "MetaSGD",
    "Metric",
    "Multilabel",
    "Paired",
    "Problem",
    "ProtoMAML",
    "ProtoNet",
    "Prox",
    "Ranks",
    "Regression",
    "Relation",
    "Report",
    "Reptile",
    "Siamese",
    "SimpleShot",
    "Sinusoid",
    "Stream",
    "Supervised",
    "Task",
    "TaskSource",
    "Trained",
    "check",
    "evaluate",
    "examples",
    "meta_gradient",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mapwise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
