"""The commands that judge runs: evaluate, compare and report."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mapwise.core.seeds import LARGEST_SEED
from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.cli.flags import Set, given_options, values_of, with_settings
from mapwise.interfaces.cli.predictors import Force
from mapwise.interfaces.cli.runs import command_line
from mapwise.interfaces.cli.spans import report_finder
from mapwise.interfaces.printing import answer, show
from mapwise.workflows.allocator import keep_freed_memory
from mapwise.workflows.errors import WrongUse


class Split(StrEnum):
    """Whose classes judge."""

    test = "test"
    val = "val"
    train = "train"
    all = "all"


Run = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that mapwise train wrote.", show_default=False)]
Episodes = Annotated[int, typer.Option(min=2, help="Episodes to evaluate on.")]
Beside = Annotated[
    list[Path] | None,
    typer.Option(metavar="RUN", help="Another run on the same episodes; may be repeated.", show_default=False),
]
JudgingSeed = Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed for episodes.")]
SplitOption = Annotated[Split, typer.Option(help="Classes to evaluate on: a split, or all of other data.")]


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
        command=command_line(ctx, episodes=episodes, seed=seed),
    )
    if json:
        answer(result)
    else:
        tables = [accuracy_table(reports, title=str(run))] + ([sights_table(reports)] if reports[0].instances else [])
        show(*tables, *([judged] if judged else []))


@app.command(
    "compare",
    epilog="Examples: mapwise compare runs/maml-glyphs runs/protonet-glyphs --ways 5 --shots 1; "
    "mapwise compare runs/seeds-maml-glyphs runs/seeds-protonet-glyphs",
)
@with_settings("compare", judges=True)
def compare_command(
    ctx: typer.Context,
    run: Run,
    other: Annotated[Path, typer.Argument(metavar="RUN", help="What to subtract.", show_default=False)],
    episodes: Episodes = 1000,
    seed: JudgingSeed = 0,
    split: SplitOption = Split.test,
    json: Json = False,
    **settings: Any,
) -> None:
    """Evaluate two runs, or folders of --seeds, on the same episodes, and show the paired difference with its interval.

    Of one run each the interval is over episodes, which can't show that a learner is better; of several seeds it is
    over seeds.
    """
    from mapwise.report import table
    from mapwise.workflows.evaluate import Judging, compare_runs
    from mapwise.workflows.seeds import compare_seeds, holds_seeds

    keep_freed_memory()
    changes = values_of(settings, None)
    judging = Judging(episodes, split.value, seed, changes)
    command = command_line(ctx, episodes=episodes, seed=seed)
    if holds_seeds(run) or holds_seeds(other):
        result, pair, protocol = compare_seeds(run, other, judging, command=command)
        if json:
            answer({**result, "verdict": table.verdict_over_seeds(pair, result["metric"])})
        else:
            show(table.paired_seeds_table(pair, protocol))
        return
    result, single, report = compare_runs(run, other, judging, command=command)
    if json:
        answer({**result, "verdict": table.verdict(single, report.metric), "note": table.ONE_SEED})
    else:
        show(table.paired_table([single], protocol=report.protocol), table.ONE_SEED)


@app.command(
    "report",
    epilog="Examples: mapwise report runs/protonet-glyphs; mapwise report runs/protonet-glyphs "
    "--beside runs/supervised-glyphs --beside runs/finetune-glyphs; mapwise report signs.safetensors; "
    "mapwise report finder.safetensors letters/*.txt",
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
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...",
            help="For a finder of spans: texts, or files of them as for predict, whose spans the page then shows.",
            show_default=False,
        ),
    ] = None,
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

    inputs = inputs or []
    if is_predictor(file := run.expanduser()):
        for name in given_options(ctx):
            if name not in ("run", "inputs", "out", "force", "json"):
                flag = name.removeprefix("test_").strip("_").replace("__", ".").replace("_", "-")
                raise WrongUse(f"--{flag} is for a run's folder and {run} is a predictor's file: leave --{flag} out")
        page = file.with_suffix(".html") if out is None else out.expanduser()
        about, line = _report_file(file, inputs, page, force)
        answer(about) if json else show(line, about["page"])
        return
    if inputs:
        raise WrongUse(f"texts are for a finder of spans and {run} is a run's folder: leave {inputs[0]!r} out")
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
    command = command_line(ctx, episodes=episodes, seed=seed).replace("mapwise report", "mapwise eval", 1)
    reports = [judged.judge(episodes, command=command, calibrate=True)]
    reports += evaluate.beside(run, judged, judging, beside or (), baselines=True, command=command)
    path = write_report(run, judged, reports, episodes=curve_episodes)
    if json:
        answer({"run": str(run), "page": str(path), **reports[0].to_json()})
    else:
        show(run_summary(reports), str(path))


def _report_file(file: Path, inputs: Sequence[str], path: Path, force: bool) -> tuple[dict[str, Any], str]:
    """Write a page about a predictor's file: its numbers, JSON-ready, and in a line."""
    from mapwise.data.files import write_atomically
    from mapwise.predictors.kind import kind_of
    from mapwise.problems.spans import Spans
    from mapwise.report.html import is_page
    from mapwise.workflows.writing import check_new

    if path.suffix != ".html" or path.is_dir():
        fault = "is a folder" if path.is_dir() else "ends otherwise"
        raise ValueError(f"the page is an HTML file and {path} {fault}: give a name such as {file.stem}.html")
    check_new(path, force=force or is_page(path))
    finder = kind_of(file) == Spans.name
    if inputs and not finder:
        raise WrongUse(f"texts are for a finder of spans and {file} holds none: leave {inputs[0]!r} out")
    page, about, line = report_finder(file, inputs) if finder else _report_predictor(file)
    write_atomically(path, lambda opened: opened.write(page.encode()))
    return {"file": str(file), "page": str(path), "bytes": file.stat().st_size, **about}, line


def _report_predictor(file: Path) -> tuple[str, dict[str, Any], str]:
    """The page about a predictor of classes, its numbers, JSON-ready, and in a line."""
    from mapwise.predictors.classes import Predictor
    from mapwise.workflows.predictor_report import report_predictor

    result = report_predictor(Predictor.load(file), str(file), file.stat().st_size)
    return result.page, result.to_json(), "\n  ".join([result.summary, *result.advice[1:]])
