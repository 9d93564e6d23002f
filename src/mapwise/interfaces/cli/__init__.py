"""The command line. Everything heavy is imported by the command that needs it: help comes at once."""

import sys
from collections.abc import Sequence

from typer.exceptions import TyperException

from mapwise.interfaces.cli import about, diagnostics, predictors, runs
from mapwise.interfaces.cli.app import app
from mapwise.interfaces.cli.flags import COMMANDS, add_catalog
from mapwise.interfaces.printing import answer, complain, note
from mapwise.workflows.errors import STOPPED, sentence, shared, told

__all__ = ["about", "app", "diagnostics", "main", "predictors", "runs"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; whatever goes wrong is one line on standard error."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    alone = False
    try:
        code = _run(words)
        line = "stopped" if code == STOPPED else ""
    except TyperException as error:
        near = getattr(error, "possibilities", None)  # of a flag that isn't there, nearest first
        name = getattr(error, "option_name", "")
        text = f"there is no flag {name}: did you mean {near[0]}?" if near else error.format_message()
        code, line = error.exit_code, sentence(Exception(text))
    except BaseException as error:
        failure = told(error)
        if failure is None:
            raise
        line, code = failure
        alone = not shared(error)
    if line:
        complain(line) if alone else note(f"mapwise: {line}")
        if "--json" in words:
            answer({"error": line, "exit": code})
    sys.exit(code)


def _run(words: list[str]) -> int:
    helps = "--help" in words
    if words[0] in COMMANDS and not helps:
        add_catalog()
    code = app(words, prog_name="mapwise", standalone_mode=False, obj=words)
    named = [word for word in words[1:] if not word.startswith("-")]
    if words[0] in ("train", "tune") and helps and named:
        about.show_flags(named[:2])
    return code if isinstance(code, int) else 0
