"""The command mapwise. Everything heavy is imported by the command that needs it: help comes at once."""

import inspect
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from mapwise.interfaces.errors import FAILED, STOPPED, WrongUse, sentence, shared, told
from mapwise.interfaces.flags import booleans, rewritten
from mapwise.interfaces.printing import answer, complain, note, show

app = typer.Typer(
    name="mapwise",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Meta-learning: train a learner on many small tasks, then give it a few examples of a new one.",
    epilog="Begin with: mapwise demo. Exit codes: 0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C.",
)


class Part(StrEnum):
    """What to train on."""

    train = "train"
    trainval = "trainval"


class Select(StrEnum):
    """Which params a training leaves."""

    best = "best"
    last = "last"


class Precision(StrEnum):
    """What nets compute in while they train."""

    full = "full"
    bfloat16 = "bfloat16"


class Split(StrEnum):
    """Whose classes judge."""

    test = "test"
    val = "val"
    train = "train"


PredictorFile = Annotated[Path, typer.Argument(help="A file that mapwise fit wrote.", show_default=False)]
Inputs = Annotated[
    list[str], typer.Argument(help="Pictures, folders of them, texts, .txt or .csv files.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that mapwise train wrote.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A field of the learner, net.NAME or source.NAME; --inner-lr 0.4 says the same.",
    ),
]
Episodes = Annotated[int, typer.Option(min=2, help="Episodes to judge on.")]
Ways = Annotated[str | None, typer.Option(help="Classes of a task, as in training if not given.", show_default=False)]
Shots = Annotated[str | None, typer.Option(help="Examples of each class.", show_default=False)]
Queries = Annotated[int | None, typer.Option(min=1, help="Query rows of each class.", show_default=False)]
Beside = Annotated[
    list[Path] | None,
    typer.Option(metavar="RUN", help="Another run on the same episodes; may be repeated.", show_default=False),
]
EvalSeed = Annotated[int, typer.Option("--seed", min=0, help="Of the episodes.")]
Data = Annotated[str | None, typer.Option(help="Data root, folder of images, or CSV file.", show_default=False)]
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda.", show_default=False)]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        from mapwise import __version__

        show(f"mapwise {__version__}")
        raise typer.Exit


@app.command(epilog="Example: mapwise demo")
def demo(json: Json = False) -> None:
    """Train on drawn letters for a minute, judge on alphabets never seen, and write a report."""
    from mapwise.interfaces.demo import run_demo

    found, shown = run_demo(quiet=json)
    answer(found) if json else show(*shown)
    if not found["passed"]:
        raise typer.Exit(FAILED)


