"""A run: a folder that holds everything needed to repeat a training and to use what it learned.

run.toml          the settings, with a schema version, an id and a digest
metrics.jsonl     one record per line
last.safetensors  where to resume
best.safetensors  what to evaluate
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mapwise.catalog.sources import training_source
from mapwise.core import tree
from mapwise.core.learner import Learner
from mapwise.core.source import TaskSource
from mapwise.core.tree import Params
from mapwise.data.rows import ALL
from mapwise.engine import checkpoint
from mapwise.engine.folder import BEST, LAST, Best
from mapwise.engine.ranks import usable_device
from mapwise.learners.row import BLUEPRINTS
from mapwise.runs.learner import LearnerSettings, shape_of
from mapwise.runs.settings import RunSettings
from mapwise.runs.sources import classes_digest, judging, source_of


@dataclass(frozen=True)
class Run:
    """A finished run, opened once.

    settings:        its own with the changes that were asked for.
    learner, params: what it learned.
    moved:           whether the data that judge it lie elsewhere than those it was trained on.
    """

    folder: Path
    settings: RunSettings
    learner: Learner
    params: Params
    moved: bool = False

    @classmethod
    def open(cls, folder: Path, changes: Mapping[str, Any] | None = None) -> "Run":
        """A run with some settings changed, by their addresses: {"inner_steps": 10, "test_shots": "5"}.

        What was measured is measured anew where a net's option is changed. `data` also says where a folder or a file
        that the run was trained on lies now.

        Raises ValueError for a folder that is no finished run, and for changes that its weights don't fit.
        """
        changes = changes or {}
        own = RunSettings.read(folder)
        settings = own.judged_with(changes)
        remeasured = any(name.startswith("net.") for name in changes)
        params = _on(load_params(folder)[0], usable_device(settings.device))
        on = settings.trained_on
        # Other data need no classes to train on: they are opened for their training classes only where that is needed.
        if on is None or remeasured:
            training = training_source(settings.row, source_of(settings))
            shape = shape_of(training)
        else:
            shape = on.shape
        learner = LearnerSettings.of(settings, shape).build()
        if remeasured:
            params = {name: leaf for name, leaf in params.items() if name != "measured"}
        if not fits(learner, params):
            what = "with these changes " if changes else ""
            raise ValueError(
                f"the weights of {folder} don't fit its network {what}any more: leave the changes out, or train anew"
            )
        params = learner.measure(params, training) if remeasured else params
        return cls(folder, settings, learner, params, settings.judging_data != (own.source, own.data))

    @cached_property
    def source(self) -> TaskSource:
        """The episodes of the classes that the run trains on."""
        return source_of(self.settings)

    def judging(self, split: str = "test", *, seed: int | None = None, opened: TaskSource | None = None) -> TaskSource:
        """The episodes of a split that judge the run, see `sources.judging`; of other data "all" is a split too.

        Raises ValueError for all classes of the data that the run was trained on.
        """
        source = judging(self.settings, split, seed=seed, opened=opened)
        if split == ALL and self.knows(source):
            raise ValueError(
                f"{source.about.source} holds the classes that the run was trained on, so all of its classes can't "
                "judge it: take its test split, or give other data with --data"
            )
        return source

    def knows(self, source: TaskSource) -> bool:
        """Whether a source is of the data that the run was trained on, wherever they lie now."""
        if not self.moved:
            return True
        on = self.settings.trained_on
        try:
            return on is not None and on.classes != "" and on.classes == classes_digest(source, self.settings.part)
        except ValueError:  # it has no such split
            return False


def initial_params(learner: Learner, settings: RunSettings) -> Params:
    """The learner's params under the run's seed, with the weights of the run named in `init` put in.

    Raises ValueError when no weight of that run has the name and shape of one of this learner's.
    """
    params = _on(learner.init(settings.seed), settings.device)
    if settings.init is None:
        return params
    given = tree.flatten(_on(load_params(Path(settings.init))[0], settings.device))
    # The net's weights by their own names, wherever the net stands; other parts only by their whole path, since
    # a rate is named after the weight that it is for.
    of_net = {name: leaf for path, leaf in given.items() if (name := _name_in_net(path))}
    own = tree.flatten(params)
    shared = {
        path: weight
        for path, leaf in own.items()
        if (weight := given.get(path, of_net.get(_name_in_net(path)))) is not None and weight.shape == leaf.shape
    }
    if not shared:
        raise ValueError(
            f"no weight of {settings.init} fits this learner's network: train both with the same net and net options"
        )
    measured = {path: leaf for path, leaf in given.items() if path.startswith("measured/")}
    return tree.unflatten({**own, **shared, **measured})


def _name_in_net(path: str) -> str:
    """A weight's name in its net, by its path in params; "" for what is of no net."""
    part, _, name = path.rpartition("/")
    return name if part in ("", *BLUEPRINTS) else ""


def load_params(folder: Path) -> tuple[Params, int]:
    """The params a run selected, and the step they are from.

    Raises ValueError for a half-written run, for weights of another run, and for weights that aren't finite.
    """
    run = RunSettings.read(folder).id
    if not (folder / BEST).exists():
        state = "was stopped before its first validation" if (folder / LAST).exists() else "has no checkpoint yet"
        raise ValueError(f"the run {folder} {state}: finish it with mapwise train --resume {folder}")
    tensors, about = checkpoint.load(folder / BEST, Best)
    checkpoint.check_run(folder / BEST, about, run)
    params: Params = tensors.get("params", {})
    leaves = tree.flatten(params).values()
    if not all(bool((leaf.double() if leaf.is_floating_point() else leaf).isfinite().all()) for leaf in leaves):
        raise ValueError(
            f"the weights in {folder / BEST} hold NaN or infinity: the training diverged, so train again with a lower "
            "learning rate or with --clip"
        )
    return params, about["step"]


def fits(learner: Learner, params: Params) -> bool:
    """Whether these are params of this learner, by their names, shapes and types."""
    return tree.forms(learner.init(0)) == tree.forms(params, but="measured/")


def _on(params: Params, device: str) -> Params:
    return tree.map(lambda leaf: leaf.to(device), params) if params else params
