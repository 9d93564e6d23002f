"""The commands that make runs: train, search, check and compare learners."""

import shlex
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.cli.flags import Set, values_of, with_settings
from mapwise.interfaces.printing import answer, show
from mapwise.runs.flags import MOST_THREADS
from mapwise.workflows.allocator import keep_freed_memory
from mapwise.workflows.errors import FAILED, WrongUse

Learner = Annotated[str | None, typer.Argument(help="A learner's name; mapwise list shows all.", show_default=False)]
Source = Annotated[
    str | None, typer.Argument(help="A source's name, a folder of images, or a CSV file.", show_default=False)
]


@app.command(
    "train",
    epilog="Examples: mapwise train protonet glyphs --steps 500; mapwise train maml omniglot --inner-lr 0.4 "
    "--net.norm support; mapwise train protonet photos/ --ways 5-20; mapwise train --resume runs/maml-omniglot. "
    "mapwise train LEARNER --help shows the learner's own flags too, and the training it prefers to these defaults.",
)
@with_settings("train")
def train_command(
    ctx: typer.Context,
    learner: Learner = None,
    source: Source = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. \\[runs/LEARNER-SOURCE]", show_default=False)] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Run to resume, with its own settings.", show_default=False)
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Train under so many seeds, from --seed up, into OUT/seed-N, and evaluate each. The same command goes "
            "on. \\[one seed, not evaluated]",
            show_default=False,
        ),
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(min=2, help="Test episodes of each of the --seeds. \\[1000]", show_default=False)
    ] = None,
    set_: Set = None,
    json: Json = False,
    **settings: Any,
) -> None:
    """Train a learner on the tasks of a source, into a run's folder, or under several seeds."""
    values = values_of(settings, set_)
    if episodes is not None and seeds is None:
        raise WrongUse("--episodes are those that judge each of the --seeds: give --seeds 3, or leave --episodes out")
    if resume is not None:
        given = {"learner": learner, "source": source, **values, "out": out, "seeds": seeds}
        _alone(given, "run")
    elif learner is None or source is None:
        raise WrongUse("a learner and a source are needed: mapwise train LEARNER SOURCE (mapwise list shows them)")

    from mapwise.interfaces.progress import Terminal
    from mapwise.interfaces.shown import trained
    from mapwise.workflows import seeds as several
    from mapwise.workflows import train as training

    keep_freed_memory()
    began = time.perf_counter()
    if seeds is not None or (resume is not None and several.holds_seeds(resume)):
        if resume is not None:
            done_all = several.resume_seeds(resume, Terminal())
        else:
            count, request = seeds or 0, partial(training.settings_of, learner or "", source or "", values)
            judged = episodes or several.EPISODES
            line = command_line(ctx)
            done_all = several.begin_seeds(request, count, out, line, episodes=judged, display=Terminal())
        _show_seeds(*done_all, json)
        return
    if learner is None or source is None:
        assert resume is not None
        done = training.resume_run(resume, Terminal())
    else:
        name, tasks = learner, source
        done = training.begin_run(lambda: training.settings_of(name, tasks, values), out, command_line(ctx), Terminal())
    summary = training.training_summary(*done, time.perf_counter() - began)
    answer(summary) if json else show(trained(summary, done[1].problem))


@app.command(
    "tune",
    epilog="Examples: mapwise tune maml glyphs --search inner_lr=0.01..1:log --search inner_steps=1..5; "
    "mapwise tune protonet photos/ --search optimizer.lr=1e-4..1e-2:log --search net.norm=frozen,group --trials 30; "
    "mapwise tune --resume runs/tune-maml-glyphs. Other settings are fixed as for mapwise train.",
)
@with_settings("tune")
def tune_command(
    ctx: typer.Context,
    learner: Learner = None,
    source: Source = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RANGE",
            help="Setting to search: 1..5, 0.01..1:log, 4..32:4 or a,b,c; may be repeated. \\[the learner's rates]",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials in all. \\[20, or as many as the minutes allow]", show_default=False),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Time after which no trial begins.", show_default=False)
    ] = None,
    prune: Annotated[bool, typer.Option(help="Stop a trial that is worse than the median at the same step.")] = True,
    out: Annotated[
        Path | None, typer.Option(help="Search folder. \\[runs/tune-LEARNER-SOURCE]", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Search to resume, with its own settings.", show_default=False)
    ] = None,
    set_: Set = None,
    json: Json = False,
    **settings: Any,
) -> None:
    """Search a learner's settings for the best validation; every trial is a run of its own."""
    values = values_of(settings, set_)
    if resume is not None:
        given = {"learner": learner, "source": source, **values, "out": out, "search": search}
        _alone({**given, "no-prune": None if prune else True}, "search")
    elif learner is None or source is None:
        raise WrongUse("a learner and a source are needed: mapwise tune LEARNER SOURCE (mapwise list shows them)")

    from mapwise.interfaces.progress import Terminal
    from mapwise.interfaces.shown import searched
    from mapwise.workflows.train import settings_of
    from mapwise.workflows.tuning import tune as tuning

    keep_freed_memory()
    display = Terminal(remarks=not json)
    if learner is None or source is None:
        assert resume is not None
        folder, result = tuning.resume_search(resume, trials=trials, minutes=minutes, display=display)
    else:
        request = tuning.asked_search(
            settings_of(learner, source, values),
            search or [],
            list(values),
            trials=trials,
            minutes=minutes,
            prune=prune,
            command=command_line(ctx),
        )
        folder, result = tuning.begin_search(request, out, display)
    answer(tuning.search_json(folder, result)) if json else show(*searched(folder, result))
    if result.best is None:
        raise typer.Exit(FAILED)