@app.command("list", epilog="Examples: mapwise list; mapwise list maml")
def list_(
    learner: Annotated[str | None, typer.Argument(help="Show one learner's flags.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Show the learners, nets and sources, or all flags of one learner."""
    from mapwise.interfaces import listing

    found = listing.everything() if learner is None else listing.one(learner)
    if json:
        answer(found)
    elif learner is None:
        listing.show_everything(found)
    else:
        listing.show_one(found)


@app.command(
    epilog="Examples: mapwise train protonet glyphs --steps 500; mapwise train maml omniglot --inner-lr 0.4 "
    "--net.norm support; mapwise train protonet photos/ --ways 5-20; mapwise train --resume runs/maml-omniglot. "
    "mapwise train LEARNER --help shows the learner's own flags too, and the training it prefers to these defaults."
)
def train(
    ctx: typer.Context,
    learner: Annotated[str | None, typer.Argument(help="See mapwise list.", show_default=False)] = None,
    source: Annotated[
        str | None, typer.Argument(help="A source's name, a folder of images, or a CSV file.", show_default=False)
    ] = None,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder, runs/LEARNER-SOURCE if not given.", show_default=False)
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Meta-updates: 1000.", show_default=False)] = None,
    ways: Annotated[
        str | None, typer.Option(help="Classes of a task: 5, or drawn, such as 5-20.", show_default=False)
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option(
            help="Examples of each class: 1, or drawn, such as 1-10; points of a function: 10.", show_default=False
        ),
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Questions for each class: up to 15.", show_default=False)
    ] = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="Tasks of one step: 16.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights and episodes: 0.", show_default=False)] = None,
    device: Device = None,
    init: Annotated[Path | None, typer.Option(help="A run to take weights from.", show_default=False)] = None,
    resume: Annotated[
        Path | None, typer.Option(help="A run to go on with, by its own settings.", show_default=False)
    ] = None,
    test_source: Annotated[
        str | None, typer.Option(help="Another source to validate and test on.", show_default=False)
    ] = None,
    test_ways: Annotated[str | None, typer.Option(help="As in training.", show_default=False)] = None,
    test_shots: Annotated[str | None, typer.Option(help="As in training.", show_default=False)] = None,
    test_queries: Annotated[int | None, typer.Option(min=1, help="As in training.", show_default=False)] = None,
    part: Annotated[
        Part | None, typer.Option(help="trainval only for a last run, its settings chosen before.", show_default=False)
    ] = None,
    label: Annotated[str | None, typer.Option(help="The class column of a CSV file.", show_default=False)] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out files that are no images.")] = False,
    augment: Annotated[
        list[str] | None, typer.Option(help="shift, flip, crop, colour; several with commas.", show_default=False)
    ] = None,
    net: Annotated[str | None, typer.Option(help="mlp, conv4 or resnet12.", show_default=False)] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="A torch.optim name and options: 'Adam lr=0.001'.", show_default=False)
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="none, cosine, linear, or a torch schedule and options: 'StepLR step_size=2000'.",
            show_default=False,
        ),
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(min=0, help="First steps, over which the rate rises: 0.", show_default=False)
    ] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the meta-gradient.", show_default=False)] = None,
    aggregate: Annotated[
        str | None, typer.Option(help="How tasks are weighed: mean, max, inverse or pyramid.", show_default=False)
    ] = None,
    validate_every: Annotated[
        int | None, typer.Option(min=1, help="Steps; ten validations if not given.", show_default=False)
    ] = None,
    validation_episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes of a validation: 200.", show_default=False)
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many validations without a better.", show_default=False)
    ] = None,
    select: Annotated[Select | None, typer.Option(help="The params to keep: best.", show_default=False)] = None,
    how: Annotated[
        str | None, typer.Option(help="How tasks are mapped: auto, vmap, loop or a number.", show_default=False)
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Make one program of the meta-gradient; pays for small nets.")
    ] = False,
    remat: Annotated[
        bool, typer.Option("--remat", help="Take inner steps again instead of keeping them: less memory.")
    ] = False,
    precision: Annotated[
        Precision | None, typer.Option(help="bfloat16 lets nets train in 16 bits: full.", show_default=False)
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="Also to tensorboard, wandb or mlflow; several with commas.", show_default=False),
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Train a learner on the tasks of a source, into a run's folder."""
    given = _given(ctx)
    if resume is not None:
        extra = [*given, *(["out"] if out is not None else []), *(set_ or [])]
        if extra:
            raise WrongUse(f"--resume goes on with the run's own settings: leave {extra[0].replace('_', '-')} out")
    elif learner is None or source is None:
        raise WrongUse("a learner and a source are needed: mapwise train LEARNER SOURCE (mapwise list shows them)")

    from mapwise.interfaces import train as training
    from mapwise.interfaces.flags import clashes

    options = _options("train")
    for clash in clashes(options):
        raise ValueError(clash)
    if resume is not None:
        found, said = training.run_training(lambda: training.go_on(resume))
    else:
        found, said = training.run_training(
            lambda: training.begin(lambda: training.asked_settings(given, set_ or []), out, _command(ctx))
        )
    answer(found) if json else show(said)


def _and_of_train(command: Callable[..., None]) -> Callable[..., None]:
    """The command with train's flags too, in their order; those that it has itself stay its own."""
    own = inspect.signature(command).parameters
    first = [part for part in own.values() if part.default is part.empty and part.kind is part.POSITIONAL_OR_KEYWORD]
    of_train = [part for name, part in inspect.signature(train).parameters.items() if name not in own]
    rest = [part for part in own.values() if part.default is not part.empty]
    arguments = [part for part in of_train if part.name in ("learner", "source")]
    flags = [part for part in of_train if part.name not in ("learner", "source")]
    setattr(command, "__signature__", inspect.Signature([*first, *arguments, *rest, *flags]))  # noqa: B010
    return command


