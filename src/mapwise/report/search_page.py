"""One self-contained HTML page about a search: the best trial, all others, and what was searched."""

from html import escape

from mapwise.core.format import share
from mapwise.engine.results import Search
from mapwise.problems import metric_named
from mapwise.report import html, plots, table


def search_page(search: Search) -> str:
    """A search as one HTML page that needs nothing else; the same search gives the same bytes."""
    head, cells = table.search_rows(search)
    rows = [
        f"<tr{html.classed('own') if i == 0 and search.best is not None else ''}>"
        f"{''.join(html.cell(cell, '' if name == 'state' else 'n') for name, cell in zip(head, row, strict=True))}</tr>"
        for i, row in enumerate(cells)
    ]
    failed = [f"<p class='quiet'>trial {t.number}: {escape(t.failure)}</p>" for t in search.trials if t.failure]
    trials = html.as_table([(name, "" if name == "state" else "n") for name in head], rows, "Trials, best first")
    searched = [
        f'<tr><th scope="row">{escape(name)}</th>{html.cell(text, "")}</tr>' for name, text in search.ranges.items()
    ]
    sections = [
        html.section("How the search went", _search_figures(search)) if search.best is not None else "",
        html.section("One setting at a time", _slices(search)) if search.best is not None else "",
        html.section("All trials", trials + "".join(failed)),
        html.section(
            "What was searched", html.as_table([("setting", ""), ("range", "")], searched, "What was searched")
        ),
        html.section("The best run again", html.code(search.best_command)) if search.best_command else "",
        html.section("The search again", html.code(search.command)) if search.command else "",
    ]
    return html.document("mapwise search", search.title, search_summary(search), sections, table.SEARCH_RULE)


def search_summary(search: Search) -> str:
    """What a search found, in plain sentences."""
    count = {state: sum(trial.state == state for trial in search.trials) for state in ("pruned", "failed")}
    others = " and ".join(f"{number} {state}" for state, number in count.items() if number)
    trials = (
        f"{len(search.trials)} {'trial' if len(search.trials) == 1 else 'trials'}{f' ({others})' if others else ''}"
    )
    if search.best is None:
        return f"None of {trials} was completed."
    value = search.best.validation
    metric = metric_named(search.metric)
    shown = share(value) if metric.percent else table.searched_value(value)
    shown = f"a {metric.title} of {shown}" if metric.lower_is_better else shown
    values = ", ".join(f"{name} {table.searched_value(tried)}" for name, tried in search.best.values.items())
    return f"The best of {trials} has {values}: {shown} on the validation split ({search.protocol})."


def _search_figures(search: Search) -> str:
    unit = f"validation {metric_named(search.metric).title}"
    pruned = any(trial.state == "pruned" for trial in search.trials)
    alt = f"{html.capital(unit)} of {len(search.trials)} trials in their order. {search_summary(search)}"
    caption = f"{html.capital(unit)} of every trial." + (
        " Open squares were pruned: stopped early, being worse than the median at the same step." if pruned else ""
    )
    top = plots.search_top(search)
    if any(trial.validation is not None and trial.validation > top for trial in search.trials):
        caption += f" Errors above {top:.3g} are drawn at the upper edge, here and below."
    figures = [html.figure(plots.search_history(search), alt, caption, "")]
    if len(search.importances) > 1:
        ranked = sorted(search.importances.items(), key=lambda entry: -entry[1])
        alt = f"Importances: {', '.join(f'{name} {share(value, 0)}' for name, value in ranked)}."
        complete = sum(trial.state == "complete" for trial in search.trials)
        caption = (
            f"How much each setting decided whether a trial was among the best (PED-ANOVA over {complete} trials)."
        )
        if complete < 20:
            caption += " With so few trials, only large differences mean something."
        figures.append(html.figure(plots.importance_bars(search.importances), alt, caption, ""))
    return html.grid(figures)


def _slices(search: Search) -> str:
    return html.grid(
        [
            html.figure(
                plots.search_slice(search, name), f"Validation of every trial against {name}.", f"{name}: {text}", ""
            )
            for name, text in search.ranges.items()
        ]
    )
