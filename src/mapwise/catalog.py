"""Every learner, net and source by name: the only file that knows them all."""

import dataclasses
import difflib
import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from mapwise.core.capabilities import Causal
from mapwise.core.functional import Net
from mapwise.core.learner import MOMENT, Learner
from mapwise.core.novelty import Spread
from mapwise.core.task import Examples, TaskShape, TaskSource
from mapwise.encoders.drawings import Drawings
from mapwise.encoders.encoder import Costly, Encoder, Raw, Tunable
from mapwise.encoders.hugging_face import hugging_face
from mapwise.encoders.kept import kept
from mapwise.encoders.pixels import Ink, Pixels
from mapwise.encoders.table import Table
from mapwise.encoders.text_hash import TextHash
from mapwise.engine.aggregate import AGGREGATES
from mapwise.learners.generation.abml import ABML
from mapwise.learners.generation.cnp import CNP
from mapwise.learners.generation.hypernet import HyperNet
from mapwise.learners.generation.versa import VERSA
from mapwise.learners.memory.mann import MANN
from mapwise.learners.memory.meta_networks import MetaNetworks
from mapwise.learners.memory.ntm import NTM
from mapwise.learners.metric.kernel_mean import KernelMean
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
from mapwise.learners.pretraining.logistic import Logistic
from mapwise.learners.pretraining.supervised import Supervised
from mapwise.nets import MLP, Conv4, ResNet12
from mapwise.tasks.augment import augmentation
from mapwise.tasks.digits import digits
from mapwise.tasks.episodes import Episodes, Span
from mapwise.tasks.gaussian_process import GaussianProcess
from mapwise.tasks.glyphs import glyphs
from mapwise.tasks.images import images
from mapwise.tasks.lines import Lines
from mapwise.tasks.omniglot import omniglot
from mapwise.tasks.rows import LabelledRows
from mapwise.tasks.sequences import AssociativeRecall, Copy
from mapwise.tasks.sinusoid import Sinusoid
from mapwise.tasks.store import cache_folder
from mapwise.tasks.stream import Stream, streamed
from mapwise.tasks.supervised import Supervised as SupervisedSource
from mapwise.tasks.table import table

__all__ = [
    "AGGREGATES",
    "ENCODERS",
    "FAMILIES",
    "HEADS",
    "LEARNERS",
    "NETS",
    "REGRESSION_HEADS",
    "SOURCES",
    "LearnerRow",
    "SourceRow",
    "SourceSettings",
]


OUTER_RATES = {"optimizer.lr": (0.001, 0.003, 0.01)}
"""Rates of Adam worth trying for a learner that has no other."""


