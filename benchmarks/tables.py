"""Writes measured numbers into the pages: README, benchmarks and docs/learners.

    python -m benchmarks.tables            rewrite every block from benchmarks/results/*.json
    python -m benchmarks.tables --check    change nothing, and exit 1 when a block is not current

A block stands between `<!-- numbers:NAME -->` and `<!-- /numbers -->`. NAME is "families" (the best row of each family
of learners), "peers" (MAML's gradient beside other libraries'), "summary" (one table of all learners), "all" (every
evaluation with its commands), "speed" (every benchmark of time and memory), the row of another benchmark, a comparison
of `mapwise bench`, or the name of a learner's page. One result file is one row: what was run, what came out, and on
which machine. What came out is what `mapwise eval RUN --json` printed, what benchmarks/row.py wrote, or what
`mapwise bench` did, whose rows lie in a folder of the comparison's name. Nobody types a number into a
page.
"""

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_rows import RESULTS, ROOT, Row, figure, read_rows
from mapwise.catalog.learners import LEARNERS
from mapwise.core.estimate import Estimate
from mapwise.engine.results import Contender, Paired
from mapwise.report.comparison import comparison_markdown, markdown, notes
from mapwise.report.plots import against_time, standalone
from mapwise.report.table import difference, normalisation, percent, share
from mapwise.workflows.comparison.bench import AGAINST, BENCHES, FIGURE

NOTHING = "Not measured yet."
PEERS = {"maml-sinusoid-speed": "sinusoid, 40-40 MLP, 25 tasks", "maml-conv4-speed": "28x28 images, Conv4-64, 16 tasks"}
"""Rows that time MAML's gradient beside other libraries', and what each is called in the README."""

_BLOCK = re.compile(r"(<!-- numbers:(?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- /numbers -->)", re.DOTALL)
_OPENING = re.compile(r"<!-- numbers:")


def pages(root: Path = ROOT) -> list[Path]:
    """The pages that may hold blocks."""
    folders = (root / "benchmarks", root / "benchmarks" / "pages", root / "docs" / "learners")
    return [root / "README.md", *(page for folder in folders for page in sorted(folder.glob("*.md")))]


def rendered(text: str, rows: Sequence[Row]) -> str:
    """The page with every block written anew; raises ValueError for a block it can't fill."""
    if len(_OPENING.findall(text)) != len(_BLOCK.findall(text)):
        raise ValueError("a block of numbers is never closed: end it with <!-- /numbers --> on a line of its own")
    return _BLOCK.sub(lambda result: f"{result[1]}{_body(result['name'], rows)}\n{result[4]}", text)


def stale(rows: Sequence[Row], root: Path = ROOT) -> list[tuple[Path, str]]:
    """The pages whose blocks are not what the results say, and what they should be."""
    output = [(page, page.read_text(encoding="utf-8")) for page in pages(root)]
    return [(page, new) for page, text in output if (new := rendered(text, rows)) != text]


def _body(name: str, rows: Sequence[Row]) -> str:
    if name == "families":
        return _families(rows)
    if name == "peers":
        return _peers(rows)
    if name == "summary":
        return _summary(rows)
    if name == "all":
        return _all([row for row in rows if not row.measures and not row.bench])
    if name == "speed":
        return _speed([row for row in rows if row.measures and row.learner == "none: speed"])
    measured = next((row for row in rows if row.measures and row.row == name), None)
    if measured is not None:
        return _measured(measured)
    if name in BENCHES:
        return _comparison(name, rows)
    keys = [key for key, row in LEARNERS.items() if row.page == name]
    if not keys:
        raise ValueError(
            f"there are no numbers called {name!r}: give families, peers, summary, all, speed, {', '.join(BENCHES)}, "
            "or the name of a learner's page"
        )
    return "\n\n".join(_details(row, rows) for row in rows if row.learner in keys) or NOTHING


def compared(name: str, rows: Sequence[Row]) -> list[Contender]:
    """The contenders of a comparison."""
    return [row.contender for row in rows if row.bench.get("name") == name]