@app.command(
    epilog="Examples: mapwise tune maml glyphs --search inner_lr=0.01..1:log --search inner_steps=1..5; "
    "mapwise tune protonet photos/ --search optimizer.lr=1e-4..1e-2:log --search net.norm=frozen,group --trials 30; "
    "mapwise tune --resume runs/tune-maml-glyphs. Other settings are fixed as for mapwise train."
)
@_and_of_train
def tune(
    ctx: typer.Context,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RANGE",
            help="1..5, 0.01..1:log, 4..32:4 or a,b,c; may be repeated. The learner's rates if not given.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="In all: 20, or as many as the minutes allow.", show_default=False)
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="No trial begins later.", show_default=False)] = None,
    prune: Annotated[bool, typer.Option(help="Stop a trial that is worse than the median at the same step.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(help="The search's folder, runs/tune-LEARNER-SOURCE if not given.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the search, and of weights and episodes: 0.", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="A search to go on with, by its own settings.", show_default=False)
    ] = None,
    json: Json = False,
    **as_for_train: Any,
) -> None:
    """Search a learner's settings for the best validation; every trial is a run of its own."""
    given = _given(ctx)
    for name in ("search", "trials", "minutes", "prune"):
        given.pop(name, None)
    assignments: list[str] = list(ctx.params["set_"] or [])
    if resume is not None:
        extra = [*given, *(["out"] if out is not None else []), *(["search"] if search else []), *assignments]
        extra += [] if prune else ["no-prune"]
        if extra:
            raise WrongUse(f"--resume goes on with the search's own settings: leave {extra[0].replace('_', '-')} out")
    elif "learner" not in given or "source" not in given:
        raise WrongUse("a learner and a source are needed: mapwise tune LEARNER SOURCE (mapwise list shows them)")

    from mapwise.interfaces import tune as tuning
    from mapwise.interfaces.flags import clashes

    options = _options("tune")
    for clash in clashes(options):
        raise ValueError(clash)
    if resume is not None:
        folder, found = tuning.go_on(resume, trials=trials, minutes=minutes, quiet=json)
    else:
        from mapwise.interfaces.train import asked_settings

        run = asked_settings(given, assignments)
        fixed = [*(given.keys() - {"learner", "source"}), *(text.partition("=")[0] for text in assignments)]
        settings = tuning.asked_search(
            run, search or [], fixed, trials=trials, minutes=minutes, prune=prune, command=_command(ctx)
        )
        folder, found = tuning.begin(settings, out, quiet=json)
    answer(tuning.as_json(folder, found)) if json else show(*tuning.shown(folder, found))
    if found.best is None:
        raise typer.Exit(FAILED)