@dataclass(frozen=True)
class LearnerRow:
    """One learner of the catalog: a class with some of its fields set."""

    make: Callable[..., Learner]
    family: str
    paper: str
    summary: str
    page: str
    """The docs page, docs/learners/<page>.md; kin share one."""
    nets: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Net options this learner prefers to the nets' own, by net."""
    pretraining: bool = False
    """It trains on all base classes at once instead of on episodes."""
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """How it asks to be trained where the user says nothing, by the names of a run's settings.

    Only what holds on every source: how many ways and shots there are to train with, the source decides.
    """
    of_problem: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Hyperparameters that tasks of a problem ask for, where they aren't those it has by itself."""
    tuned: Mapping[str, Sequence[float | str]] = dataclasses.field(default_factory=lambda: OUTER_RATES)
    """Settings worth trying, named as by `mapwise tune`: every combination is a candidate of `mapwise bench`."""
    problems: tuple[str, ...] = ()
    """Names of the problems it is for; () for all."""

    @property
    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """The learner's hyperparameters by name, in the order of its signature: all but networks, sizes and moments."""
        ordered = sorted(dataclasses.fields(self._class), key=lambda field: field.kw_only is True)
        given = {*BLUEPRINTS, *SIZES}
        return {field.name: field for field in ordered if field.name not in given and field.metadata != MOMENT}

    @property
    def preset(self) -> dict[str, Any]:
        """The fields this row sets."""
        return dict(self.make.keywords) if isinstance(self.make, partial) else {}

    @property
    def types(self) -> dict[str, Any]:
        """The type of every field."""
        return typing.get_type_hints(self._class)

    @property
    def blueprint(self) -> str | None:
        """The field that takes a network, unless the row sets it."""
        names = [f.name for f in dataclasses.fields(self._class) if f.name in BLUEPRINTS]
        return next((name for name in names if name not in self.preset), None)

    def takes(self, problem: str) -> bool:
        """Whether it is for tasks of the problem of this name."""
        return not self.problems or problem in self.problems

    def sizes(self, shape: TaskShape) -> dict[str, int]:
        """The fields that say how large rows and answers are, for a learner that has such."""
        names = {field.name for field in dataclasses.fields(self._class)}
        return {name: size(shape) for name, size in SIZES.items() if name in names}

    @property
    def causal(self) -> bool:
        """Whether the learner has a causal pass, by which it is trained on streams."""
        return issubclass(self._class, Causal)

    @property
    def _class(self) -> Any:
        return self.make.func if isinstance(self.make, partial) else self.make

    def build(self, net: Net | None = None, fields: Mapping[str, Any] | None = None) -> Learner:
        """The learner with this network and these fields."""
        chosen = dict(fields or {})
        if self.blueprint is not None:
            assert net is not None
            chosen[self.blueprint] = net
        return self.make(**chosen)


SIZES: dict[str, Callable[[TaskShape], int]] = {
    "inputs": lambda shape: math.prod(shape.input_shape),
    "outputs": lambda shape: shape.outputs,
}
"""Field names of a learner that makes all its parts itself, and what of its tasks they are."""
BLUEPRINTS = {"net": True, "encoder": False}
"""Field names that take a network, and whether that network ends in a head of W columns."""


@dataclass(frozen=True)
class SourceSettings:
    """What a source is asked for."""

    data: Path | None = None
    ways: Span = 5
    shots: Span = 1
    queries: int | None = None
    tasks: int = 16
    seed: int = 0
    augment: tuple[str, ...] = ()
    shuffle_labels: bool = False
    device: str = "cpu"
    label: str | None = None
    skip_bad: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Settings of this source alone, by name."""


@dataclass(frozen=True)
class SourceRow:
    """One source of the catalog."""

    open: Callable[[SourceSettings], TaskSource]
    problem: str
    summary: str
    needs: str = ""
    """What must be on the disk; "" for nothing."""
    net: str = "conv4"
    """The network its rows ask for."""
    encoder: Callable[[Sequence[int]], Encoder] | None = None
    """What makes rows of this shape of raw ones; None: nothing does."""
    ways: int = 5
    """Classes of a task when nobody says otherwise."""
    shots: str = "1"
    """Examples of a class, or points of a function, when nobody says otherwise."""
    made: Callable[..., TaskSource | LabelledRows] | None = None
    """What makes it, if it has settings of its own: those are its keyword-only parameters."""

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The settings of this source alone, by name."""
        return {} if self.made is None else _keyword_only(self.made)


def _episodes(rows: Callable[[SourceSettings], LabelledRows]) -> Callable[[SourceSettings], TaskSource]:
    def open_source(wanted: SourceSettings) -> TaskSource:
        return Episodes(
            rows(wanted),
            ways=wanted.ways,
            shots=wanted.shots,
            queries=wanted.queries,
            tasks=wanted.tasks,
            seed=wanted.seed,
            augment=augmentation(wanted.augment) if wanted.augment else None,
            shuffle_labels=wanted.shuffle_labels,
            device=wanted.device,
        )

    return open_source


