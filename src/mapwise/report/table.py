"""Numbers for the terminal: every one with its interval, its protocol and its command."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mapwise.core.estimate import Estimate
from mapwise.core.format import ABSENT, plain, share
from mapwise.engine.results import Paired, Protocol, Report, Search
from mapwise.engine.seeds import OverSeeds, PairedSeeds
from mapwise.problems import metric_named
from mapwise.problems.classification import ClassFigures

if TYPE_CHECKING:
    from rich.table import Table


def percent(estimate: Estimate) -> str:
    """An accuracy as people read it: "98.8 ± 0.1 %"."""
    if not math.isfinite(estimate.mean):
        return "not finite"
    if not math.isfinite(estimate.ci95):
        return f"{100 * estimate.mean:.1f} % (one episode, no interval)"
    # A second decimal only where one would print a real interval as zero.
    digits = 2 if 0 < estimate.ci95 < 0.0005 else 1
    return f"{100 * estimate.mean:.{digits}f} ± {100 * estimate.ci95:.{digits}f} %"


def in_units(estimate: Estimate) -> str:
    """An error in its own unit, to two digits of its interval: "0.352 ± 0.012"."""
    mean, ci = estimate.mean, estimate.ci95
    if not math.isfinite(mean):
        return "not finite"
    if not math.isfinite(ci):
        return f"{mean:.3g} (one task, no interval)"
    if abs(mean) >= 1e5 or ci >= 1e5:
        return f"{mean:.2e} ± {ci:.1e}"
    digits = 3 if ci == 0 else min(6, max(0, 1 - math.floor(math.log10(ci))))
    return f"{mean:.{digits}f} ± {ci:.{digits}f}"


def headline(report: Report) -> str:
    """The report's main number with its interval: a share in per cent, or an error in its own unit."""
    return in_its_unit(report.estimate, report.metric)


def in_its_unit(estimate: Estimate, metric: str) -> str:
    """A share in per cent, or an error in its own unit."""
    return percent(estimate) if metric_named(metric).percent else in_units(estimate)


def difference(pair: Paired, metric: str) -> str:
    """First minus second with its sign and interval: "+43.4 ± 0.6 points"; an error in its own unit."""
    size = replace(pair.difference, mean=abs(pair.difference.mean))
    sign = "+" if pair.difference.mean > 0 else "−" if pair.difference.mean < 0 else ""
    if not metric_named(metric).percent:
        return sign + in_units(size)
    shown = percent(size)
    return sign + (shown.replace(" %", " points", 1) if "%" in shown else shown)


def verdict(pair: Paired, metric: str) -> str:
    """Whether the first is "better" or "worse" than the second, or "no difference shown".

    A difference is shown when its 95 % interval excludes zero; of errors less is better.
    """
    mean, ci = pair.difference.mean, pair.difference.ci95
    if not (math.isfinite(mean) and math.isfinite(ci)) or abs(mean) <= ci:
        return "no difference shown"
    return "better" if (mean > 0) != metric_named(metric).lower_is_better else "worse"


def task_name(protocol: Protocol) -> str:
    """What a task of this protocol asks, in a few words: "5-way 1-shot"."""
    return protocol.problem.task.format(ways=protocol.ways, shots=protocol.shots)


def normalisation(protocol: Protocol) -> str:
    """Whether a prediction may depend on its neighbours: "transductive" or "inductive"."""
    return "transductive" if protocol.transductive else "inductive"


def figure_names(reports: Sequence[Report]) -> list[str]:
    """The figures that stand beside the headlines: all that one of the reports has."""
    return list(dict.fromkeys(name for report in reports for name in figures_of(report)))


def figures_of(report: Report) -> dict[str, str]:
    """What stands beside the headline, by its column: of classes NLL in nats, ECE and AUC."""
    return report.problem.cells(report.figures, report.values)


def worst_classes(figures: ClassFigures, worst: int = 20) -> list[int]:
    """Places of the classes with the lowest F1, worst first; classes without a query row took no part."""
    f1 = np.nan_to_num(np.asarray(figures.f1, dtype=float), nan=0.0)
    order = np.argsort(f1, kind="stable")
    return [int(i) for i in order if figures.rows[i] > 0][:worst]


def classes_left_out(figures: ClassFigures, shown: int) -> int:
    """How many classes took part and are not among those shown."""
    return int(np.sum(np.asarray(figures.rows) > 0)) - shown


