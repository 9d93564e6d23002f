"""Fitting a finder of spans to a few annotated texts: one set of rules, whoever asks for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mapwise.core.fields import check_text, check_whole
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


def fit_spans(
    texts: Sequence[AnnotatedText],
    *,
    encoder: str = AUTO,
    learner: str | Path = AUTO,
    types: Iterable[str] = (),
    describe: Mapping[str, str] | None = None,
    names: bool = True,
    steps: int = STEPS,
    sources: Sequence[str] = (),
    stage: Callable[[str], object] = lambda name: None,
) -> SpanPredictor:
    """Fit a finder of spans to texts with spans.

    encoder:  the model that reads texts piece by piece: "minilm", or hf:FOLDER; "auto": minilm, or that of the run.
    learner:  the folder of a run that was trained on other texts, or the name of a learner of spans.
    types:    further types, known by their names alone.
    describe: type -> a few words that say what it is.
    names:    whether the names of types, or these words, teach too.
    steps:    of tuning all that the learner knows on the texts, in mini-batches; 0 is quick, and finds far less.
    sources:  where each text came from.
    stage:    is called with the name of what is done next.

    Raises ValueError for texts without a span, a model or a run that isn't there, and a run of another problem.
    """
    check_text("encoder", encoder)
    check_whole("steps", steps, 0)
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
    stage(f"reading the model of {learner}" if learner != AUTO else "reading the model")
    settings, params = _learner(encoder, learner, len(known))
    settings = settings.model_copy(update={"fields": {**settings.fields, "tune_steps": steps}})
    stage(f"fitting {settings.learner}")
    sentences = sentences_for(known, describe or {})
    return SpanPredictor.of(settings, params, texts, known, sentences, names=names, sources=sources)


def _learner(encoder: str, learner: str | Path, types: int) -> tuple[LearnerSettings, Params]:
    """The settings of a learner, and its params: of a run, or before any training."""
    if isinstance(learner, Path) or len(Path(learner).parts) > 1 or Path(learner).is_dir():
        return _of_run(Path(learner), encoder, types)
    model = token_model(MINILM if encoder == AUTO else encoder, fetch=True)
    shape = TaskShape(Spans.name, {**model.inputs}, 2 * types + 1)
    settings = LearnerSettings(
        learner=UNTRAINED if learner == AUTO else str(learner),
        fields={},
        net=NET,
        net_options={"model": model.name},
        shape=shape,
    )
    return settings, settings.build().init(0)


def _of_run(folder: Path, encoder: str, types: int) -> tuple[LearnerSettings, Params]:
    settings = RunSettings.read(folder)
    params, _ = load_params(folder)
    on = settings.trained_on
    if on is None or on.shape.problem != Spans.name:
        raise ValueError(
            f"{folder} was trained for another problem than spans: take a run of mapwise train span_finder"
        )
    shape = TaskShape(Spans.name, on.shape.inputs, 2 * types + 1)
    learner = LearnerSettings(
        learner=settings.learner, fields=settings.fields, net=on.net, net_options=settings.net_options, shape=shape
    )
    model = learner.typed_net_options().get("model", MINILM)
    if encoder not in (AUTO, model):
        raise ValueError(f"the run {folder} reads texts by {model} and {encoder} is asked for: leave the encoder out")
    if not fits(learner.build(), params):
        raise ValueError(f"the weights of {folder} are not those of {settings.learner}: train it again")
    return learner, params