def _streams(read: Callable[[SourceSettings, int], LabelledRows]) -> Callable[[SourceSettings], TaskSource]:
    def open_source(wanted: SourceSettings) -> TaskSource:
        if wanted.shots != 1 or wanted.queries is not None:
            raise ValueError("a stream has no shots and no queries, each of its rows being both: leave them out")
        return streamed(
            partial(read, wanted),
            ways=wanted.ways,
            tasks=wanted.tasks,
            seed=wanted.seed,
            augment=augmentation(wanted.augment) if wanted.augment else None,
            shuffle_labels=wanted.shuffle_labels,
            device=wanted.device,
            **wanted.options,
        )

    return open_source


def _functions(make: Callable[..., TaskSource], queries: int) -> Callable[[SourceSettings], TaskSource]:
    def open_source(wanted: SourceSettings) -> TaskSource:
        return make(
            shots=wanted.shots,
            queries=wanted.queries or queries,
            tasks=wanted.tasks,
            seed=wanted.seed,
            device=wanted.device,
            **wanted.options,
        )

    return open_source


def _sequences(make: Callable[..., TaskSource]) -> Callable[[SourceSettings], TaskSource]:
    def open_source(wanted: SourceSettings) -> TaskSource:
        return make(tasks=wanted.tasks, seed=wanted.seed, device=wanted.device, **wanted.options)

    return open_source


def _folder(wanted: SourceSettings) -> LabelledRows:
    if wanted.data is None:
        raise ValueError("a folder of images is needed: give it with --data FOLDER, one subfolder a class")
    # Not dealt by the run's seed: runs of different seeds are compared on the same unseen classes.
    return images(wanted.data, skip_bad=wanted.skip_bad)


def _table(wanted: SourceSettings) -> LabelledRows:
    if wanted.data is None:
        raise ValueError("a CSV file is needed: give it with --data FILE.csv, and its class column with --label")
    return table(wanted.data, wanted.label, **wanted.options)


# Squared errors are larger than cross-entropies, and so are their slopes; section 5.1 of Finn 2017 has this rate.
_OF_CURVES: Mapping[str, Mapping[str, Any]] = {"regression": {"inner_lr": 0.01}}
# Inductive by default: a prediction must not depend on its neighbours.
_GRADIENT_NETS = {"conv4": {"norm": "support", "down": "stride"}, "resnet12": {"norm": "support"}}
_METRIC_NETS = {"conv4": {"norm": "frozen"}, "resnet12": {"norm": "frozen"}}