def chances(reports: Sequence[Report]) -> list[tuple[str, float]]:
    """Chance for every task the reports name; once, without a task, where it is the same for all."""
    known = list(dict.fromkeys((task_name(r.protocol), r.chance) for r in reports if r.chance is not None))
    return [("", known[0][1])] if len({chance for _, chance in known}) == 1 else known


def accuracy_table(reports: Sequence[Report], *, title: str) -> "Table":
    """Learners beside each other, with the protocol and the commands below.

    The problem's metric with its 95 % interval, then its figures. A column names the task where the reports
    differ in it, and chance is a row of its own where it is known.
    """
    table = new_table(title)
    tasks = list(dict.fromkeys(task_name(report.protocol) for report in reports))
    table.add_column("learner", overflow="fold")
    if len(tasks) > 1:
        table.add_column("task", no_wrap=True)
    metric = reports[0].metric if reports else "accuracy"
    head = figure_names(reports)
    for name in (metric.replace("_", " "), *head):
        table.add_column(name, justify="right", no_wrap=name not in head)
    table.add_column("protocol", no_wrap=True)
    for report in reports:
        row = [report.protocol.learner] + ([task_name(report.protocol)] if len(tasks) > 1 else [])
        row += [headline(report), *(figures_of(report).get(name, ABSENT) for name in head)]
        add_row(table, [*row, normalisation(report.protocol)])
    for task, chance in chances(reports):
        row = ["chance"] + ([task] if len(tasks) > 1 else [])
        shown = share(chance) if metric_named(metric).percent else plain(chance)
        add_row(table, [*row, shown] + [""] * (len(head) + 1))
    _caption(table, calibrations(reports) + _provenance([report.protocol for report in reports]))
    return table


def sights_table(reports: Sequence[Report]) -> "Table":
    """Accuracy by how often a class has come in its stream, each with its 95 % interval over streams."""
    head, rows = sights_rows(reports)
    table = new_table("Accuracy by instance of a class")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left", no_wrap=bool(place))
    for row in rows:
        add_row(table, row)
    _caption(table, [SIGHTS_RULE])
    return table


def sights_rows(reports: Sequence[Report]) -> tuple[list[str], list[list[str]]]:
    """The columns and cells of accuracy by instance, a row for each report that has them."""
    by_learner = {report.protocol.learner: report.instances for report in reports if report.instances}
    sights = sorted({sight for accuracies in by_learner.values() for sight in accuracies})
    endings = {1: "st", 2: "nd", 3: "rd"}
    head = ["learner", *(f"{sight}{endings.get(sight, 'th')}" for sight in sights)]
    rows = [
        [learner, *(percent(accuracies[sight]) if sight in accuracies else ABSENT for sight in sights)]
        for learner, accuracies in by_learner.items()
    ]
    return head, rows


SIGHTS_RULE = "At the 1st instance of a class its label has never been seen; a stream counts once, whatever its length."


def calibrations(reports: Sequence[Report]) -> list[str]:
    """What a temperature makes of each report that has one, in a sentence."""
    return [
        f"{report.protocol.learner}, its scores divided by {after.temperature:.3g} (chosen by validation episodes): "
        f"NLL {plain(after.nll)}, ECE {share(after.ece)}"
        for report in reports
        if (after := report.calibrated) is not None
    ]


def seeds_table(over: OverSeeds, *, title: str) -> "Table":
    """Each seed's number, and the mean over seeds with its 95 % interval over them."""
    table = new_table(title)
    table.add_column("seed")
    table.add_column(over.reports[0].metric.replace("_", " "), justify="right", no_wrap=True)
    for seed, report in zip(over.seeds, over.reports, strict=True):
        add_row(table, [str(seed), headline(report)])
    first = over.reports[0]
    add_row(table, [f"mean of {len(over.seeds)} seeds", in_its_unit(over.estimate, first.metric)])
    _caption(table, [SEEDS_RULE, *_provenance([first.protocol])])
    return table


def paired_seeds_table(pair: PairedSeeds, protocol: Protocol) -> "Table":
    """Differences of two learners under each seed, and their mean with its 95 % interval over seeds and a verdict."""
    metric = protocol.problem.metric.name
    table = new_table(f"Paired differences: {pair.pairs[0].first} minus {pair.pairs[0].second}")
    table.add_column("seed")
    table.add_column("first minus second", justify="right", no_wrap=True)
    table.add_column("the first is")
    for seed, one in zip(pair.seeds, pair.pairs, strict=True):
        add_row(table, [str(seed), difference(one, metric), ""])
    whole = Paired(pair.pairs[0].first, pair.pairs[0].second, pair.difference)
    add_row(table, [f"mean of {len(pair.seeds)} seeds", difference(whole, metric), verdict_over_seeds(pair, metric)])
    _caption(table, [SEEDS_RULE, SEEDS_VERDICT_RULE, *_provenance([protocol])])
    return table


