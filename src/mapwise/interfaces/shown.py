"""What came of a workflow, for a person: texts and tables, and what to do next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mapwise.core.problem import Problem
from mapwise.engine.results import Contender, Report, Search
from mapwise.report.comparison import comparison_table, notes
from mapwise.report.search_page import search_summary
from mapwise.report.table import accuracy_table, search_table
from mapwise.workflows import demo
from mapwise.workflows.comparison import bench
from mapwise.workflows.tuning import tune


def trained(summary: Mapping[str, Any], problem: Problem) -> str:
    """A training, by its summary."""
    value = summary["validation"]
    if value is None:
        result = "nothing was validated"
    else:
        # Of accuracies the per cent sign says enough.
        title = f"{problem.metric.title} " if problem.metric.lower_is_better else ""
        tasks = "episodes" if problem.columns in ("classes", "tags") else "tasks"
        result = f"{title}{problem.metric.format(value)} on {summary['validation_episodes']:,} validation {tasks}"
    return (
        f"{summary['learner']} on {summary['source']}: step {summary['step']:,} of {summary['steps']:,} selected, "
        f"{result}\nnext: mapwise eval {summary['run']}"
    )


def averaged(answer: Mapping[str, Any], problem: Problem) -> str:
    """An average of runs, by its answer."""
    values = sorted(member["validation"] for member in answer["members"])
    low, high = problem.metric.format(values[0]), problem.metric.format(values[-1])
    title = f"{problem.metric.title} " if problem.metric.lower_is_better else ""
    lines = [
        f"{len(answer.get('averaged', values)):,} of {len(values):,} runs, {answer['of']} averaged: "
        f"{title}{problem.metric.format(answer['validation'])} on {answer['validation_episodes']:,} validation tasks, "
        f"and {low} to {high} of each by itself"
    ]
    heights = answer.get("barriers", [])
    if heights:
        highest = max(heights, key=lambda one: one["barrier"])
        lines.append(
            f"highest barrier: {highest['barrier']:.3g} ± {highest['ci95']:.2g}, between {highest['first']} and "
            f"{highest['second']}"
        )
    return "\n".join([*lines, f"next: mapwise eval {answer['run']}"])


def searched(folder: Path, search: Search) -> list[Any]:
    """A search: the table, best first."""
    best = search.best
    lines = [tune.without_best(search)]
    if best is not None:
        lines = [search_summary(search), f"its run: {best.run}", f"figures: {folder / tune.PAGE}"]
        lines.append(f"next: mapwise eval {best.run}")
    return [search_table(search), *lines] if search.trials else lines


def compared(protocol: bench.Bench, answer: Mapping[str, Any], contenders: Sequence[Contender]) -> list[Any]:
    """A comparison of learners."""
    folder = Path(answer["folder"])
    lines = [f"{name} failed: {why}" for name, why in answer["failed"].items()]
    if answer["elsewhere"]:
        lines.append(f"being made by another process: {', '.join(answer['elsewhere'])}")
    if not contenders:
        return lines or ["there is no row yet"]
    smoke = ["a smoke test: these numbers measure nothing"] if protocol.quick else []
    table = comparison_table(contenders, bench.AGAINST, f"{protocol.source}: {protocol.line}")
    return [table, *smoke, *notes(contenders), *lines, f"{folder / bench.TABLE} and {folder / bench.FIGURE}"]


def demonstrated(answer: Mapping[str, Any], reports: Sequence[Report]) -> list[Any]:
    """The demo: its numbers, whether it passed, and where its report lies."""
    verdict = "passed" if answer["passed"] else "failed"
    points = f"{100 * answer['better_by']:.1f} points better than raw pixels at 1 shot"
    return [
        accuracy_table(reports, title="unseen alphabets"),
        f"{verdict}: {points}, {100 * demo.BETTER_BY:.0f} points are asked for",
        f"report: {answer['page']}  ({answer['seconds']:.0f} s)",
    ]
