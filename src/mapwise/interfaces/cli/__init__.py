"""The command line. Everything heavy is imported by the command that needs it: help comes at once."""

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

try:
    from typer.exceptions import TyperException
except ImportError:  # of an older typer, which stands on click
    from click import ClickException as TyperException  # type: ignore[assignment]

from mapwise.interfaces.cli import about, averaging, changes, diagnostics, judging, predictors, runs, serving
from mapwise.interfaces.cli.app import TRACEBACK, app
from mapwise.interfaces.cli.flags import COMMANDS, add_catalog
from mapwise.interfaces.cli.imports import code_names, import_modules
from mapwise.interfaces.printing import Unprinted, answer, complain, note, open_streams
from mapwise.workflows.errors import FAILED, STOPPED, WrongUse, fault, line_and_code, sentence, shared

__all__ = ["about", "app", "averaging", "changes", "diagnostics", "judging", "main", "predictors", "runs", "serving"]

_TEXTS = ("inputs", "data")
"""Arguments that may be texts."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; whatever goes wrong is one line on standard error."""
    # Read when torch loads. Threads that spin while they wait take a busy machine's cores from those that work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    open_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    shows = TRACEBACK in words[:end]
    words = [word for word in words[:end] if word != TRACEBACK] + words[end:]
    code, line, error = _outcome(words or ["--help"])
    if error is not None and shows:
        note("".join(traceback.format_exception(error)).rstrip())
    if line:
        note(f"mapwise: {line}") if error is None or shared(error) else complain(line)
        if "--json" in words and not isinstance(error, Unprinted):
            with suppress(Unprinted):
                answer({"error": line, "exit": code})
                sys.stdout.flush()
    sys.exit(code)


def _outcome(words: list[str]) -> tuple[int, str, BaseException | None]:
    """The exit code of a command line, the line to show, and the error it ended in."""
    try:
        code = _run(words)
        sys.stdout.flush()
        return code, "stopped" if code == STOPPED else "", None
    except Unprinted as error:
        reason = error.__cause__
        assert isinstance(reason, OSError)
        # Whoever closed a pipe has read enough, and needs no sentence.
        line = f"the answer can't be printed ({reason.strerror}): send it elsewhere; files that were written are whole"
        return FAILED, "" if isinstance(reason, BrokenPipeError) else line, error
    except TyperException as error:
        text = _no_flag(error, words) or error.format_message()
        return error.exit_code, sentence(Exception(text)), WrongUse(text)
    except SystemExit:
        raise
    except BaseException as error:
        line, code = line_and_code(error, words[0]) or fault(error)
        return code, line, error


def _no_flag(error: Any, words: Sequence[str]) -> str:
    """What is said of a flag that isn't there; "" for another mistake."""
    name, near = getattr(error, "option_name", ""), getattr(error, "possibilities", None)  # nearest first
    if not name:
        return ""
    word = next((word for word in words if word.startswith(name)), name)
    takes_texts = error.ctx is not None and any(part.name in _TEXTS for part in error.ctx.command.params)
    if takes_texts and (not word.startswith("--") or " " in word):
        return f"there is no flag {name}: before a text that begins with a dash put --, as in -- {shlex.quote(word)}"
    return f"there is no flag {name}: did you mean {near[0]}?" if near else ""


def _run(words: list[str]) -> int:
    helps = "--help" in words
    words = import_modules(words)
    if words[0] in COMMANDS and not helps:
        add_catalog(code_names(words))
    code = app(words or ["--help"], prog_name="mapwise", standalone_mode=False, obj=words)
    named = [word for word in words[1:] if not word.startswith("-")]
    if words[0] in ("train", "tune") and helps and named:
        about.show_flags(named[:2])
    return code if isinstance(code, int) else 0
