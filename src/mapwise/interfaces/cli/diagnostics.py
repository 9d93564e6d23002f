"""A command for every diagnostic of a predictor, read off the text of its file: importing it would import torch."""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.cli.predictors import Inputs, PredictorFile
from mapwise.interfaces.printing import answer, show
from mapwise.predictors import diagnostics
from mapwise.runs.words import field_meanings

TYPES = {"int": int, "float": float, "Path": Path, "str": str, "bool": bool}
"""The types of a flag; of several, the first."""


def add_diagnostics() -> None:
    """Give the command line every diagnostic."""
    for path in sorted(Path(diagnostics.__path__[0]).glob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
        for node in body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DIAGNOSTIC":
                assert isinstance(node.value, ast.Call)
                examples = next(word.value for word in node.value.keywords if word.arg == "examples")
                function = functions[ast.unparse(node.value.args[0])]
                epilog = f"Examples: {ast.literal_eval(examples)}"
                app.command(function.name.replace("_", "-"), epilog=epilog)(_command(function))


def _command(function: ast.FunctionDef) -> Callable[..., None]:
    def command(file: PredictorFile, inputs: Inputs, *, json: Json = False, **options: Any) -> None:
        from mapwise.interfaces.progress import watched
        from mapwise.predictors.classes import Predictor
        from mapwise.predictors.diagnostics.diagnostic import diagnostic_named
        from mapwise.workflows.reading import placed, rows_for

        given = {name: value for name, value in options.items() if value not in (None, False)}
        given |= {name: value.expanduser() for name, value in given.items() if isinstance(value, Path)}
        diagnostic = diagnostic_named(function.name)
        predictor = Predictor.load(path := file.expanduser())
        sources, rows = rows_for(predictor, inputs)
        with placed(sources):
            findings = diagnostic.run(predictor, watched(predictor.encoder.reads)(rows), **given)
        about = [{"input": sources[one.row], **one.to_json()} for one in findings]
        lines = [f"{sources[one.row]}: {one.reason}" for one in findings]
        answer({"file": str(path), diagnostic.key: about}) if json else show(*lines)

    text = ast.get_docstring(function) or ""
    meanings = field_meanings(SimpleNamespace(__doc__=text))
    file, inputs, json, _ = inspect.signature(command).parameters.values()
    parts = [*function.args.args[2:], *function.args.kwonlyargs]
    options = [_option(part, meanings[part.arg]) for part in parts if part.arg != "names"]
    command.__signature__ = inspect.Signature([file, inputs, *options, json])  # type: ignore[attr-defined]
    command.__doc__ = text.splitlines()[0]
    return command


def _option(part: ast.arg, meaning: str) -> inspect.Parameter:
    words = {node.id for node in ast.walk(part) if isinstance(node, ast.Name)}
    kind: Any = next(TYPES[name] for name in TYPES if name in words)
    what, _, otherwise = meaning.rstrip(".").partition("; None: ")
    text = what.partition("; True: ")[0]
    text = f"{text[0].upper()}{text[1:]}." + (f" \\[{otherwise}]" if otherwise else "")
    option = typer.Option(f"--{part.arg.replace('_', '-')}", help=text, show_default=False)
    annotation: Any = Annotated[bool, option] if kind is bool else Annotated[kind | None, option]
    default: Any = False if kind is bool else None
    return inspect.Parameter(part.arg, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
