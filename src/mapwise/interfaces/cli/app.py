"""The command mapwise, to which the files beside this one add their commands."""

from typing import Annotated

import typer

from mapwise.interfaces.printing import show

app = typer.Typer(
    name="mapwise",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Meta-learning: train a learner on many small tasks, then give it a few examples of a new one.",
    epilog="Begin with: mapwise demo. Exit codes: 0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C.",
)

TRACEBACK = "--traceback"
"""Taken from the words of a command line before they are read, since it may stand anywhere."""
IMPORT = "--import"
"""Likewise, since the catalog must hold what it imports."""
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    traceback: Annotated[
        bool, typer.Option(TRACEBACK, help="Also show where an error arose, for a report; after a command too.")
    ] = False,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            IMPORT,
            metavar="MODULE",
            help="Import a module of your own; what it defines is then MODULE:NAME. After a command too.",
            show_default=False,
        ),
    ] = None,
) -> None:
    if version:
        from mapwise import __version__

        show(f"mapwise {__version__}")
        raise typer.Exit
