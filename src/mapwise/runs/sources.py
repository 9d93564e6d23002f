"""The episodes of a run: those it trains on, and those that judge it."""

from pathlib import Path
from typing import Literal

from torch.utils import _pytree as pytree

from mapwise.catalog.rows import SourceSettings
from mapwise.core.source import TaskSource, inputs_of
from mapwise.core.spec import described
from mapwise.runs.settings import RunSettings, named_source
from mapwise.runs.words import typed
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.stream import Stream

_MOST = 100  # tasks of an evaluation drawn together
_NUMBERS = 1 << 18  # input numbers of those tasks: the activations of a small network then fit a cache


def span(text: str, what: str) -> int | tuple[int, int]:
    """ "5" or "5-20" as a number or a range; raises ValueError for anything else."""
    try:
        low, dash, high = text.partition("-")
        return (int(low), int(high)) if dash else int(low)
    except ValueError:
        raise ValueError(f"{what} is {text!r}: give a number such as 5, or a range such as 5-20") from None


def source_of(settings: RunSettings, role: Literal["train", "test"] = "train", split: str | None = None) -> TaskSource:
    """The episodes a run trains on, or those that judge it.

    split: whose classes they are of; None: the split that the run trains on, or training classes.
    """
    testing = role == "test"
    split = split or ("train" if testing else settings.part)
    name = settings.test_source if testing and settings.test_source else settings.source
    row, data = named_source(name, settings.text)
    options = {} if name != settings.source else settings.source_options
    for option in options:
        settings.at(f"source.{option}")
    if data is None and settings.data is not None:
        data = Path(settings.data)
    ways, shots, queries = _judging(settings) if testing else (settings.ways, settings.shots, settings.queries)
    wanted = SourceSettings(
        data=data,
        ways=span(ways, "ways"),
        shots=span(shots, "shots"),
        queries=queries,
        tasks=settings.tasks,
        seed=settings.seed,
        augment=() if testing else settings.augment,
        device=settings.device,
        label=settings.label,
        text=settings.text,
        encoder=settings.encoder,
        skip_bad=settings.skip_bad,
        part=split,
        options={key: typed(row.options[key].annotation, value, f"source.{key}") for key, value in options.items()},
    )
    source = row.open(wanted)
    return source if source.about.split == split else source.split(split)


def classes_digest(source: TaskSource, split: str) -> str:
    """Of the rows of a split's classes; "" for a source without labelled rows, ValueError without such a split."""
    return source.rows.digest(split) if isinstance(source, Episodes | Stream) else ""


def judging(
    settings: RunSettings,
    split: str = "test",
    *,
    seed: int | None = None,
    training: TaskSource | None = None,
    opened: TaskSource | None = None,
) -> TaskSource:
    """The episodes of a split that judge a run.

    seed:     of the episodes; None: the run's. It never changes which classes a split holds.
    training: the run's training source where it is open already, so that its data aren't read twice.
    opened:   the same of episodes of another split that judge the run.

    The number of tasks drawn together is set by their size and not by the run's settings, so every run
    that asks for the same ways and shots is judged on the same episodes.

    Raises ValueError when the rows of a test source of its own have another shape.
    """
    ways, shots, queries = _judging(settings)
    if opened is not None:
        source = opened.split(split)
    elif settings.test_source is None and isinstance(training, Episodes):
        source = training.with_(
            part=split, ways=span(ways, "ways"), shots=span(shots, "shots"), queries=queries, augment=None
        )
    else:
        source = source_of(settings, "test", split)
    on = settings.trained_on
    trained = inputs_of(training) if training is not None else None if on is None else on.shape.inputs
    if trained is not None and trained != inputs_of(source):
        raise ValueError(
            f"rows of {source.about.source} are {described(inputs_of(source))} and those of the training source "
            f"{described(trained)}: choose a test source of the same rows"
        )
    one = source.with_(tasks=1)(0)
    numbers = sum(leaf.numel() for leaf in pytree.tree_leaves((one.support.x, one.query.x)))
    tasks = max(1, min(_MOST, _NUMBERS // numbers))
    return source.with_(tasks=tasks, seed=settings.seed if seed is None else seed)


def _judging(settings: RunSettings) -> tuple[str, str, int | None]:
    """Ways, shots and queries of the episodes that judge."""
    queries = settings.queries if settings.test_queries is None else settings.test_queries
    return settings.test_ways or settings.ways, settings.test_shots or settings.shots, queries
