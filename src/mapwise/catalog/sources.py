"""Every source of tasks by name, and how a run's settings open it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mapwise.catalog.encoders import encoder_named
from mapwise.catalog.plugins import Registry, first_line
from mapwise.catalog.rows import SourceRow, SourceSettings
from mapwise.core.problem import Problem
from mapwise.core.source import TaskSource
from mapwise.data.annotated.pieces import Pieces
from mapwise.data.annotated.read import Corpus, read_corpora
from mapwise.data.digits import digit_sets, digits
from mapwise.data.glyphs import glyphs
from mapwise.data.images import images
from mapwise.data.omniglot import omniglot
from mapwise.data.rows import LabelledRows
from mapwise.data.tables import table
from mapwise.data.texts import labelled_texts
from mapwise.encoders.encoder import description_rows
from mapwise.encoders.minilm import model_pieces
from mapwise.encoders.pixels import Ink, Pixels
from mapwise.encoders.token_model import token_model
from mapwise.learners.row import LearnerRow
from mapwise.tasks.augment import augmentation
from mapwise.tasks.episodes import Episodes
from mapwise.tasks.gaussian_process import GaussianProcess
from mapwise.tasks.lines import Lines
from mapwise.tasks.priority_sort import PrioritySort
from mapwise.tasks.quadratics import Quadratics
from mapwise.tasks.repeat_copy import RepeatCopy
from mapwise.tasks.sequences import AssociativeRecall, Copy
from mapwise.tasks.sinusoid import Sinusoid
from mapwise.tasks.span_episodes import SpanBatches, SpanEpisodes
from mapwise.tasks.span_rows import AnnotatedRows
from mapwise.tasks.stream import Stream, streamed
from mapwise.tasks.supervised import SupervisedSource


def _episodes(
    rows: Callable[[SourceSettings], LabelledRows | tuple[LabelledRows, LabelledRows | None]],
) -> Callable[[SourceSettings], TaskSource]:
    def open_source(wanted: SourceSettings) -> TaskSource:
        read = rows(wanted)
        examples, descriptions = read if isinstance(read, tuple) else (read, None)
        return Episodes(
            examples,
            ways=wanted.ways,
            shots=wanted.shots,
            queries=wanted.queries,
            tasks=wanted.tasks,
            seed=wanted.seed,
            part=wanted.part,
            augment=augmentation(wanted.augment) if wanted.augment else None,
            shuffle_labels=wanted.shuffle_labels,
            device=wanted.device,
            descriptions=descriptions,
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
            part=wanted.part,
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


Support = Literal["examples", "descriptions"]


def _texts(wanted: SourceSettings) -> tuple[LabelledRows, LabelledRows | None]:
    if wanted.data is None or wanted.text is None:
        raise ValueError("texts are a CSV file, or a folder of them: give it, and its column of texts with --text")
    return encoded_texts(wanted.data, wanted.text, wanted.label, wanted.encoder, **wanted.options)


def encoded_texts(
    path: str | Path, text: str, label: str | None = None, encoder: str = "words", *, support: Support = "examples"
) -> tuple[LabelledRows, LabelledRows | None]:
    """The texts of a CSV file, or of a folder of them, as an encoder gives them; and the names of their classes.

    path, text, label: see `mapwise.data.texts.labelled_texts`.
    encoder: of texts, by its name; it is frozen, and what a costly one gives is cached.
    support: what the support of a task is: examples, or descriptions, the name of a class read as words.

    Classes are dealt to training, validation and testing, those that share texts together. Of examples the second value
    is None.

    Raises ValueError for what can't be read, an encoder of something else, and with descriptions for a name that says
    nothing.
    """
    frozen = encoder_named(encoder, fetch=True)
    if frozen.reads != "texts":
        raise ValueError(f"the encoder {encoder} reads {frozen.reads} and texts are needed: give words, or minilm")
    read = labelled_texts(path, text, label)
    splits = read.splits()
    rows = LabelledRows.of(frozen(read.texts), read.labels, name=read.name, splits=splits, notes=read.notes)
    if support == "examples":
        return rows, None
    return rows, LabelledRows.of(
        frozen(description_rows(frozen, read.names())), read.classes, name=read.name, splits=splits
    )


PIECES: dict[str, Callable[[], Pieces]] = {"words": model_pieces, "minilm": model_pieces}
"""What cuts the units of a text into pieces, by the name of the encoder."""


def _annotated(wanted: SourceSettings) -> TaskSource:
    if wanted.data is None:
        raise ValueError("annotated texts are needed: give a file, or a folder with train, dev and test, with --data")
    if wanted.encoder in PIECES:
        pieces = PIECES[wanted.encoder]()
    elif wanted.encoder.startswith("hf:"):
        pieces = token_model(wanted.encoder)
    else:
        raise ValueError(f"the encoder {wanted.encoder} has no pieces of words: give {', '.join(PIECES)}, or hf:FOLDER")
    for name in ("ways", "shots"):
        if isinstance(getattr(wanted, name), tuple):
            raise ValueError(f"{name} is a range, and episodes of spans have one number of them: give a number")
    shared = ("ways", "shots", "queries", "tasks", "seed", "part", "device")
    settings = {name: getattr(wanted, name) for name in shared}
    return span_tasks(read_corpora(wanted.data), pieces, settings, **wanted.options)


def span_tasks(
    corpora: Sequence[Corpus],
    pieces: Pieces,
    settings: Mapping[str, Any],
    *,
    length: int | None = 64,
    describe: bool = True,
    whole: bool = False,
    batch: int = 32,
) -> TaskSource:
    """Episodes of spans; whole: tasks of all types of a corpus instead, with `batch` sentences each.

    length:   pieces of a sentence; longer ones are left out; None: those of the longest.
    describe: whether the support begins with the names of the types.
    """
    episodes = SpanEpisodes(AnnotatedRows.of(corpora, pieces, length), describe=describe, **settings)
    return SpanBatches(episodes, batch) if whole else episodes


_SOURCES = {
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
        factory=streamed,
    ),
    "omniglot_stream": SourceRow(
        _streams(lambda wanted, size: omniglot(wanted.data, size=size)),
        "classification",
        "omniglot characters one after another, each asked for before its label is seen",
        "omniglot/ under --data, or a network",
        encoder=Ink().of_shape,
        factory=streamed,
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
        factory=Sinusoid,
    ),
    "lines": SourceRow(
        _functions(Lines, queries=10),
        "regression",
        "straight lines of random slope and intercept",
        net="mlp",
        shots="5",
        factory=Lines,
    ),
    "gp": SourceRow(
        _functions(GaussianProcess, queries=30),
        "regression",
        "functions of a Gaussian process: rbf, periodic, matern52",
        net="mlp",
        shots="3-10",
        factory=GaussianProcess,
    ),
    "copy": SourceRow(
        _sequences(Copy), "multilabel", "bit vectors to be said again once they ended", net="mlp", factory=Copy
    ),
    "associative_recall": SourceRow(
        _sequences(AssociativeRecall),
        "multilabel",
        "items of bit vectors; say the one that followed what is shown again",
        net="mlp",
        factory=AssociativeRecall,
    ),
    "repeat_copy": SourceRow(
        _sequences(RepeatCopy),
        "multilabel",
        "bit vectors to be said again as often as a number says, and then the end",
        net="mlp",
        factory=RepeatCopy,
    ),
    "priority_sort": SourceRow(
        _sequences(PrioritySort),
        "multilabel",
        "bit vectors with priorities; say those of the highest, in their order",
        net="mlp",
        factory=PrioritySort,
    ),
    "quadratics": SourceRow(
        _sequences(Quadratics),
        "regression",
        "random quadratics to minimise, for learned optimizers",
        net="linear",
        factory=Quadratics,
    ),
    "small_mlps": SourceRow(
        _episodes(lambda wanted: digit_sets()),
        "classification",
        "problems for learned optimizers: a small network and drawings of ten digits to train it on",
        net="mlp",
        ways=10,
        shots="30",
        encoder=Ink().of_shape,
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
        factory=table,
    ),
    "texts": SourceRow(
        _episodes(_texts),
        "classification",
        "texts of a CSV file, or of a folder of them, behind a frozen encoder; or names of classes and their texts",
        "--data FILE.csv --text COLUMN",
        net="residual",
        factory=encoded_texts,
    ),
    "conll": SourceRow(
        _annotated,
        "spans",
        "sentences with annotated spans, such as names: CoNLL, JSON lines or marks, of one corpus or of several",
        "--data FOLDER",
        net="tokens",
        factory=span_tasks,
    ),
}


def source_row_of(value: Any, name: str) -> SourceRow:
    """The row of what makes a source; a SourceRow stays as it is.

    It is called with those of a run's settings that are its parameters: data, ways, shots, queries, tasks, seed, device
    and label. Its other parameters become --source.NAME.

    Raises ValueError for what can't be called.
    """
    if isinstance(value, SourceRow):
        return value
    if not callable(value):
        raise ValueError(
            f"{name} makes no source: give a class that extends mapwise.core.source.Source, or a SourceRow"
        )
    parameters = inspect.signature(value, eval_str=True).parameters
    shared = [part for part in _SHARED if part in parameters]
    problem = getattr(value, "problem", None)

    def open_source(wanted: SourceSettings) -> TaskSource:
        settings = {part: getattr(wanted, part) for part in shared if getattr(wanted, part) is not None}
        source: TaskSource = value(**settings, **wanted.options)
        return source

    def own(**settings: Any) -> TaskSource:
        raise NotImplementedError  # only its signature is read

    free = [part.replace(kind=part.KEYWORD_ONLY) for part in parameters.values() if part.name not in _SHARED]
    own.__signature__ = inspect.Signature(free)  # type: ignore[attr-defined]
    own.__doc__ = value.__doc__
    name_of = problem.name if isinstance(problem, Problem) else "classification"
    return SourceRow(open_source, name_of, first_line(value), net="mlp", factory=own)


_SHARED = ("data", "ways", "shots", "queries", "tasks", "seed", "device", "label")
"""Settings of every run that a source may take."""

SOURCES = Registry(_SOURCES, "mapwise.sources", source_row_of)
"""Every source by name, then those that installed packages add."""


def training_source(row: LearnerRow, source: TaskSource) -> TaskSource:
    """The source a learner trains on: as it is, episodes of a stream's classes, or all base classes at once."""
    if isinstance(source, Stream) and not row.causal:
        source = source.episodes
    if not row.pretraining:
        return source
    if not isinstance(source, Episodes):
        raise ValueError("supervised pretraining needs classes, and this source has none: choose a source of classes")
    return SupervisedSource(source)
