"""Every learner by name: a line or two for each, and what its kin share in a preset."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from mapwise.catalog.rows import LearnerRow
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

# Squared errors are larger than cross-entropies, and so are their gradients; section 5.1 of Finn 2017 has this rate.
_CURVES: Mapping[str, Mapping[str, Any]] = {"regression": {"inner_lr": 0.01}}
# Inductive by default: a prediction must not depend on its neighbours.
_MOVING = {"conv4": {"norm": "support", "down": "stride"}, "resnet12": {"norm": "support"}}
_FIXED = {"conv4": {"norm": "frozen"}, "resnet12": {"norm": "frozen"}}

_gradient = partial(
    LearnerRow, nets=_MOVING, tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)}, of_problem=_CURVES
)
"""A row of a learner that moves a net by gradient steps."""
_OF_CLASSES = ("classification",)
_metric = partial(LearnerRow, nets=_FIXED, problems=_OF_CLASSES)
"""A row of a learner of classes whose encoder stays as it is."""

LEARNERS: dict[str, LearnerRow] = {
    "maml": _gradient(MAML, "optimization", "Finn 2017", "a few gradient steps from a start learned for it", "maml"),
    "fomaml": _gradient(
        partial(MAML, first_order=True), "optimization", "Finn 2017", "maml without second derivatives", "maml"
    ),
    "anil": _gradient(
        partial(MAML, moves=("head",)), "optimization", "Raghu 2020", "maml that moves only the head", "maml"
    ),
    "boil": _gradient(
        partial(MAML, moves=("body",)), "optimization", "Oh 2021", "maml that moves all but the head", "maml"
    ),
    "maml_pp": _gradient(
        MAMLPlusPlus,
        "optimization",
        "Antoniou 2019",
        "maml with learned rates and norms for every step, and losses of all steps",
        "maml_pp",
        recipe={"schedule": "cosine"},
    ),
    "meta_sgd": _gradient(
        MetaSGD,
        "optimization",
        "Li 2017",
        "one step from a learned start, with a learned rate per parameter",
        "meta_sgd",
    ),
    "meta_lstm": LearnerRow(
        MetaLSTM,
        "optimization",
        "Ravi 2017",
        "an LSTM that reads each weight's gradients and says how it steps",
        "meta_lstm",
        nets=_MOVING,
        recipe={"clip": 0.25},
    ),
    "reptile": LearnerRow(
        Reptile,
        "optimization",
        "Nichol 2018",
        "a start moved towards where training on each task leads",
        "reptile",
        nets=_MOVING,
        # Its outer step is plain: an Adam there would divide params - fast by its size.
        recipe={"optimizer": "SGD lr=1.0", "schedule": "linear", "tasks": 5},
        # It learns from the support alone, so more of a task's rows may stand there.
        tuned={"shots": ("1", "15"), "inner_lr": (0.003, 0.01)},
    ),
    "imaml": _gradient(
        IMAML,
        "optimization",
        "Rajeswaran 2019",
        "the gradient of where a pulled adaptation ends, not of its steps",
        "imaml",
        # How far a task may move is the pull's to say: at 2 it is half a gradient.
        tuned={"optimizer.lr": (0.003,), "inner_lr": (0.1, 0.4), "pull": (0.1, 2.0)},
    ),
    "prox": _gradient(
        Prox,
        "optimization",
        "Zhou 2019",
        "the start from which all rows of a task are learned near by",
        "prox",
        # As Reptile's: towards where each task led, all the way at first: the gradient is pull times the distance.
        recipe={"optimizer": "SGD lr=10.0", "schedule": "linear", "tasks": 5},
        tuned={"inner_lr": (0.1, 0.3)},
    ),
    "r2d2": _metric(
        R2D2,
        "optimization",
        "Bertinetto 2019",
        "ridge regression on learned features, in closed form",
        "r2d2",
        # What a ridge is small for depends on the size of the features.
        tuned={"optimizer.lr": (0.003, 0.01), "ridge": (1.0, 50.0)},
        # The mean of the targets is the task's, and no sum of squares to be held small.
        of_problem={"regression": {"centred": True, "scale": 1.0}},
        problems=(),
    ),
    "proto_maml": LearnerRow(
        ProtoMAML,
        "optimization",
        "Triantafillou 2020",
        "maml from the head that protonet would take; any ways",
        "proto_maml",
        nets=_MOVING,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.01, 0.03)},
        problems=_OF_CLASSES,
    ),
    "protonet": _metric(ProtoNet, "metric", "Snell 2017", "nearest class mean in a learned space", "protonet"),
    "protonet_cosine": _metric(
        partial(ProtoNet, distance="cosine"), "metric", "Snell 2017", "protonet with cosines for distances", "protonet"
    ),
    "matching": _metric(Matching, "metric", "Vinyals 2016", "attention over the support rows by cosine", "matching"),
    "matching_fce": _metric(
        partial(Matching, full_context="sequence"),
        "metric",
        "Vinyals 2016",
        "matching with embeddings that depend on the whole support set",
        "matching",
    ),
    "relation": LearnerRow(
        Relation,
        "metric",
        "Sung 2018",
        "a second network that compares feature maps of a query and of each class",
        "relation",
        nets={"conv4": {"norm": "frozen", "maps": True, "halvings": 2}, "resnet12": {"norm": "frozen", "maps": True}},
        recipe={"clip": 0.5},
        problems=_OF_CLASSES,
    ),
    "siamese": _metric(
        Siamese, "metric", "Koch 2015", "whether a query and a support row are of one class, pair by pair", "siamese"
    ),
    "simpleshot": _metric(
        SimpleShot,
        "metric",
        "Wang 2019",
        "nearest class mean of centred unit features of a classifier",
        "simpleshot",
        pretraining=True,
    ),
    "nearest_mean": LearnerRow(
        partial(ProtoNet, encoder=nn.Flatten),
        "metric",
        "Snell 2017",
        "nearest class mean of the raw inputs; nothing to train",
        "nearest_mean",
        problems=_OF_CLASSES,
    ),
    "mann": LearnerRow(
        MANN,
        "memory",
        "Santoro 2016",
        "an LSTM with a memory reads rows in their order; made for streams",
        "mann",
        # Of a quarter of the work of pooled maps: a stream has 50 rows.
        nets={"conv4": {"norm": "frozen", "down": "stride", "filters": 32}, "resnet12": {"norm": "frozen"}},
        recipe={"clip": 10.0},
        problems=_OF_CLASSES,
    ),
    "meta_networks": _metric(
        MetaNetworks,
        "memory",
        "Munkhdalai 2017",
        "fast weights from each support row's gradient, read from a memory by every query",
        "meta_networks",
        recipe={"clip": 10.0},
    ),
    "ntm": LearnerRow(
        NTM,
        "memory",
        "Graves 2014",
        "a controller that reads and writes an external memory; for sequences",
        "ntm",
        # The paper clips at 10, each number of the gradient of a sum over all bits; ours is of their mean.
        recipe={"tasks": 32, "clip": 1.0},
        problems=("multilabel",),
    ),
    "hypernet": _gradient(
        HyperNet,
        "generation",
        "Ha 2017",
        "a network that reads the support and writes the head of another",
        "hypernet",
        # Whether a fit after the writing is worth its time.
        tuned={"optimizer.lr": (0.001, 0.003), "inner_steps": (0, 3), "inner_lr": (0.1,)},
    ),
    "abml": _gradient(
        ABML,
        "generation",
        "Ravi 2019",
        "gradient steps from a prior of the weights to a task's posterior; answers averaged over nets",
        "abml",
    ),
    "vampire": _gradient(
        partial(ABML, outer_kl=0.0, hyper_prior=0.0, learns_from="query"),
        "generation",
        "Nguyen 2020",
        "abml that learns from the queries alone, its prior under no hyper-prior",
        "abml",
    ),
    "cnp": _metric(
        CNP,
        "generation",
        "Garnelo 2018",
        "the mean of encoded support rows tells a decoder what to say of a query, and how surely",
        "cnp",
        of_problem={"regression": {"loss": "gaussian"}},
        problems=("classification", "regression"),
    ),
    "versa": _metric(
        VERSA, "generation", "Gordon 2019", "a network that writes a distribution of each class's head weights", "versa"
    ),
    "supervised": _metric(
        Supervised,
        "pretraining",
        "Chen 2021",
        "a classifier of all base classes, then nearest mean",
        "supervised",
        pretraining=True,
    ),
    "finetune": _metric(
        Finetune,
        "pretraining",
        "Chen 2019",
        "a supervised encoder, tuned on each support set",
        "finetune",
        pretraining=True,
        tuned={"optimizer.lr": (0.001, 0.003), "body_lr": (0.0, 0.01)},
    ),
}