def _comparison(name: str, rows: Sequence[Row]) -> str:
    """A comparison as one table, its figure, and how its rows are made again."""
    mine = [row for row in rows if row.bench.get("name") == name]
    if not mine:
        return NOTHING
    contenders = compared(name, rows)
    protocols = list(dict.fromkeys(row.protocol for row in mine))
    machines = list(dict.fromkeys(f"{_threads(row)}, {row.machine}" for row in mine))
    results = [f"{protocol[0].upper()}{protocol[1:]}." for protocol in protocols]
    results += [f"Each row with {where}." for where in machines]
    remade = [f"`{row.learner}` was {row.remade}." for row in mine if row.remade]
    picture = f"![accuracy against training time](../results/{name}/{FIGURE})"
    again = "\n".join(["```sh", *(row.again for row in mine), "```"])
    return "\n\n".join(
        [*results, comparison_markdown(contenders, AGAINST), *notes(contenders), *remade, picture, again]
    )


def figures(rows: Sequence[Row], folder: Path = RESULTS) -> list[Path]:
    """Draw every comparison's figure beside its rows; what was drawn."""
    drawn = []
    for name in BENCHES:
        if contenders := compared(name, rows):
            path = folder / name / FIGURE
            path.write_text(standalone(against_time(contenders)), encoding="utf-8")
            drawn.append(path)
    return drawn


def _families(rows: Sequence[Row]) -> str:
    """Every family of learners with its best row on Omniglot, or else in the comparison on glyphs; for the README."""
    lines = []
    for family in dict.fromkeys(row.family for row in LEARNERS.values()):
        keys = [key for key, row in LEARNERS.items() if row.family == family]
        names = ", ".join(f"[`{key}`](docs/learners/{LEARNERS[key].page}.md)" for key in keys)
        own = [row for row in rows if row.learner in keys and row.metric == "accuracy" and not row.about.transductive]
        tasks = [[row for row in own if row.task == f"{source}, 5-way 1-shot"] for source in ("omniglot", "glyphs")]
        best = max(next(filter(None, tasks), []), key=lambda row: float(row.result["accuracy"]), default=None)
        lines.append([family, names, *(_linked(best) if best else [NOTHING.rstrip(".").lower(), ""])])
    return markdown(["Family", "Learners", "Best, 5-way 1-shot", "Task"], lines)


def _linked(row: Row) -> list[str]:
    place = "pages/all-learners-under-one-budget.md" if row.bench else f"README.md#{row.row}"
    return [f"[{row.headline}](benchmarks/{place}), `{row.learner}`", row.about.source]


def _peers(rows: Sequence[Row]) -> str:
    """MAML's meta-gradient of 5 steps in second order, beside other libraries'; for the README."""
    measured = {row.row: row.result["tables"][0] for row in rows if row.row in PEERS}
    if len(measured) < len(PEERS):
        return NOTHING
    titles = [f"[{title}](benchmarks/pages/speed.md#{name}), ms" for name, title in PEERS.items()]
    times = {name: {line["contender"]: cell(line["ms"]) for line in table["lines"]} for name, table in measured.items()}
    everyone = dict.fromkeys(who for name in PEERS for who in times[name] if "floor" not in who)
    lines = [[who, *(times[name].get(who, "") or "not measured" for name in PEERS)] for who in everyone]
    return markdown(["", *titles], lines)


def _summary(rows: Sequence[Row]) -> str:
    """Every learner of the catalog, with its rows; for the page of all learners."""
    lines = []
    for key, learner in LEARNERS.items():
        who = [f"[`{key}`]({learner.page}.md)", f"{learner.summary} ({learner.paper})"]
        own = [row for row in rows if row.learner == key and row.metric is not None]
        for place, row in enumerate(own):
            lines.append([*(who if place == 0 else ["", ""]), *_cells(row), _code(row.again)])
        if not own:
            lines.append([*who, NOTHING.rstrip(".").lower(), "", "", "", ""])
    head = ["Learner", "Idea", "Task", "Result, 95 % interval", "Prediction", "Test episodes", "Command"]
    return markdown(head, lines)


def _cells(row: Row) -> list[str]:
    return [row.task, row.headline, normalisation(row.about), f"{row.about.episodes:,}"]


