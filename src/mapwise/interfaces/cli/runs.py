"""The commands on runs: train, search, judge, compare and report."""

import shlex
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mapwise.core.seeds import LARGEST_SEED
from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.cli.flags import Set, values_of, with_settings
from mapwise.interfaces.cli.predictors import Force
from mapwise.interfaces.printing import answer, show
from mapwise.runs.flags import MOST_THREADS
from mapwise.workflows.allocator import keep_freed_memory
from mapwise.workflows.errors import FAILED, WrongUse


class Split(StrEnum):
    """Whose classes judge."""

    test = "test"
    val = "val"
    train = "train"
    all = "all"


Run = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that mapwise train wrote.", show_default=False)]
Learner = Annotated[str | None, typer.Argument(help="A learner's name; mapwise list shows all.", show_default=False)]
Source = Annotated[
    str | None, typer.Argument(help="A source's name, a folder of images, or a CSV file.", show_default=False)
]
Episodes = Annotated[int, typer.Option(min=2, help="Episodes to evaluate on.")]
Beside = Annotated[
    list[Path] | None,
    typer.Option(metavar="RUN", help="Another run on the same episodes; may be repeated.", show_default=False),
]
JudgingSeed = Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed for episodes.")]
SplitOption = Annotated[Split, typer.Option(help="Classes to evaluate on: a split, or all of other data.")]


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
    set_: Set = None,
    json: Json = False,
    **settings: Any,
) -> None:
    """Train a learner on the tasks of a source, into a run's folder."""
    values = values_of(settings, set_)
    if resume is not None:
        _alone({"learner": learner, "source": source, **values, "out": out}, "run")
    elif learner is None or source is None:
        raise WrongUse("a learner and a source are needed: mapwise train LEARNER SOURCE (mapwise list shows them)")

    from mapwise.interfaces.progress import Terminal
    from mapwise.interfaces.shown import trained
    from mapwise.workflows import train as training

    keep_freed_memory()
    began = time.perf_counter()
    if learner is None or source is None:
        assert resume is not None
        done = training.resume_run(resume, Terminal())
    else:
        name, tasks = learner, source
        done = training.begin_run(lambda: training.settings_of(name, tasks, values), out, _command(ctx), Terminal())
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
            command=_command(ctx),
        )
        folder, result = tuning.begin_search(request, out, display)
    answer(tuning.search_json(folder, result)) if json else show(*searched(folder, result))
    if result.best is None:
        raise typer.Exit(FAILED)


@app.command(
    "eval",
    epilog="Examples: mapwise eval runs/protonet-glyphs; mapwise eval runs/maml-omniglot --episodes 1000 --seed 0 "
    "--inner-steps 10 --json; mapwise eval runs/protonet-omniglot --net.norm batch; mapwise eval runs/protonet-photos "
    "--data other/ --split all",
)
@with_settings("eval", judges=True)
def eval_command(
    ctx: typer.Context,
    run: Run,
    episodes: Episodes = 1000,
    seed: JudgingSeed = 0,
    split: SplitOption = Split.test,
    baselines: Annotated[bool, typer.Option(help="Also evaluate baselines that need no training.")] = True,
    beside: Beside = None,
    shuffle_labels: Annotated[
        bool,
        typer.Option("--shuffle-labels", help="Sanity check: shuffle support labels; accuracy must drop to chance."),
    ] = False,
    set_: Set = None,
    json: Json = False,
    **settings: Any,
) -> None:
    """Evaluate a run on unseen tasks; the same command gives the same number again."""
    from mapwise.report.table import accuracy_table, sights_table
    from mapwise.workflows.evaluate import Judging, evaluate_run

    keep_freed_memory()
    changes = values_of(settings, set_)
    result, reports, judged = evaluate_run(
        run,
        Judging(episodes, split.value, seed, changes, shuffle_labels),
        others=beside or (),
        baselines=baselines,
        command=_command(ctx, episodes=episodes, seed=seed),
    )
    if json:
        answer(result)
    else:
        tables = [accuracy_table(reports, title=str(run))] + ([sights_table(reports)] if reports[0].instances else [])
        show(*tables, *([judged] if judged else []))


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


@app.command("compare", epilog="Example: mapwise compare runs/maml-glyphs runs/protonet-glyphs --ways 5 --shots 1")
@with_settings("compare", judges=True)
def compare_command(
    ctx: typer.Context,
    run: Run,
    other: Annotated[Path, typer.Argument(metavar="RUN", help="The run to subtract.", show_default=False)],
    episodes: Episodes = 1000,
    seed: JudgingSeed = 0,
    split: SplitOption = Split.test,
    json: Json = False,
    **settings: Any,
) -> None:
    """Evaluate two runs on the same episodes, and show the paired difference with its interval."""
    from mapwise.report.table import paired_table, verdict
    from mapwise.workflows.evaluate import Judging, compare_runs

    keep_freed_memory()
    changes = values_of(settings, None)
    judging = Judging(episodes, split.value, seed, changes)
    result, pair, report = compare_runs(run, other, judging, command=_command(ctx, episodes=episodes, seed=seed))
    if json:
        answer({**result, "verdict": verdict(pair, report.metric)})
    else:
        show(paired_table([pair], protocol=report.protocol))


