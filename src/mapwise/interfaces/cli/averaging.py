"""The command that makes one run of several."""

from pathlib import Path
from typing import Annotated

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.cli.runs import command_line
from mapwise.interfaces.printing import answer, show
from mapwise.workflows.allocator import keep_freed_memory
from mapwise.workflows.errors import WrongUse


@app.command(
    "average",
    epilog="Examples: mapwise average runs/seeds-protonet-omniglot --predictions; "
    "mapwise average runs/tuned-1 runs/tuned-2 runs/tuned-3 --weights --greedy --out runs/soup",
)
def average_command(
    ctx: typer.Context,
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Finished runs, or a folder of --seeds.", show_default=False),
    ],
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Average what the runs predict; they may be of different learners.")
    ] = False,
    weights: Annotated[
        bool,
        typer.Option("--weights", help="Average their weights, unless the loss rises on the line between two of them."),
    ] = False,
    greedy: Annotated[
        bool,
        typer.Option("--greedy", help="Of the weights, only those with which validation gets no worse."),
    ] = False,
    barrier: Annotated[
        float | None,
        typer.Option(
            min=0, help="Largest rise of the loss at which weights are averaged. \\[0.02]", show_default=False
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Validation episodes.")] = 200,
    out: Annotated[
        Path | None, typer.Option(help="Run folder. \\[runs/average-LEARNER-SOURCE]", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Make one run of several trained ones: of their predictions, or of their weights."""
    if predictions == weights:
        raise WrongUse("what is averaged must be one of two: give either --predictions or --weights")
    for flag, given in (("--greedy", greedy), ("--barrier", barrier is not None)):
        if given and predictions:
            raise WrongUse(f"{flag} is for --weights: leave it out")

    from mapwise.interfaces.progress import Terminal
    from mapwise.interfaces.shown import averaged
    from mapwise.runs.settings import RunSettings
    from mapwise.workflows.average import ALLOWED, Averaging, average_runs

    keep_freed_memory()
    request = Averaging(
        "predictions" if predictions else "weights", greedy, episodes, ALLOWED if barrier is None else barrier
    )
    folder, result = average_runs(runs, request, out, command_line(ctx), Terminal(remarks=not json))
    answer(result) if json else show(averaged(result, RunSettings.read(folder).problem))
