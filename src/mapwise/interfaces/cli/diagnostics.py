"""The commands that ask a predictor about rows, one for each diagnostic."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.cli.predictors import Inputs, PredictorFile
from mapwise.interfaces.printing import answer, show


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
    json: Json = False,
) -> None:
    """Show which examples voted for the answer to each row, and what it would be without each of them."""
    diagnose("explain", file, inputs, json, regions=False if regions is None else regions.expanduser())


@app.command(
    "which-next",
    epilog="Examples: mapwise which-next birds.safetensors unsorted/; "
    "mapwise which-next intents.safetensors new.csv --n 20 --json",
)
def which_next_command(
    file: PredictorFile,
    inputs: Inputs,
    n: Annotated[
        int | None,
        typer.Option("--n", help="Number of suggestions. \\[5, or as many as there are rows]", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Suggest which rows to label next, the best first, and why."""
    diagnose("which_next", file, inputs, json, n=n)


def diagnose(name: str, file: Path, inputs: list[str], json: bool, **options: Any) -> None:
    """Show what a diagnostic says about inputs; options are its keywords.

    Raises ValueError for a file or inputs that can't be read, and as the diagnostic does.
    """
    from mapwise.interfaces.progress import watched
    from mapwise.predictors.classes import Predictor
    from mapwise.predictors.diagnostics.diagnostic import diagnostic_named
    from mapwise.workflows.reading import placed, rows_for

    diagnostic = diagnostic_named(name)
    predictor = Predictor.load(path := file.expanduser())
    sources, rows = rows_for(predictor, inputs)
    with placed(sources):
        findings = diagnostic.run(predictor, watched(predictor.encoder.reads)(rows), **options)
    about = [{"input": sources[one.row], **one.to_json()} for one in findings]
    lines = [f"{sources[one.row]}: {one.reason}" for one in findings]
    answer({"file": str(path), diagnostic.key: about}) if json else show(*lines)