LEARNERS: dict[str, LearnerRow] = {
    "maml": LearnerRow(
        MAML,
        "optimization",
        "Finn 2017",
        "a few gradient steps from a start learned for it",
        page="maml",
        nets=_GRADIENT_NETS,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)},
        of_problem=_OF_CURVES,
    ),
    "fomaml": LearnerRow(
        partial(MAML, first_order=True),
        "optimization",
        "Finn 2017",
        "maml without second derivatives",
        page="maml",
        nets=_GRADIENT_NETS,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)},
        of_problem=_OF_CURVES,
    ),
    "anil": LearnerRow(
        partial(MAML, moves=("head",)),
        "optimization",
        "Raghu 2020",
        "maml that moves only the head",
        page="maml",
        nets=_GRADIENT_NETS,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)},
        of_problem=_OF_CURVES,
    ),
    "boil": LearnerRow(
        partial(MAML, moves=("body",)),
        "optimization",
        "Oh 2021",
        "maml that moves all but the head",
        page="maml",
        nets=_GRADIENT_NETS,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)},
        of_problem=_OF_CURVES,
    ),
    "maml_pp": LearnerRow(
        MAMLPlusPlus,
        "optimization",
        "Antoniou 2019",
        "maml with learned rates and norms for every step, and losses of all steps",
        page="maml_pp",
        nets=_GRADIENT_NETS,
        recipe={"schedule": "cosine"},
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)},
        of_problem=_OF_CURVES,
    ),
    "meta_sgd": LearnerRow(
        MetaSGD,
        "optimization",
        "Li 2017",
        "one step from a learned start, with a learned rate per parameter",
        page="meta_sgd",
        nets=_GRADIENT_NETS,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)},
        of_problem=_OF_CURVES,
    ),
    "meta_lstm": LearnerRow(
        MetaLSTM,
        "optimization",
        "Ravi 2017",
        "an LSTM that reads each weight's gradients and says how it steps",
        page="meta_lstm",
        nets=_GRADIENT_NETS,
        recipe={"clip": 0.25},
    ),
    "reptile": LearnerRow(
        Reptile,
        "optimization",
        "Nichol 2018",
        "a start moved towards where training on each task leads",
        page="reptile",
        nets=_GRADIENT_NETS,
        # Its outer step is plain: an Adam there would divide params - fast by its size.
        recipe={"optimizer": "SGD lr=1.0", "schedule": "linear", "tasks": 5},
        # It learns from the support alone, so more of a task's rows may stand there.
        tuned={"shots": ("1", "15"), "inner_lr": (0.003, 0.01)},
    ),
    "imaml": LearnerRow(
        IMAML,
        "optimization",
        "Rajeswaran 2019",
        "the gradient of where a pulled adaptation ends, not of its steps",
        page="imaml",
        nets=_GRADIENT_NETS,
        # How far a task may move is the pull's to say: at 2 it is half a gradient.
        tuned={"optimizer.lr": (0.003,), "inner_lr": (0.1, 0.4), "pull": (0.1, 2.0)},
        of_problem=_OF_CURVES,
    ),
    "prox": LearnerRow(
        Prox,
        "optimization",
        "Zhou 2019",
        "the start from which all rows of a task are learned near by",
        page="prox",
        nets=_GRADIENT_NETS,
        # As Reptile's: towards where each task led, all the way at first, since the slope is pull times the distance.
        recipe={"optimizer": "SGD lr=10.0", "schedule": "linear", "tasks": 5},
        tuned={"inner_lr": (0.1, 0.3)},
        of_problem=_OF_CURVES,
    ),
    "r2d2": LearnerRow(
        R2D2,
        "optimization",
        "Bertinetto 2019",
        "ridge regression on learned features, in closed form",
        page="r2d2",
        nets=_METRIC_NETS,
        # What a ridge is small for depends on the size of the features.
        tuned={"optimizer.lr": (0.003, 0.01), "ridge": (1.0, 50.0)},
        # The mean of the targets is the task's, and no sum of squares to be held small.
        of_problem={"regression": {"centred": True, "scale": 1.0}},
    ),
    "proto_maml": LearnerRow(
        ProtoMAML,
        "optimization",
        "Triantafillou 2020",
        "maml from the head that protonet would take; any ways",
        page="proto_maml",
        nets=_GRADIENT_NETS,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.01, 0.03)},
    ),
    "protonet": LearnerRow(
        ProtoNet,
        "metric",
        "Snell 2017",
        "nearest class mean in a learned space",
        page="protonet",
        nets=_METRIC_NETS,
    ),
    "protonet_cosine": LearnerRow(
        partial(ProtoNet, distance="cosine"),
        "metric",
        "Snell 2017",
        "protonet with cosines for distances",
        page="protonet",
        nets=_METRIC_NETS,
    ),
    "matching": LearnerRow(
        Matching,
        "metric",
        "Vinyals 2016",
        "attention over the support rows by cosine",
        page="matching",
        nets=_METRIC_NETS,
    ),
    "matching_fce": LearnerRow(
        partial(Matching, full_context="sequence"),
        "metric",
        "Vinyals 2016",
        "matching with embeddings that depend on the whole support set",
        page="matching",
        nets=_METRIC_NETS,
    ),
    "relation": LearnerRow(
        Relation,
        "metric",
        "Sung 2018",
        "a second network that compares feature maps of a query and of each class",
        page="relation",
        nets={"conv4": {"norm": "frozen", "maps": True, "halvings": 2}, "resnet12": {"norm": "frozen", "maps": True}},
        recipe={"clip": 0.5},
    ),
    "siamese": LearnerRow(
        Siamese,
        "metric",
        "Koch 2015",
        "whether a query and a support row are of one class, pair by pair",
        page="siamese",
        nets=_METRIC_NETS,
    ),
    "simpleshot": LearnerRow(
        SimpleShot,
        "metric",
        "Wang 2019",
        "nearest class mean of centred unit features of a classifier",
        page="simpleshot",
        nets=_METRIC_NETS,
        pretraining=True,
    ),
    "nearest_mean": LearnerRow(
        partial(ProtoNet, encoder=nn.Flatten),
        "metric",
        "Snell 2017",
        "nearest class mean of the raw inputs; nothing to train",
        page="nearest_mean",
    ),
    "mann": LearnerRow(
        MANN,
        "memory",
        "Santoro 2016",
        "an LSTM with a memory reads rows in their order; made for streams",
        page="mann",
        # Of a quarter of the work of pooled maps: a stream has 50 rows.
        nets={"conv4": {"norm": "frozen", "down": "stride", "filters": 32}, "resnet12": {"norm": "frozen"}},
        recipe={"clip": 10.0},
    ),
    "meta_networks": LearnerRow(
        MetaNetworks,
        "memory",
        "Munkhdalai 2017",
        "fast weights from each support row's gradient, read from a memory by every query",
        page="meta_networks",
        nets=_METRIC_NETS,
        recipe={"clip": 10.0},
    ),
    "ntm": LearnerRow(
        NTM,
        "memory",
        "Graves 2014",
        "a controller that reads and writes an external memory; for sequences",
        page="ntm",
        # The paper clips at 10, each number of the slope of a sum over all bits; ours is of their mean.
        recipe={"tasks": 32, "clip": 1.0},
        problems=("multilabel",),
    ),
    "hypernet": LearnerRow(
        HyperNet,
        "generation",
        "Ha 2017",
        "a network that reads the support and writes the head of another",
        page="hypernet",
        nets=_GRADIENT_NETS,
        # Whether a fit after the writing is worth its time.
        tuned={"optimizer.lr": (0.001, 0.003), "inner_steps": (0, 3), "inner_lr": (0.1,)},
        of_problem=_OF_CURVES,
    ),
    "abml": LearnerRow(
        ABML,
        "generation",
        "Ravi 2019",
        "gradient steps from a prior of the weights to a task's posterior; answers averaged over nets",
        page="abml",
        nets=_GRADIENT_NETS,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)},
        of_problem=_OF_CURVES,
    ),
    "vampire": LearnerRow(
        partial(ABML, outer_kl=0.0, hyper_prior=0.0, learns_from="query"),
        "generation",
        "Nguyen 2020",
        "abml that learns from the queries alone, its prior under no hyper-prior",
        page="abml",
        nets=_GRADIENT_NETS,
        tuned={"optimizer.lr": (0.001, 0.003), "inner_lr": (0.1, 0.4)},
        of_problem=_OF_CURVES,
    ),
    "cnp": LearnerRow(
        CNP,
        "generation",
        "Garnelo 2018",
        "the mean of encoded support rows tells a decoder what to say of a query, and how surely",
        page="cnp",
        nets=_METRIC_NETS,
        of_problem={"regression": {"loss": "gaussian"}},
    ),
    "versa": LearnerRow(
        VERSA,
        "generation",
        "Gordon 2019",
        "a network that writes a distribution of each class's head weights",
        page="versa",
        nets=_METRIC_NETS,
    ),
    "supervised": LearnerRow(
        Supervised,
        "pretraining",
        "Chen 2021",
        "a classifier of all base classes, then nearest mean",
        page="supervised",
        nets=_METRIC_NETS,
        pretraining=True,
    ),
    "finetune": LearnerRow(
        Finetune,
        "pretraining",
        "Chen 2019",
        "a supervised encoder, tuned on each support set",
        page="finetune",
        nets=_METRIC_NETS,
        pretraining=True,
        tuned={"optimizer.lr": (0.001, 0.003), "body_lr": (0.0, 0.01)},
    ),
}


