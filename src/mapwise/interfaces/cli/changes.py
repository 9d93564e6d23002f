"""The commands that change a predictor's file: more examples, or other classes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.cli.predictors import PredictorFile, SkipBad
from mapwise.interfaces.printing import answer, note, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from mapwise.predictors.classes import Predictor
    from mapwise.predictors.examples import LabelledExamples
    from mapwise.workflows.change import Narrowed


@app.command(
    "add",
    epilog="Examples: mapwise add intents.safetensors ask.csv; mapwise add birds.safetensors photos/; "
    "mapwise add intents.safetensors 'cancel it' --class cancel",
)
def add_command(
    file: PredictorFile,
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of class folders, or a CSV file with a column of labels; with --class a folder of "
            "pictures, a picture, a file with one text a line, a text, a CSV file, or - for standard input.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--class", help="Class of all rows, known or new.", show_default=False)
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            help="Column of the texts, or of the pictures' paths. \\[that of the fit, or input]", show_default=False
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of the labels. \\[label, or the only one left]", show_default=False)
    ] = None,
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Add labelled rows to a predictor's file, of its classes or of new ones.

    Rows without a label and exact duplicates are left out.
    """
    from mapwise.data.files import path_to_read
    from mapwise.predictors.classes import Predictor
    from mapwise.workflows.errors import WrongUse
    from mapwise.workflows.more_examples import examples_of_class, more_examples

    if name is not None and label is not None:
        raise WrongUse("--class is the class of all rows and --label a column of classes: leave one of them out")
    predictor = Predictor.load(path := file.expanduser())
    if name is None:
        examples = more_examples(predictor, path_to_read(data), text=text, label=label, skip_bad=skip_bad)
    else:
        examples = examples_of_class(predictor, name, data, text=text, skip_bad=skip_bad)
    _add(predictor, path, examples, json)


@app.command("add-class", epilog="Example: mapwise add-class birds.safetensors newt photos/newt/")
def add_class_command(
    file: PredictorFile,
    name: Annotated[str, typer.Argument(help="Name of the new class.", show_default=False)],
    data: Annotated[
        str,
        typer.Argument(
            help="As for add --class: a folder of its pictures, a file with one text a line, or - for standard input.",
            show_default=False,
        ),
    ],
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Add a class to a predictor's file, without the earlier examples."""
    from mapwise.predictors.classes import Predictor
    from mapwise.predictors.examples import check_name
    from mapwise.workflows.change import check_new_class
    from mapwise.workflows.more_examples import examples_of_class

    check_name(name)
    predictor = Predictor.load(path := file.expanduser())
    check_new_class(predictor, name)
    examples = examples_of_class(predictor, name, data, skip_bad=skip_bad, files_only=True)
    _add(predictor, path, examples, json)


@app.command("rename-class", epilog="Example: mapwise rename-class birds.safetensors newt triton")
def rename_class_command(
    file: PredictorFile,
    old: Annotated[str, typer.Argument(help="Name of the class.", show_default=False)],
    new: Annotated[str, typer.Argument(help="Its new name.", show_default=False)],
    json: Json = False,
) -> None:
    """Rename a class in a predictor's file."""
    from mapwise.predictors.classes import Predictor
    from mapwise.workflows.change import rename_class

    predictor = rename_class(Predictor.load(path := file.expanduser()), old, new)
    predictor.save(path)
    content = {"file": str(path), "classes": predictor.counts}
    answer(content) if json else show(f"{path}: {old} is now {new}")


@app.command("remove-class", epilog="Example: mapwise remove-class birds.safetensors newt")
def remove_class_command(
    file: PredictorFile,
    name: Annotated[str, typer.Argument(help="Name of the class.", show_default=False)],
    json: Json = False,
) -> None:
    """Remove a class and its rows from a predictor's file."""
    from mapwise.workflows.change import remove_class

    _remove(file, lambda predictor, stage: remove_class(predictor, name, stage=stage), json)


@app.command(
    "remove-row",
    epilog="Examples: mapwise remove-row birds.safetensors ring/7.png; "
    "mapwise remove-row intents.safetensors 'train.csv, line 12' 'train.csv, line 40'",
)
def remove_row_command(
    file: PredictorFile,
    rows: Annotated[
        list[str],
        typer.Argument(help="Where each came from, or its place, as report and explain show them.", show_default=False),
    ],
    json: Json = False,
) -> None:
    """Remove rows from a predictor's file, such as those that may be mislabelled."""
    from mapwise.workflows.change import remove_rows

    _remove(file, lambda predictor, stage: remove_rows(predictor, rows, stage=stage), json)


def _remove(file: Path, change: "Callable[[Predictor, Callable[[str], object]], Narrowed]", json: bool) -> None:
    """Remove something from a predictor's file, and say what came of it."""
    from mapwise.interfaces.predictor_lines import removal_lines
    from mapwise.interfaces.progress import Work
    from mapwise.predictors.classes import Predictor

    predictor = Predictor.load(path := file.expanduser())
    with Work("removing the rows") as work:
        result = change(predictor, work.stage)
        result.predictor.save(path)
    answer({"file": str(path), **result.to_json()}) if json else show(*removal_lines(result, path))


def _add(predictor: "Predictor", path: Path, examples: "LabelledExamples", json: bool) -> None:
    """Add examples to a predictor of this file, and say what came of it."""
    from mapwise.interfaces.predictor_lines import addition_lines, cut_line
    from mapwise.interfaces.progress import Work
    from mapwise.workflows.change import add_rows
    from mapwise.workflows.reading import left_out_line

    note(left_out_line(examples.left_out))
    with Work("adding the rows") as work:
        result = add_rows(predictor, examples, progress=work.reading(examples.modality), stage=work.stage)
        if result.addition.added:
            result.predictor.save(path)
    note(cut_line(len(result.cut), result.addition.added))
    content = {"file": str(path), **result.to_json(), "left_out": examples.left_out}
    answer(content) if json else show(*addition_lines(result, path))