def verdict_over_seeds(pair: PairedSeeds, metric: str) -> str:
    """Whether the first is "better" or "worse" than the second, by seeds: at least three that agree."""
    whole = Paired(pair.pairs[0].first, pair.pairs[0].second, pair.difference)
    return verdict(whole, metric) if pair.conclusive else "no difference shown"


def paired_table(pairs: Sequence[Paired], *, protocol: Protocol | None = None) -> "Table":
    """Differences on the same episodes, each with its 95 % interval and a verdict.

    protocol: of the episodes, shown below with its command. Its problem says which way is better:
              without it the numbers are taken for accuracies, of which more is better.
    """
    metric = "accuracy" if protocol is None else protocol.problem.metric.name
    table = new_table("Paired differences")
    table.add_column("first", overflow="fold")
    table.add_column("second", overflow="fold")
    table.add_column("first minus second", justify="right", no_wrap=True)
    table.add_column("episodes", justify="right", no_wrap=True)
    table.add_column("the first is")
    for pair in pairs:
        shown = difference(pair, metric)
        add_row(table, [pair.first, pair.second, shown, f"{pair.difference.episodes:,}", verdict(pair, metric)])
    lines = [VERDICT_RULE]
    _caption(table, lines + (_provenance([protocol]) if protocol else []))
    return table


def search_table(search: Search) -> "Table":
    """The trials of a search, best first, with the values they tried and the steps they took."""
    table = new_table(search.title)
    head, rows = search_rows(search)
    for name in head:
        table.add_column(name, justify="left" if name in ("state", "run") else "right", overflow="fold")
    for row in rows:
        add_row(table, row)
    lines = [f"trial {trial.number}: {trial.failure}" for trial in search.trials if trial.failure]
    _caption(table, [f"validation: {search.protocol}", SEARCH_RULE, *lines])
    return table


def search_rows(search: Search) -> tuple[list[str], list[list[str]]]:
    """The columns and cells of a search's trials, best first."""
    head = ["trial", *search.ranges, search.metric.replace("_", " "), "steps", "state"]
    rows = []
    for trial in search.ranked:
        tried = [searched_value(trial.values.get(name)) for name in search.ranges]
        shown = share(trial.validation) if metric_named(search.metric).percent else searched_value(trial.validation)
        rows.append([str(trial.number), *tried, shown, f"{trial.step:,}", trial.state])
    return head, rows


def searched_value(value: float | str | None) -> str:
    """A value that a search tried, to the digits a person compares."""
    return ABSENT if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


SEARCH_RULE = (
    "The best of many is better on the episodes that chose it than on others: "
    "only mapwise eval, on the test split, says how good it is."
)

SEEDS_RULE = (
    "The interval of the mean is Student's t over seeds, each of which counts once; that of one seed is over its "
    "episodes."
)
SEEDS_VERDICT_RULE = (
    "Better or worse: the 95 % interval over seeds excludes zero, and at least 3 seeds have one sign. All seeds are "
    "judged on the same episodes."
)
ONE_SEED = "One training seed of each can't show that a learner is better: compare folders of mapwise train --seeds 3."

VERDICT_RULE = (
    "Better or worse: the 95 % interval of the difference excludes zero. "
    "That speaks of these trained weights; of a method only when 3 or more training seeds agree."
)


def _provenance(protocols: Iterable[Protocol]) -> list[str]:
    """Each protocol line once, then each command once."""
    protocols = list(protocols)
    lines = list(dict.fromkeys(protocol.line() for protocol in protocols))
    commands = list(dict.fromkeys(protocol.command for protocol in protocols if protocol.command))
    return lines + [f"$ {command}" for command in commands]


def new_table(title: str) -> "Table":
    """An empty table in the style of all."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, style="bold")
    return Table(title=heading, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def add_row(table: "Table", cells: Sequence[str]) -> None:
    """A row of plain texts, whatever they hold."""
    from rich.text import Text

    # Text and not str: a class may be called "[red]", which rich would read as markup.
    table.add_row(*(Text(cell) for cell in cells))


def _caption(table: "Table", lines: Sequence[str]) -> None:
    from rich.text import Text

    if lines:
        table.caption = Text("\n".join(lines), style="dim")
        # A caption is as wide as its table: a command should not be broken without need.
        table.min_width = min(100, max(len(line) for line in lines))