def _square(support: Examples) -> float:
    """The mean squared length of the rows: what holds weights small is in its units, so an encoder's scale is none."""
    squares = (support.x.flatten(1) ** 2).sum(1)
    return float((support.weight * squares).sum() / support.weight.sum()) or 1.0


@dataclass(frozen=True)
class HeadRow:
    """One learner over encoded rows."""

    make: Callable[[Examples], Learner]
    tunes: bool = False
    """Whether the encoder is tuned on the support before."""

    def __call__(self, support: Examples) -> Learner:
        """The learner for a support set."""
        return self.make(support)


def _logistic(support: Examples) -> Learner:
    return Logistic(nn.Flatten, strength=0.03 * _square(support))


HEADS: dict[str, HeadRow] = {
    # Learners over encoded rows, with nothing to train: they compare and fit what the encoder gives.
    "nearest_mean": HeadRow(lambda support: ProtoNet(nn.Flatten)),
    "ridge": HeadRow(lambda support: R2D2(nn.Flatten, ridge=0.3 * _square(support), errors="sum")),
    "logistic": HeadRow(_logistic),
    "lora": HeadRow(_logistic, tunes=True),
}
"""What can stand behind an encoder, made for a support set of classes."""


def _spread(support: Examples) -> float:
    """The mean squared distance of the rows from their mean: what a shift of all of them leaves as it is."""
    share = (support.weight / support.weight.sum())[:, None]
    x = support.x.flatten(1)
    spread = float((share * (x - (share * x).sum(0)) ** 2).sum())
    # Rows that are all the same are apart by rounding alone.
    return spread if spread > 1e-12 * _square(support) else _square(support)


