"""The settings of a run that are flags by their own names, each documented once.

Nothing here needs torch, so that help comes at once.
"""

from dataclasses import Field, dataclass, fields
from typing import Any, Literal

from mapwise.engine.settings import Execution, Training

MOST_THREADS = 1024
"""More can't all be started on many machines, and torch then ends the process without a word."""


@dataclass(frozen=True, kw_only=True)
class RunFlags(Training, Execution):
    """The settings that every training of every learner takes.

    net:          network, such as mlp, conv4 or resnet12 (mapwise list shows all); None: the source's.
    test_source:  another source to validate and test on; None: the source it trains on.
    data:         data root, folder of images, or CSV file.
    label:        class column of a CSV file.
    text:         column of texts of a CSV file, or of a folder of CSV files; None: there are no texts.
    encoder:      frozen encoder of texts, such as words, minilm or hf:NAME.
    skip_bad:     leave out files that are not images.
    augment:      augmentations of training images: shift, flip, crop, colour; several with commas.
    part:         split to train on; trainval only for a last run whose settings were chosen before.
    ways:         classes of a task: a number, or a range to draw from, such as 5-20.
    shots:        examples of each class, or points of a function: a number, or a range such as 1-10.
    queries:      query examples of each class; None: up to 15.
    test_ways:    ways of validation and test tasks; None: as in training.
    test_shots:   shots of validation and test tasks; None: as in training.
    test_queries: queries of validation and test tasks; None: as in training.
    tasks:        tasks of one step.
    device:       device to compute on, such as cpu or cuda.
    init:         run to take initial weights from, where names and shapes agree.
    threads:      CPU threads, which are part of a run's identity: they change the order of sums; None: torch's choice.
    track:        trackers that also get the records: tensorboard, wandb, mlflow; several with commas.
    """

    net: str | None = None
    test_source: str | None = None
    data: str | None = None
    label: str | None = None
    text: str | None = None
    encoder: str = "words"
    skip_bad: bool = False
    augment: tuple[str, ...] = ()
    part: Literal["train", "trainval"] = "train"
    ways: str = "5"
    shots: str = "1"
    queries: int | None = None
    test_ways: str | None = None
    test_shots: str | None = None
    test_queries: int | None = None
    tasks: int = 16
    steps: int = 1000
    aggregate: str = "mean"
    device: str = "cpu"
    init: str | None = None
    threads: int | None = None
    track: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        Training.__post_init__(self)
        Execution.__post_init__(self)
        for name in ("queries", "test_queries", "tasks", "threads"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} is {count}: give 1 or more")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise ValueError(f"threads is {self.threads}: give 1 to {MOST_THREADS:,}, or leave it out")


_FIELDS = {field.name: field for field in fields(RunFlags)}
FLAGS: dict[str, Field[Any]] = {name: _FIELDS[name] for name in {**RunFlags.__annotations__, **_FIELDS}}
"""Every one by its name: what is learned, then how it is trained and computed."""
