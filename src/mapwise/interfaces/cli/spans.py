"""What the commands on predictors do for finders of spans."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mapwise.interfaces.cli.flags import given_options
from mapwise.interfaces.printing import answer, has_colours, note, show, show_sheet
from mapwise.workflows.errors import WrongUse

if TYPE_CHECKING:
    from mapwise.predictors.spans.report import FittedSpans
    from mapwise.workflows.spans.predict import TextWithSpans

_OF_CLASSES = ("text", "label", "categories", "names", "skip_bad")
_OF_SPANS = ("types", "steps", "threshold")


def check_fit_options(ctx: typer.Context, spans: bool) -> None:
    """Raises WrongUse for options of the other kind of predictor."""
    for name in given_options(ctx):
        flag = f"--{name.replace('_', '-')}"
        if spans and name in _OF_CLASSES:
            raise WrongUse(f"{flag} is for predictors of classes and --spans fits a finder of spans: leave {flag} out")
        if not spans and name in _OF_SPANS:
            raise WrongUse(f"{flag} is for finders of spans: add --spans, or leave {flag} out")


def fit_finder(
    out: Path,
    data: Path | None,
    *,
    encoder: str | None,
    learner: str,
    types: Path | None,
    describe: Path | None,
    names: bool,
    steps: int | None,
    threshold: str | None,
    budget: str | None,
    json: bool,
) -> None:
    """Fit a finder of spans to annotated texts, write it to one file, and cross-validate it."""
    if data is None and types is None:
        raise WrongUse("DATA is missing: give a file of annotated texts, or --types FILE")

    from mapwise.data.files import path_to_read
    from mapwise.interfaces.progress import Work
    from mapwise.interfaces.span_lines import finder_lines, unread_line
    from mapwise.predictors.choose import seconds_of
    from mapwise.predictors.spans.file import save_spans
    from mapwise.predictors.spans.fit import STEPS
    from mapwise.workflows.spans.fit import annotated_examples, fit_annotated

    files = {"types": types and path_to_read(types), "describe": describe and path_to_read(describe)}
    examples = annotated_examples(None if data is None else str(data), **files)
    if budget is not None:
        seconds_of(budget)  # so that a fault of it comes before the work
    with Work("fitting") as work:
        result = fit_annotated(
            examples,
            encoder=encoder,
            learner=learner,
            names=names,
            steps=STEPS if steps is None else steps,
            threshold=0.0 if threshold is None else threshold_of(threshold),
            stage=work.stage,
        )
        save_spans(result.fitted, out)  # there too where what follows is stopped
        result = result.cross_validated(budget, stage=work.stage)
        save_spans(result.fitted, out)
    about = result.to_json()
    for remark in (*result.remarks, unread_line(len(result.cut), len(result.predictor.texts))):
        note(f"note: {remark}" if remark else "")
    answer({"file": str(out), "bytes": out.stat().st_size, **about}) if json else show(*finder_lines(result, out))


def threshold_of(text: str) -> float | str:
    """The value of --threshold, which is a number or another word."""
    try:
        return float(text)
    except ValueError:
        return text


def predict_spans(
    ctx: typer.Context,
    path: Path,
    inputs: Sequence[str],
    *,
    threshold: str | None,
    csv: bool,
    displacy: bool,
    json: bool,
) -> None:
    """Find spans in texts."""
    for name in given_options(ctx):
        if name in ("refuse", "skip_bad"):
            flag = f"--{name.replace('_', '-')}"
            raise WrongUse(f"{flag} is for predictors of classes and {path} holds a finder of spans: leave {flag} out")
    if csv + displacy + json > 1:
        raise WrongUse("--csv, --displacy and --json are three forms of one answer: give one of them")

    from mapwise.interfaces.span_lines import span_colours, span_lines, span_sheet

    fitted, answers = _answers(path, inputs, threshold)
    if json:
        answer(
            {"file": str(path), "threshold": fitted.predictor.threshold, "texts": [one.to_json() for one in answers]}
        )
    elif displacy:
        answer([one.to_displacy() for one in answers])
    elif csv:
        show_sheet(span_sheet(answers))
    else:
        show(*(span_colours(answers, sorted(fitted.predictor.types)) if has_colours() else span_lines(answers)))


def report_finder(path: Path, inputs: Sequence[str]) -> tuple[str, dict[str, Any], str]:
    """The page about a finder of spans and what it finds in these texts, its numbers, JSON-ready, and in a line."""
    from mapwise.workflows.spans.report import report_spans

    fitted, answers = _answers(path, inputs)
    result = report_spans(fitted, str(path), path.stat().st_size, answers)
    return result.page, result.to_json(), result.summary


def _answers(
    path: Path, inputs: Sequence[str], threshold: str | None = None
) -> "tuple[FittedSpans, list[TextWithSpans]]":
    """The finder in a file, and what it finds; how many texts aren't read whole is noted."""
    from mapwise.interfaces.progress import Work
    from mapwise.interfaces.span_lines import unread_line
    from mapwise.predictors.spans.evidence.threshold import check_threshold
    from mapwise.predictors.spans.file import load_spans
    from mapwise.workflows.spans.inputs import input_texts
    from mapwise.workflows.spans.predict import predict_texts

    given = None if threshold is None else threshold_of(threshold)
    if given is not None:
        check_threshold(given, auto=False)
    texts = input_texts(inputs)
    fitted = load_spans(path) if given is None else load_spans(path).with_threshold(given)
    with Work("finding spans") as work:
        answers = predict_texts(fitted.predictor, texts, progress=work.steps("finding spans"))
    note(unread_line(sum(one.cut for one in answers), len(answers)))
    return fitted, answers