REGRESSION_HEADS: dict[str, HeadRow] = {
    "kernel_mean": HeadRow(lambda support: KernelMean(nn.Flatten, bandwidth=math.sqrt(0.1 * _spread(support)))),
    "ridge": HeadRow(
        lambda support: R2D2(
            nn.Flatten, ridge=0.3 * _spread(support), errors="sum", centred=True, scale=1.0, loss="squared_error"
        )
    ),
}
"""The same for a support set of targets."""

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "table": Table,
    "text-hash": TextHash,
    # As `mapwise train protonet omniglot` builds it, whose weights these are.
    # The spread is that of Omniglot's validation characters, as benchmarks/novelty.py measures it.
    "drawings": lambda: Drawings(partial(Conv4, (1, 28, 28), norm="frozen"), Spread(mean=0.97, sd=0.43)),
    "ink": Ink,
    "pixels": Pixels,
}
"""What makes arrays of raw rows; of those that read the same, the first is taken where nobody says."""

FAMILIES: dict[str, Callable[[str, bool], Encoder]] = {"hf": hugging_face}
"""What makes the encoder of FAMILY:NAME, for any name; and whether it may be fetched from elsewhere."""

NETS: dict[str, type[nn.Module]] = {"mlp": MLP, "conv4": Conv4, "resnet12": ResNet12}

