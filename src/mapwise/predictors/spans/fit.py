"""Fitting a finder of spans to a few annotated texts: one set of rules, whoever asks for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mapwise.core.fields import check_text, check_whole, quote
from mapwise.core.source import TaskShape
from mapwise.core.tree import Params
from mapwise.data.annotated.texts import AnnotatedText, check_type, type_names
from mapwise.encoders.token_model import MINILM, token_model
from mapwise.predictors.examples import check_name
from mapwise.predictors.spans.predictor import SpanPredictor, sentences_for
from mapwise.problems.spans import Spans
from mapwise.runs.learner import LearnerSettings
from mapwise.runs.run import fits, load_params
from mapwise.runs.settings import RunSettings

AUTO = "auto"
UNTRAINED = "span_finder"
"""The learner that stands behind "auto": it has learned from no other texts."""
NET = "tokens"
STEPS = 100
"""Of tuning on the examples, where no other number is given."""
_READING = "reading the model"


@dataclass(frozen=True, eq=False)
class UnadaptedLearner:
    """A learner of spans before it is adapted, such as that of a run or of a predictor's file.

    settings: what makes it; the width of its answers is that of other types.
    """

    settings: LearnerSettings
    params: Params

    @classmethod
    def of_run(cls, folder: Path) -> "UnadaptedLearner":
        """That of a run's folder; raises ValueError for one that is no finished run, or of another problem."""
        settings = RunSettings.read(folder)
        params, _ = load_params(folder)
        on = settings.trained_on
        if on is None or on.shape.problem != Spans.name:
            raise ValueError(
                f"{folder} was trained for another problem than spans: take a run of mapwise train span_finder"
            )
        learner = LearnerSettings(
            learner=settings.learner,
            fields=settings.fields,
            net=on.net,
            net_options=settings.net_options,
            shape=on.shape,
        )
        if not fits(learner.build(), params):
            raise ValueError(f"the weights of {folder} are not those of {settings.learner}: train it again")
        return cls(learner, params)

    @property
    def model(self) -> str:
        """The name of the model that it reads texts by."""
        return str(self.settings.typed_net_options().get("model", MINILM))

    def for_types(self, count: int) -> LearnerSettings:
        """Its settings for so many types."""
        shape = self.settings.shape
        return self.settings.model_copy(update={"shape": TaskShape(shape.problem, shape.inputs, 2 * count + 1)})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.learner!r})"


def fit_spans(
    texts: Sequence[AnnotatedText],
    *,
    encoder: str = AUTO,
    learner: str | Path | UnadaptedLearner = AUTO,
    types: Iterable[str] = (),
    describe: Mapping[str, str] | None = None,
    names: bool = True,
    steps: int = STEPS,
    sources: Sequence[str] = (),
    stage: Callable[[str], object] = lambda name: None,
) -> SpanPredictor:
    """Fit a finder of spans to texts with spans.

    encoder:  the model that reads texts piece by piece: "minilm", or hf:FOLDER; "auto": minilm, or that of the run.
    learner:  the folder of a run that was trained on other texts, the name of a learner of spans, or one as it is.
    types:    further types, known by their names alone.
    describe: type -> a few words that say what it is.
    names:    whether the names of types, or these words, teach too.
    steps:    of tuning all that the learner knows on the texts, in mini-batches, where it is one that is tuned; 0 is
              quick, and finds far less.
    sources:  where each text came from.
    stage:    is called with the name of what is done next.

    Raises ValueError for texts without a span, texts that are equal and have different spans, a model or a run that
    isn't there, and a run of another problem.
    """
    check_text("encoder", encoder)
    check_whole("steps", steps, 0)
    _check_equal_texts(texts, sources)
    known = [*type_names(texts)]
    known += sorted({check_type(name) for name in types} - set(known))
    for name in known:
        check_name(name)
    if not names and (nameless := [name for name in known if name not in type_names(texts)]):
        raise ValueError(
            f"the type {nameless[0]!r} has no span, and names of types are not used: mark one, or let names teach"
        )
    if not any(text.spans for text in texts) and not (names and known):
        raise ValueError(
            f"none of the {len(texts)} texts has a span: mark a few, or give the names of types to look for"
        )
    stage(_READING if learner == AUTO or isinstance(learner, UnadaptedLearner) else f"{_READING} of {learner}")
    settings, params = _learner(encoder, learner, len(known))
    if "tune_steps" in settings.row.fields:
        settings = settings.model_copy(update={"fields": {**settings.fields, "tune_steps": steps}})
    stage(f"fitting {settings.learner}")
    sentences = sentences_for(known, describe or {})
    return SpanPredictor.of(settings, params, texts, known, sentences, names=names, sources=sources)


def _check_equal_texts(texts: Sequence[AnnotatedText], sources: Sequence[str]) -> None:
    """Raises ValueError for texts that are equal and have different spans."""
    seen: dict[str, int] = {}
    for place, text in enumerate(texts):
        other = seen.setdefault(text.text, place)
        if text.spans != texts[other].spans:
            named = [sources[row] if len(sources) and sources[row] else f"text {row}" for row in (other, place)]
            apart = min(set(text.spans) ^ set(texts[other].spans))
            of = named[0] if apart in texts[other].spans else named[1]
            raise ValueError(
                f"{named[0]} and {named[1]} are the same and have different spans, such as {apart.start}-{apart.end} "
                f"({quote(text.text[apart.start : apart.end])}, {quote(apart.type)}) of {of} alone: keep the one that "
                "is right"
            )


def _learner(encoder: str, learner: str | Path | UnadaptedLearner, types: int) -> tuple[LearnerSettings, Params]:
    """The settings of a learner of so many types, and its params: of a run, of a file, or before any training."""
    if isinstance(learner, UnadaptedLearner):
        whole, owner = learner, "the learner that is given"
    elif isinstance(learner, Path) or len(Path(learner).parts) > 1 or Path(learner).is_dir():
        whole, owner = UnadaptedLearner.of_run(Path(learner)), f"the run {learner}"
    else:
        return _untrained(encoder, learner, types)
    if encoder not in (AUTO, whole.model):
        raise ValueError(f"{owner} reads texts by {whole.model} and {encoder} is asked for: leave the encoder out")
    return whole.for_types(types), whole.params


def _untrained(encoder: str, learner: str, types: int) -> tuple[LearnerSettings, Params]:
    model = token_model(MINILM if encoder == AUTO else encoder, fetch=True)
    settings = LearnerSettings(
        learner=UNTRAINED if learner == AUTO else learner,
        fields={},
        net=NET,
        net_options={"model": model.name},
        shape=TaskShape(Spans.name, {**model.inputs}, 2 * types + 1),
    )
    return settings, settings.build().init(0)
