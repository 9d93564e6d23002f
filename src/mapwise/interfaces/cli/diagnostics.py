"""The commands that ask a predictor about rows, one for each diagnostic."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.cli.predictors import Inputs, PredictorFile, SkipBad
from mapwise.interfaces.printing import answer, note, show, show_sheet

if TYPE_CHECKING:
    from mapwise.interfaces.progress import Work


@app.command(
    "explain",
    epilog="Examples: mapwise explain birds.safetensors new/3.jpg; "
    "mapwise explain birds.safetensors new/ --regions why/; mapwise explain intents.safetensors 'cancel it' --json",
)
def explain_command(
    file: PredictorFile,
    inputs: Inputs,
    regions: Annotated[
        Path | None,
        typer.Option(help="Folder for copies of the pictures, red where the answer came from.", show_default=False),
    ] = None,
    leave_out: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of examples to leave out in turn. \\[all of a few, or as many as take about a second]",
            show_default=False,
        ),
    ] = None,
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Show which examples voted for the answer to each row, and what it would be without each of them."""
    from mapwise.interfaces.progress import Work

    folder = False if regions is None else regions.expanduser()
    with Work("loading the predictor") as work:
        watch = work.steps("leaving out examples in turn")
        shown = diagnose(
            *("explain", file, inputs, work, skip_bad), regions=folder, leave_out=leave_out, progress=watch
        )
    shown(json)


@app.command(
    "which-next",
    epilog="Examples: mapwise which-next birds.safetensors unsorted/; "
    "mapwise which-next intents.safetensors new.csv --n 20 --csv > ask.csv",
)
def which_next_command(
    file: PredictorFile,
    inputs: Inputs,
    n: Annotated[
        int | None,
        typer.Option("--n", help="Number of suggestions. \\[5, or as many as there are rows]", show_default=False),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="A CSV table with a column to label, for mapwise add.")] = False,
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Suggest which rows to label next, the best first, and why."""
    from mapwise.interfaces.progress import Work

    with Work("loading the predictor") as work:
        shown = diagnose("which_next", file, inputs, work, skip_bad, n=n)
    shown(json, csv)


def diagnose(
    name: str, file: Path, inputs: list[str], work: "Work", skip_bad: bool, **options: Any
) -> Callable[..., None]:
    """What shows, called with json and csv, the findings of a diagnostic about inputs; options are its keywords.

    Raises ValueError for a file or inputs that can't be read, and as the diagnostic does.
    """
    from mapwise.predictors.classes import Predictor
    from mapwise.predictors.diagnostics.diagnostic import diagnostic_named
    from mapwise.workflows.more_examples import sheet_to_label
    from mapwise.workflows.reading import left_out_line, placed, rows_for

    diagnostic = diagnostic_named(name)
    predictor = Predictor.load(path := file.expanduser())
    rows = rows_for(predictor, inputs, skip_bad=skip_bad)
    note(left_out_line(rows.left_out))
    work.stage(f"{name.replace('_', '-')}: {len(rows.sources):,} inputs")
    with placed(rows.sources):
        findings = diagnostic.run(predictor, work.reading(predictor.encoder.reads)(rows.rows), **options)
    content = {
        "file": str(path),
        diagnostic.key: [{"input": rows.sources[one.row], **one.to_json()} for one in findings],
        "left_out": rows.left_out,
    }

    def show_findings(json: bool, csv: bool = False) -> None:
        if json:
            answer(content)
        elif csv:
            show_sheet(sheet_to_label(predictor, rows.sheet, findings))
        else:
            show(*[f"{rows.sources[one.row]}: {one.reason}" for one in findings])

    return show_findings