SOURCES: dict[str, SourceRow] = {
    "glyphs": SourceRow(
        _episodes(lambda wanted: glyphs()),
        "classification",
        "letters of the world's alphabets, drawn; no download",
        encoder=Ink().of_shape,
    ),
    "omniglot": SourceRow(
        _episodes(lambda wanted: omniglot(wanted.data)),
        "classification",
        "1,623 handwritten characters, Vinyals splits",
        "omniglot/ under --data, or a network",
        encoder=Ink().of_shape,
    ),
    "glyphs_stream": SourceRow(
        _streams(lambda wanted, size: glyphs(size=size)),
        "classification",
        "glyphs one after another, each asked for before its label is seen",
        encoder=Ink().of_shape,
        made=streamed,
    ),
    "omniglot_stream": SourceRow(
        _streams(lambda wanted, size: omniglot(wanted.data, size=size)),
        "classification",
        "omniglot characters one after another, each asked for before its label is seen",
        "omniglot/ under --data, or a network",
        encoder=Ink().of_shape,
        made=streamed,
    ),
    "digits": SourceRow(
        _episodes(lambda wanted: digits()),
        "classification",
        "scikit-learn's 8x8 digits",
        net="mlp",
        ways=3,
        encoder=Ink().of_shape,
    ),
    "sinusoid": SourceRow(
        _functions(Sinusoid, queries=10),
        "regression",
        "sine waves of random amplitude and phase",
        net="mlp",
        shots="10",
        made=Sinusoid,
    ),
    "lines": SourceRow(
        _functions(Lines, queries=10),
        "regression",
        "straight lines of random slope and intercept",
        net="mlp",
        shots="5",
        made=Lines,
    ),
    "gp": SourceRow(
        _functions(GaussianProcess, queries=30),
        "regression",
        "functions of a Gaussian process: rbf, periodic, matern52",
        net="mlp",
        shots="3-10",
        made=GaussianProcess,
    ),
    "copy": SourceRow(
        _sequences(Copy), "multilabel", "bit vectors to be said again once they ended", net="mlp", made=Copy
    ),
    "associative_recall": SourceRow(
        _sequences(AssociativeRecall),
        "multilabel",
        "items of bit vectors; say the one that followed what is shown again",
        net="mlp",
        made=AssociativeRecall,
    ),
    "images": SourceRow(
        _episodes(_folder),
        "classification",
        "a folder of images, one subfolder a class",
        "--data FOLDER",
        encoder=Pixels().of_shape,
    ),
    "table": SourceRow(
        _episodes(_table),
        "classification",
        "a CSV with a class column",
        "--data FILE.csv",
        net="mlp",
        made=table,
    ),
}


def encoder_of(kind: Raw) -> Encoder:
    """The first encoder that reads rows of this kind."""
    return next(made for make in ENCODERS.values() if (made := make()).reads == kind)


def encoder_named(name: str, *, fetch: bool) -> Encoder:
    """The encoder of this name, or of FAMILY:NAME; what a costly one gives is kept in the user's cache folder.

    fetch: whether what it needs may be downloaded. Nobody who opens a file has asked for that.

    Raises ValueError for a name that isn't there, and for an encoder whose parts can't be had.
    """
    family, colon, rest = name.partition(":")
    if colon:
        made: Encoder = named(FAMILIES, family, "family of encoders")(rest, fetch)
    else:
        made = named(ENCODERS, name, "encoder")()
    return kept(made, cache_folder() / "embeddings.sqlite3") if isinstance(made, Costly) else made


def heads_behind(encoder: Encoder) -> list[str]:
    """The heads of classes that can stand behind an encoder: those that tune it only where it can be."""
    return [name for name, row in HEADS.items() if not row.tunes or isinstance(encoder, Tunable)]


def has_encoder(name: str) -> bool:
    """Whether there is an encoder of this name, or a family of them."""
    family, colon, _ = name.partition(":")
    return family in FAMILIES if colon else name in ENCODERS


def named(table_: Mapping[str, Any], name: str, what: str) -> Any:
    """The row of this name; raises ValueError naming the nearest."""
    if name not in table_:
        near = difflib.get_close_matches(name, table_, n=1, cutoff=0)[0]
        raise ValueError(f"there is no {what} {name!r}: did you mean {near!r}? (mapwise list shows all)")
    return table_[name]


def net_options(net: str) -> dict[str, inspect.Parameter]:
    """The options of a network by name."""
    return _keyword_only(named(NETS, net, "net"))


def _keyword_only(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {p.name: p for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY}


def training_source(row: LearnerRow, source: TaskSource) -> TaskSource:
    """The source a learner trains on: as it is, episodes of a stream's classes, or all base classes at once."""
    if isinstance(source, Stream) and not row.causal:
        source = source.episodes
    if not row.pretraining:
        return source
    if not isinstance(source, Episodes):
        raise ValueError("supervised pretraining needs classes, and this source has none: choose a source of classes")
    return SupervisedSource(source)