@app.command(
    "report",
    epilog="Examples: mapwise report runs/protonet-glyphs; mapwise report runs/protonet-glyphs "
    "--beside runs/supervised-glyphs --beside runs/finetune-glyphs; mapwise report signs.safetensors",
)
@with_settings("report", judges=True)
def report_command(
    ctx: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE", help="A folder that mapwise train wrote, or a file of mapwise fit.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Page to write about a FILE. \\[FILE.html]", show_default=False)
    ] = None,
    episodes: Episodes = 1000,
    seed: JudgingSeed = 0,
    curve_episodes: Annotated[int, typer.Option(min=2, help="Episodes of each point of a curve.")] = 200,
    beside: Beside = None,
    set_: Set = None,
    force: Force = False,
    json: Json = False,
    **settings: Any,
) -> None:
    """Evaluate a run and write RUN/report.html, or write a page about a predictor's file.

    A FILE takes only --out, --force and --json; its page replaces an earlier one.
    """
    from mapwise.workflows.reading import is_predictor

    if is_predictor(file := run.expanduser()):
        for name in _typed(ctx):
            if name not in ("run", "out", "force", "json"):
                flag = name.removeprefix("test_").strip("_").replace("__", ".").replace("_", "-")
                raise WrongUse(f"--{flag} is for a run's folder and {run} is a predictor's file: leave --{flag} out")
        about, line = _report_file(file, file.with_suffix(".html") if out is None else out.expanduser(), force)
        answer(about) if json else show(line, about["page"])
        return
    for flag, given in (("--out", out is not None), ("--force", force)):
        if given:
            raise WrongUse(
                f"{flag} is for a predictor's file and the page of a run is {run}/report.html: leave {flag} out"
            )

    from mapwise.report.run_page import run_summary
    from mapwise.workflows import evaluate
    from mapwise.workflows.report import write_report

    keep_freed_memory()
    changes = values_of(settings, set_)
    judging = evaluate.Judging(episodes, "test", seed, changes)
    evaluate.use_threads(run, judging)
    judged = evaluate.opened(run, judging)
    # The command in the page makes its number again.
    command = _command(ctx, episodes=episodes, seed=seed).replace("mapwise report", "mapwise eval", 1)
    reports = [judged.judge(episodes, command=command, calibrate=True)]
    reports += evaluate.beside(run, judged, judging, beside or (), baselines=True, command=command)
    path = write_report(run, judged, reports, episodes=curve_episodes)
    if json:
        answer({"run": str(run), "page": str(path), **reports[0].to_json()})
    else:
        show(run_summary(reports), str(path))


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


def _report_file(file: Path, path: Path, force: bool) -> tuple[dict[str, Any], str]:
    """Write a page about a predictor's file: its numbers, JSON-ready, and in a line."""
    from mapwise.data.files import write_atomically
    from mapwise.predictors.classes import Predictor
    from mapwise.report.html import is_page
    from mapwise.workflows.predictor_report import report_predictor
    from mapwise.workflows.writing import check_new

    if path.suffix != ".html" or path.is_dir():
        fault = "is a folder" if path.is_dir() else "ends otherwise"
        raise ValueError(f"the page is an HTML file and {path} {fault}: give a name such as {file.stem}.html")
    check_new(path, force=force or is_page(path))
    predictor, size = Predictor.load(file), file.stat().st_size
    result = report_predictor(predictor, str(file), size)
    write_atomically(path, lambda opened: opened.write(result.page.encode()))
    return {"file": str(file), "page": str(path), "bytes": size, **result.to_json()}, "\n  ".join(
        [result.summary, *result.advice[1:]]
    )


def _alone(given: dict[str, Any], what: str) -> None:
    """Raises WrongUse for anything beside --resume."""
    for name, value in given.items():
        if value is not None and value != []:
            flag = name.replace("_", "-")
            raise WrongUse(f"--resume goes on with the {what}'s own settings: leave {flag} out")


def _command(ctx: typer.Context, **defaults: int) -> str:
    """The command line as one would type it again, with these options written out."""
    words = ["mapwise", *(word for word in ctx.obj or [] if word != "--json")]
    for name, value in defaults.items():
        if f"--{name}" not in words:
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def _typed(ctx: typer.Context) -> list[str]:
    """The parameters that the command line gives a value."""
    return [name for name in ctx.params if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"]