@app.command("check", epilog="Examples: mapwise check protonet; mapwise check my_module:MyLearner sinusoid")
@with_settings("check")
def check_command(
    learner: Annotated[str, typer.Argument(help="A learner's name, or MODULE:NAME.", show_default=False)],
    source: Annotated[str, typer.Argument(help="The tasks to test it on.")] = "glyphs",
    set_: Set = None,
    json: Json = False,
    **settings: Any,
) -> None:
    """Test a learner against the laws: gradients, order of rows, padding, repeatability and others."""
    from mapwise.workflows.train import check_learner

    verdicts = check_learner(learner, source, values_of(settings, set_))
    if json:
        answer({"learner": learner, "source": source, "laws": [verdict.to_json() for verdict in verdicts]})
    else:
        show(str(verdicts), "no law is broken" if not verdicts.broken else f"{len(verdicts.broken)} broken")
    if verdicts.broken:
        raise typer.Exit(FAILED)


@app.command(
    "bench",
    epilog="Examples: mapwise bench glyphs; mapwise bench glyphs --only maml,protonet. "
    "Several commands may share a folder; each row is made by one of them.",
)
def bench_command(
    source: Annotated[str, typer.Argument(help="Comparison to make; glyphs is the only one.")] = "glyphs",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="LEARNER", help="Learners to compare; several with commas. \\[all]", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Comparison folder. \\[runs/bench-glyphs]", show_default=False)
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(min=2, help="Test episodes of a row. \\[1000]", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=MOST_THREADS, help="CPU threads.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Smoke test of seconds; its numbers measure nothing.")] = False,
    json: Json = False,
) -> None:
    """Tune, train and evaluate every learner under one protocol and budget, and show them in one table.

    Finished rows are kept, so the same command resumes a comparison.
    """
    from mapwise.interfaces.progress import Terminal
    from mapwise.interfaces.shown import compared
    from mapwise.workflows.comparison import bench as benching

    keep_freed_memory()
    protocol = benching.asked_bench(source, episodes=episodes, quick=quick)
    learners = benching.asked_learners([name.strip() for text in only or () for name in text.split(",")])
    result, contenders = benching.run_bench(protocol, learners, out, threads, Terminal())
    answer(result) if json else show(*compared(protocol, result, contenders))
    if result["failed"]:
        raise typer.Exit(FAILED)


def _show_seeds(folder: Path, over: Any, json: bool) -> None:
    from mapwise.report.table import seeds_table
    from mapwise.workflows.seeds import seeds_json

    if json:
        answer(seeds_json(folder, over))
    else:
        show(
            seeds_table(over, title=str(folder)),
            f"next: mapwise compare {folder} OTHER, where OTHER is another learner's folder of --seeds",
        )


def _alone(given: dict[str, Any], what: str) -> None:
    """Raises WrongUse for anything beside --resume."""
    for name, value in given.items():
        if value is not None and value != []:
            flag = name.replace("_", "-")
            raise WrongUse(f"--resume goes on with the {what}'s own settings: leave {flag} out")


def command_line(ctx: typer.Context, **defaults: int) -> str:
    """The command line as one would type it again, with these options written out."""
    words = ["mapwise", *(word for word in ctx.obj or [] if word != "--json")]
    for name, value in defaults.items():
        if f"--{name}" not in words:
            words += [f"--{name}", str(value)]
    return shlex.join(words)
