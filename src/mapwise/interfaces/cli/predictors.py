"""The commands on predictors: a few examples in, a file out, and what one asks of it."""

from pathlib import Path
from typing import Annotated

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.printing import answer, show
from mapwise.workflows.errors import WrongUse

PredictorFile = Annotated[Path, typer.Argument(help="A file that mapwise fit wrote.", show_default=False)]
Inputs = Annotated[
    list[str], typer.Argument(help="Pictures, folders of them, texts, .txt or .csv files.", show_default=False)
]


@app.command(
    epilog="Examples: mapwise fit photos/ -o birds.safetensors; "
    "mapwise fit train.csv --text body --label intent -o intents.safetensors"
)
def fit(
    data: Annotated[
        Path, typer.Argument(help="A folder with one folder of pictures a class, or a CSV file.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The predictor's file, .safetensors.", show_default=False)],
    encoder: Annotated[
        str | None,
        typer.Option(
            help="drawings, ink, pixels, text-hash or table: as the data ask for; or hf:NAME, a pretrained model.",
            show_default=False,
        ),
    ] = None,
    learner: Annotated[
        str,
        typer.Option(
            help="nearest_mean, ridge, logistic, lora, a run's folder, or auto: the best of the names on examples it "
            "didn't see."
        ),
    ] = "auto",
    budget: Annotated[str, typer.Option(help="Time to choose a learner, or to judge lora, such as 30s or 2m.")] = "30s",
    text: Annotated[str | None, typer.Option(help="The column that holds texts.", show_default=False)] = None,
    label: Annotated[str | None, typer.Option(help="The class column of a CSV file.", show_default=False)] = None,
    categories: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column to read as categories even if its cells look like numbers; may be repeated.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Fit a predictor to a few examples of each class, and write it to one file."""
    from mapwise.interfaces.answers import fit as taught

    result, shown = taught(
        data.expanduser(),
        out,
        encoder=encoder,
        learner=learner,
        text=text,
        label=label,
        budget=budget,
        categories=categories or (),
    )
    answer(result) if json else show(*shown)


@app.command(
    epilog="Examples: mapwise predict birds.safetensors new/*.jpg; mapwise predict intents.safetensors 'cancel it'; "
    "mapwise predict intents.safetensors new.csv --json"
)
def predict(
    file: PredictorFile,
    inputs: Inputs,
    refuse: Annotated[
        float,
        typer.Option(help='Percentage of known-class inputs that may be rejected as "none of these".'),
    ] = 5.0,
    csv: Annotated[bool, typer.Option("--csv", help="A CSV table on standard output.")] = False,
    json: Json = False,
) -> None:
    """Say what new pictures, texts or rows are, or that they are none of the classes."""
    from mapwise.interfaces.answers import predict as answered

    result, shown, sheet = answered(file.expanduser(), inputs, refuse / 100)
    if json:
        answer(result)
    else:
        show(*([sheet] if csv else shown))


@app.command(
    epilog="Examples: mapwise explain birds.safetensors new/3.jpg; "
    "mapwise explain birds.safetensors new/ --regions why/; mapwise explain intents.safetensors 'cancel it' --json"
)
def explain(
    file: PredictorFile,
    inputs: Inputs,
    regions: Annotated[
        Path | None,
        typer.Option(help="A folder for pictures, red where the answer came from.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Say why: the examples that voted for the answer, and what it would be without each of them."""
    from mapwise.interfaces.reasons import explain as explained

    result, shown = explained(file.expanduser(), inputs, regions and regions.expanduser())
    answer(result) if json else show(*shown)


@app.command(
    "which-next",
    epilog="Examples: mapwise which-next birds.safetensors unsorted/; "
    "mapwise which-next intents.safetensors new.csv --n 20 --json",
)
def which_next(
    file: PredictorFile,
    inputs: Inputs,
    n: Annotated[int | None, typer.Option("--n", help="Number of suggestions. \\[5]", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Suggest which of these to label next, and why."""
    from mapwise.interfaces.reasons import which_next as found_next

    result, shown = found_next(file.expanduser(), inputs, n)
    answer(result) if json else show(*shown)


@app.command("add-class", epilog="Example: mapwise add-class birds.safetensors newt photos/newt/")
def add_class(
    file: PredictorFile,
    name: Annotated[str, typer.Argument(help="What the class is called.", show_default=False)],
    data: Annotated[
        Path, typer.Argument(help="A folder of its pictures, or a file with one text a line.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Add a class to a predictor's file, without the earlier examples."""
    from mapwise.interfaces.answers import add_class as wider

    result, shown = wider(file.expanduser(), name, data.expanduser())
    answer(result) if json else show(*shown)


@app.command(epilog="Example: mapwise export birds.safetensors --onnx -o birds.onnx")
def export(
    file: PredictorFile,
    onnx: Annotated[bool, typer.Option("--onnx", help="As an ONNX file, the one form there is.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file, FILE.onnx if not given.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Write a predictor's learner for other machines, where classes are added and asked for without Python.

    Examples go in beside the queries, and are not in the file.
    """
    if not onnx:
        raise WrongUse("a form is needed: mapwise export FILE --onnx")
    from mapwise.interfaces.answers import export as exported

    result, shown = exported(file.expanduser(), None if out is None else out.expanduser())
    answer(result) if json else show(*shown)