def _all(rows: Sequence[Row]) -> str:
    """One table of every row, then the rows one by one, under their learners."""
    if not rows:
        return NOTHING
    judged = [row for row in rows if row.metric is not None]
    parts = []
    if judged:
        head = ["Row", "Task", "Result, 95 % interval", "Target", "Prediction", "Test episodes", "Training"]
        lines = [
            [f"`{row.row}`", *_cells(row)[:2], row.wanted, *_cells(row)[2:], _minutes(row.train_seconds)]
            for row in judged
        ]
        parts.append(markdown(head, lines))
    for learner in dict.fromkeys(row.learner for row in rows):
        parts.append(f"### {learner}")
        parts.extend(f'<a id="{row.row}"></a>\n\n{_details(row, rows)}' for row in rows if row.learner == learner)
    return "\n\n".join(parts)


def _speed(rows: Sequence[Row]) -> str:
    """One table of every target, then the benchmarks one by one."""
    if not rows:
        return NOTHING
    head = ["Benchmark", "Target", "Found", "Goal", ""]
    lines = [
        [
            f"`{row.row}`",
            target["what"],
            cell(target["value"]) or "not measured",
            f"{'≥' if target['at_least'] else '≤'} {cell(target['goal'])}",
            {True: "met", False: "missed", None: target["because"]}[target["met"]],
        ]
        for row in rows
        for target in row.result["targets"]
    ]
    return "\n\n".join([markdown(head, lines), *(_measured(row) for row in rows)])


def _measured(row: Row) -> str:
    """One benchmark: its tables, what was made sure of, and the command that makes it again."""
    result = row.result
    answer = f"{row.protocol[0].upper()}{row.protocol[1:].rstrip('.')}. " if row.protocol else ""
    clock = "processor time" if result.get("clock") == "processor" else ""
    rounds = f"{clock[:1].upper()}{clock[1:]}, timed once. " if clock else ""
    if result.get("rounds"):
        of = f", of {clock}" if clock else ""
        rounds = f"{result['rounds']} interleaved rounds: median (lowest..highest){of}. "
    load = f"; load before: {result['load_before']}" if result.get("load_before") is not None else ""
    device = f"; device: {result['device']}" if result.get("device") else ""
    each = f"{_threads(row)}, " if row.threads else ""
    parts = [f"### {row.row}", f"{answer}{rounds}{each[:1].upper()}{each[1:]}{row.machine}{device}{load}."]
    for table in result["tables"]:
        names = columns(table)
        lines = [[cell(line.get(name)) for name in names] for line in table["lines"]]
        parts.append(f"**{table['title'][0].upper()}{table['title'][1:]}**")
        parts.append(markdown(names, lines))
    remarks = [*(f"Target: {describe_target(target)}" for target in result["targets"]), *result.get("notes", ())]
    if remarks:
        parts.append("\n".join(f"- {remark[0].upper()}{remark[1:]}." for remark in remarks))
    parts.append("\n".join(["```sh", _portable(row.eval_command), "```"]))
    return "\n\n".join(parts)


def columns(table: dict[str, Any]) -> list[str]:
    """The columns of a table, in the order in which its lines name them."""
    return list(dict.fromkeys(name for line in table["lines"] for name in line))


def cell(value: Any) -> str:
    """A cell in words."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return f"{cell(value['median'])} ({cell(value['low'])}..{cell(value['high'])})"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def describe_target(target: dict[str, Any]) -> str:
    """A target in words: what, the figure, what it should be, and whether it is."""
    wanted = f"{'at least' if target['at_least'] else 'at most'} {cell(target['goal'])}"
    if target["met"] is None:
        return f"{target['what']}: {wanted}; not measured: {target['because']}"
    return f"{target['what']}: {cell(target['value'])}, {wanted}, {'met' if target['met'] else 'missed'}"


def _details(row: Row, rows: Sequence[Row]) -> str:
    """One row: the number, how it was made, and the commands that make it again."""
    results = [f"**`{row.row}`: {row.headline}**"]
    if row.metric is not None:
        steps = (
            f", after {row.inner_steps} inner step{'' if row.inner_steps == '1' else 's'}" if row.inner_steps else ""
        )
        results[0] += f" ({row.about.line()}{steps})."
    else:
        results[0] += "."
    if row.metric == "mse" and row.result.get("median") is not None:
        results.append(
            f"Median {float(row.result['median']):.3f}; {share(row.result.get('diverged'))} of the tasks diverged."
        )
    if row.wanted:
        results.append(f"Target: {row.wanted}.")
    if row.protocol:
        results.append(f"{row.protocol[0].upper()}{row.protocol[1:].rstrip('.')}.")
    where = ", ".join(text for text in (_trained(row), _threads(row), row.machine) if text)
    if where:
        results.append(f"{where[0].upper()}{where[1:]}.")
    if row.remade:
        results.append(f"The row was {row.remade}.")
    extra = ", ".join(f"{name.replace('_', ' ')} {figure(value)}" for name, value in row.notes.items() if value != "")
    if extra:
        results.append(f"{extra[0].upper()}{extra[1:]}.")
    results.extend(_beside(row))
    results.extend(_among(row, rows))
    commands = [row.again] if row.bench else []
    commands += [_portable(command) for command in (row.train_command, row.eval_command) if command]
    return "\n".join([*results, *(["", "```sh", *commands, "```"] if commands else [])])


def _trained(row: Row) -> str:
    """How long training took, by the clock and on the processor; "" when the row doesn't say."""
    processor = _minutes(row.train_processor_seconds)
    answer = f"trained in {_minutes(row.train_seconds)}" if row.train_seconds else ""
    return f"{answer} ({processor} of processor time)" if answer and processor else answer