@app.command(
    "eval",
    epilog="Examples: mapwise eval runs/protonet-glyphs; mapwise eval runs/maml-omniglot --episodes 1000 --seed 0 "
    "--inner-steps 10 --json; mapwise eval runs/protonet-omniglot --net.norm batch",
)
def eval_(
    ctx: typer.Context,
    run: Run,
    episodes: Episodes = 1000,
    ways: Ways = None,
    shots: Shots = None,
    queries: Queries = None,
    seed: EvalSeed = 0,
    split: Annotated[Split, typer.Option(help="test, val or train.")] = Split.test,
    data: Data = None,
    device: Device = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads, as in training.", show_default=False)] = None,
    baselines: Annotated[bool, typer.Option(help="Show what needs no training beside it.")] = True,
    beside: Beside = None,
    shuffle_labels: Annotated[bool, typer.Option("--shuffle-labels", help="A check: must give chance.")] = False,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Judge a run on tasks it has not seen; the same command gives the same number again."""
    from mapwise.interfaces.evaluate import Asked, eval_run

    asked = Asked(
        run,
        episodes,
        split,
        seed,
        _judged_by(ways, shots, queries, data, device, threads),
        tuple(set_ or ()),
        shuffle_labels,
        tuple(beside or ()),
    )
    found, reports = eval_run(asked, baselines=baselines, command=_command(ctx, episodes=episodes, seed=seed))
    if json:
        answer(found)
    else:
        from mapwise.report.table import accuracy_table, sights_table

        show(accuracy_table(reports, title=str(run)))
        if reports[0].sights:
            show(sights_table(reports))


@app.command(epilog="Example: mapwise compare runs/maml-glyphs runs/protonet-glyphs --ways 5 --shots 1")
def compare(
    ctx: typer.Context,
    run: Run,
    other: Annotated[Path, typer.Argument(metavar="RUN", help="The run to subtract.", show_default=False)],
    episodes: Episodes = 1000,
    ways: Ways = None,
    shots: Shots = None,
    queries: Queries = None,
    seed: EvalSeed = 0,
    split: Annotated[Split, typer.Option(help="test, val or train.")] = Split.test,
    data: Data = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Judge two runs on the same episodes and show the paired difference with its interval."""
    from mapwise.interfaces.evaluate import Asked, compare_runs
    from mapwise.report.table import paired_table, verdict

    settings = _judged_by(ways, shots, queries, data, device, None)
    first, second = (Asked(folder, episodes, split, seed, settings) for folder in (run, other))
    found, pair, report = compare_runs(first, second, _command(ctx, episodes=episodes, seed=seed))
    if json:
        answer({**found, "verdict": verdict(pair, report.metric)})
    else:
        show(paired_table([pair], protocol=report.protocol))


@app.command(
    epilog="Examples: mapwise report runs/protonet-glyphs; mapwise report runs/protonet-glyphs "
    "--beside runs/supervised-glyphs --beside runs/finetune-glyphs; mapwise report signs.safetensors"
)
def report(
    ctx: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE", help="A folder that mapwise train wrote, or a file of mapwise fit.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The page about a FILE, FILE.html if not given.", show_default=False)
    ] = None,
    episodes: Episodes = 1000,
    ways: Ways = None,
    shots: Shots = None,
    queries: Queries = None,
    seed: EvalSeed = 0,
    curve_episodes: Annotated[int, typer.Option(min=2, help="Episodes of each point of a curve.")] = 200,
    data: Data = None,
    device: Device = None,
    beside: Beside = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Judge a run and write all there is to show into RUN/report.html, or what a predictor's file has to show.

    Of a FILE only --out and --json are options.
    """
    from mapwise.interfaces.predictor_report import is_predictor

    if is_predictor(file := run.expanduser()):
        for given in _typed(ctx):
            if given not in ("run", "out", "json"):
                flag = given.strip("_").replace("_", "-")
                raise WrongUse(f"--{flag} is for a run's folder and {run} is a predictor's file: leave --{flag} out")
        from mapwise.interfaces.predictor_report import report as reported

        about, lines = reported(file, None if out is None else out.expanduser())
        answer(about) if json else show(*lines)
        return
    if out is not None:
        raise WrongUse(f"--out is for a predictor's file and the page of a run is {run}/report.html: leave --out out")

    from mapwise.interfaces import evaluate as evaluating
    from mapwise.interfaces.report import write_report
    from mapwise.report.page import summary

    settings = _judged_by(ways, shots, queries, data, device, None)
    asked = evaluating.Asked(run, episodes, "test", seed, settings, tuple(set_ or ()), beside=tuple(beside or ()))
    judged = evaluating.opened(asked)
    # The command in the page makes its number again.
    command = _command(ctx, episodes=episodes, seed=seed).replace("mapwise report", "mapwise eval", 1)
    reports = [judged.judge(episodes, command=command, calibrate=True)]
    reports += evaluating.beside(judged, asked, baselines=True, command=command)
    path = write_report(run, judged, reports, episodes=curve_episodes)
    if json:
        answer({"run": str(run), "page": str(path), **reports[0].to_json()})
    else:
        show(summary(reports), str(path))


@app.command(
    epilog="Examples: mapwise bench glyphs; mapwise bench glyphs --only maml,protonet. "
    "Two of them may share a folder: each row is made by one."
)
def bench(
    source: Annotated[str, typer.Argument(help="glyphs, the one comparison there is.")] = "glyphs",
    only: Annotated[
        list[str] | None, typer.Option(metavar="LEARNER", help="These alone; several with commas.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The comparison's folder, runs/bench-glyphs if not given.", show_default=False)
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(min=2, help="Test episodes of a row: 1000.", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test of seconds; its numbers say nothing.")] = False,
    json: Json = False,
) -> None:
    """Compare every learner under one protocol and budget: tune, train, judge, and show them in one table.

    What is there already is not made again, so the command goes on where it was stopped.
    """
    from mapwise.interfaces import bench as benching

    asked = benching.asked_bench(source, episodes=episodes, quick=quick)
    learners = benching.asked_learners([name.strip() for text in only or () for name in text.split(",")])
    found, contenders = benching.run_bench(asked, learners, out, threads)
    answer(found) if json else show(*benching.shown(asked, found, contenders))
    if found["failed"]:
        raise typer.Exit(FAILED)


@app.command(
    epilog="Examples: mapwise fit photos/ -o birds.safetensors; "
    "mapwise fit train.csv --text body --label intent -o intents.safetensors"
)
def fit(
    data: Annotated[
        Path, typer.Argument(help="A folder with one folder of pictures a class, or a CSV file.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The predictor's file, .safetensors.", show_default=False)],
    encoder: Annotated[
        str | None,
        typer.Option(
            help="drawings, ink, pixels, text-hash or table: as the data ask for; or hf:NAME, a pretrained model.",
            show_default=False,
        ),
    ] = None,
    learner: Annotated[
        str,
        typer.Option(
            help="nearest_mean, ridge, logistic, lora, a run's folder, or auto: the best of the names on examples it "
            "didn't see."
        ),
    ] = "auto",
    budget: Annotated[str, typer.Option(help="Time to choose a learner, or to judge lora, such as 30s or 2m.")] = "30s",
    text: Annotated[str | None, typer.Option(help="The column that holds texts.", show_default=False)] = None,
    label: Annotated[str | None, typer.Option(help="The class column of a CSV file.", show_default=False)] = None,
    categories: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A column whose cells are words even where they look like numbers; may be repeated.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Teach a predictor a few examples of each class, and write it into one file."""
    from mapwise.interfaces.answers import fit as taught

    found, shown = taught(
        data.expanduser(),
        out,
        encoder=encoder,
        learner=learner,
        text=text,
        label=label,
        budget=budget,
        categories=categories or (),
    )
    answer(found) if json else show(*shown)


@app.command(
    epilog="Examples: mapwise predict birds.safetensors new/*.jpg; mapwise predict intents.safetensors 'cancel it'; "
    "mapwise predict intents.safetensors new.csv --json"
)
def predict(
    file: PredictorFile,
    inputs: Inputs,
    refuse: Annotated[
        float,
        typer.Option(help="Per cent of pictures, texts or rows of the classes that may be taken for none of them."),
    ] = 5.0,
    csv: Annotated[bool, typer.Option("--csv", help="A CSV table on standard output.")] = False,
    json: Json = False,
) -> None:
    """Say what new pictures, texts or rows are, or that they are none of the classes."""
    from mapwise.interfaces.answers import predict as answered

    found, shown, sheet = answered(file.expanduser(), inputs, refuse / 100)
    if json:
        answer(found)
    else:
        show(*([sheet] if csv else shown))


@app.command(
    epilog="Examples: mapwise explain birds.safetensors new/3.jpg; "
    "mapwise explain birds.safetensors new/ --regions why/; mapwise explain intents.safetensors 'cancel it' --json"
)
def explain(
    file: PredictorFile,
    inputs: Inputs,
    regions: Annotated[
        Path | None,
        typer.Option(help="A folder for pictures, red where the answer came from.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Say why: the examples that voted for the answer, and what it would be without each of them."""
    from mapwise.interfaces.reasons import explain as explained

    found, shown = explained(file.expanduser(), inputs, regions and regions.expanduser())
    answer(found) if json else show(*shown)


@app.command(
    "which-next",
    epilog="Examples: mapwise which-next birds.safetensors unsorted/; "
    "mapwise which-next intents.safetensors new.csv --n 20 --json",
)
def which_next(
    file: PredictorFile,
    inputs: Inputs,
    n: Annotated[int | None, typer.Option("--n", help="How many: 5.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Say which of these would teach most with a label, and why."""
    from mapwise.interfaces.reasons import which_next as found_next

    found, shown = found_next(file.expanduser(), inputs, n)
    answer(found) if json else show(*shown)


@app.command("add-class", epilog="Example: mapwise add-class birds.safetensors newt photos/newt/")
def add_class(
    file: PredictorFile,
    name: Annotated[str, typer.Argument(help="What the class is called.", show_default=False)],
    data: Annotated[
        Path, typer.Argument(help="A folder of its pictures, or a file with one text a line.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Teach a predictor's file one more class, without the examples it has seen."""
    from mapwise.interfaces.answers import add_class as wider

    found, shown = wider(file.expanduser(), name, data.expanduser())
    answer(found) if json else show(*shown)


@app.command(epilog="Example: mapwise export birds.safetensors --onnx -o birds.onnx")
def export(
    file: PredictorFile,
    onnx: Annotated[bool, typer.Option("--onnx", help="As an ONNX file, the one form there is.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file, FILE.onnx if not given.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Write a predictor's learner for other machines, where classes are added and asked for without Python.

    Examples go in beside the queries, and are not in the file.
    """
    if not onnx:
        raise WrongUse("a form is needed: mapwise export FILE --onnx")
    from mapwise.interfaces.answers import export as exported

    found, shown = exported(file.expanduser(), None if out is None else out.expanduser())
    answer(found) if json else show(*shown)


@app.command(epilog="Example: mapwise doctor")
def doctor(json: Json = False) -> None:
    """Look for what is broken in this installation, and say how to repair it."""
    from mapwise.interfaces.doctor import examine, show_checks

    checks = examine()
    healthy = all(check.well for check in checks)
    if json:
        answer({"healthy": healthy, "checks": [check.to_json() for check in checks]})
    else:
        show_checks(checks)
    if not healthy:
        raise typer.Exit(FAILED)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; whatever goes wrong is one line on standard error."""
    words = list(sys.argv[1:] if argv is None else argv)
    alone = False
    try:
        code = _run(words)
        line = "stopped" if code == STOPPED else ""
    except TyperException as error:
        code, line = error.exit_code, sentence(Exception(error.format_message()))
    except BaseException as error:
        found = told(error)
        if found is None:
            raise
        line, code = found
        alone = not shared(error)
    if line:
        complain(line) if alone else note(f"mapwise: {line}")
        if "--json" in words:
            answer({"error": line, "exit": code})
    sys.exit(code)


def _run(words: list[str]) -> int:
    words = words or ["--help"]
    read, asks_help = words, "--help" in words
    if words[0] in _commands() and not asks_help:
        known = _options(words[0])
        if "--set" in known:
            read = [words[0], *rewritten(words[1:], known, booleans)]
    code = app(read, prog_name="mapwise", standalone_mode=False, obj=words)
    if words[0] in ("train", "tune") and asks_help and len(words) > 2:
        from mapwise.interfaces import listing

        asked = [word for word in words[1:] if not word.startswith("-")][:2]
        for word in asked[:1]:
            listing.show_one(listing.one(word))
        for word in asked[1:]:
            listing.show_source(word)
    return code if isinstance(code, int) else 0


def _command(ctx: typer.Context, **defaults: int) -> str:
    """The command line as one would type it again, with these options written out."""
    import shlex

    words = ["mapwise", *(word for word in ctx.obj or [] if word != "--json")]
    for name, value in defaults.items():
        if f"--{name}" not in words:
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def _given(ctx: typer.Context) -> dict[str, Any]:
    """The settings of a run that the command line names, by the names of RunSettings."""
    # 0 is a value that was given; False and () are what an option holds that was not.
    given = {n: v for n, v in ctx.params.items() if v is not None and v is not False and v not in ([], ())}
    for name in ("json", "resume", "set_", "out"):
        given.pop(name, None)
    for name in ("augment", "track"):
        if name in given:
            given[name] = [word for text in given[name] for word in text.split(",")]
    for name in ("data", "init"):
        if name in given:
            # A run is read from any folder.
            given[name] = str(Path(given[name]).expanduser().resolve())
    return given


def _typed(ctx: typer.Context) -> list[str]:
    """The parameters that the command line gives a value."""
    return [name for name in ctx.params if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"]


def _judged_by(
    ways: str | None,
    shots: str | None,
    queries: int | None,
    data: str | None,
    device: str | None,
    threads: int | None,
) -> dict[str, Any]:
    where = None if data is None else str(Path(data).expanduser().resolve())
    named = {"test_ways": ways, "test_shots": shots, "test_queries": queries, "data": where, "device": device}
    return {**named, "threads": threads}


def _commands() -> dict[str, Any]:
    group: Any = get_command(app)
    found: dict[str, Any] = group.commands
    return found


def _options(command: str) -> dict[str, bool]:
    """The flags of a command, and whether a value follows."""
    found = {"--help": False}
    for option in _commands()[command].params:
        for flag in (*option.opts, *option.secondary_opts):
            if flag.startswith("--"):
                found[flag] = not option.is_flag
    return found