def _minutes(seconds: float | None) -> str:
    if not seconds:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _threads(row: Row) -> str:
    return "" if row.threads is None else f"{row.threads} thread{'' if row.threads == 1 else 's'}"


def _beside(row: Row) -> list[str]:
    """What was judged on the same episodes, and the paired difference."""
    lines = []
    for other in row.result.get("beside") or []:
        if row.metric != "accuracy" or other.get("accuracy") is None:
            continue
        shown = percent(Estimate(other["accuracy"], other.get("ci95", float("nan")), 0))
        pair = Estimate(other.get("difference", float("nan")), other.get("difference_ci95", float("nan")), 0)
        sign = "+" if pair.mean > 0 else ""
        better = f", so {sign}{percent(pair).replace(' %', ' points')} (paired)" if math.isfinite(pair.ci95) else ""
        lines.append(f"On the same episodes `{other.get('learner', 'the baseline')}` has {shown}{better}.")
    return lines


def _among(row: Row, rows: Sequence[Row]) -> list[str]:
    """What a comparison found of this row, and its paired difference to the one that all are compared with."""
    if not row.bench:
        return []
    own = row.contender
    by_rows = "the same" if own.transductive is None else percent(own.transductive.estimate)
    lines = [] if own.inductive is None else [f"Transductive: {by_rows}."]
    rates = ", ".join(f"{name} {value}" for name, value in own.chosen.items())
    tried = len(row.bench["tuning"])
    lines += [f"Chosen on the validation split, of {tried}: {rates}."] if rates else []
    memory = "" if own.peak_mb is None else f", {own.peak_mb:,.0f} MB at the peak of training"
    lines.append(
        f"{own.own.adapt_ms:.1f} ms to adapt and predict, {own.adapted:,} numbers that a task changes{memory}, "
        f"NLL {own.own.nll:.3f}, ECE {share(own.own.ece)}."
    )
    against = next((one for one in compared(row.bench["name"], rows) if one.name == AGAINST), None)
    if against is not None and against.inductive and own.inductive and own.name != AGAINST:
        pair = Paired.of(own.inductive, against.inductive, without_digest=True)  # of one bench, some from older files
        lines.append(f"On the same episodes, {difference(pair, 'accuracy')} to `{AGAINST}` (paired).")
    return lines


def _portable(command: str) -> str:
    """A command without the folders of the machine it ran on."""
    command = re.sub(r"(--data[= ])\S+", r"\1DATA", command)
    return re.sub(r"(?<=[\s=])/(?:[^\s/]+/)*([^\s/]+)", r"runs/\1", command)


def _code(command: str) -> str:
    return f"`{_portable(command)}`" if command else ""


def main(words: Sequence[str]) -> int:
    """Rewrite the blocks, or only look with --check; the exit code."""
    if [word for word in words if word != "--check"]:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        rows = read_rows()
        result = stale(rows)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if not words:
        figures(rows)
    for page, text in result:
        if not words:
            page.write_text(text, encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {'not current, run python -m benchmarks.tables' if words else 'written'}")
    return 1 if words and result else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
