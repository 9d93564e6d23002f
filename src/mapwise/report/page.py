"""One self-contained HTML page: what was found, how it was measured, and what it looks like."""

import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from mapwise.core.kinds import METRICS
from mapwise.core.outcome import ClassFigures, Curve, Findings, FunctionFit, Paired, Protocol, Report, Search
from mapwise.report import plots, table


def page(findings: Findings) -> str:
    """The findings as one HTML page that needs nothing else: no script, no file, no network.

    What is None or empty in the findings is left out. The same findings give the same bytes.

    Raises ValueError when there is no report among the findings.
    """
    if not findings.reports:
        raise ValueError("the findings hold no report: evaluate the learner first and hand its Report over")
    own = findings.reports[0]
    sections = [
        _comparison(findings.reports),
        _sights(findings.reports),
        _training(findings.training, own),
        _against(findings, own),
        _mistakes(own),
        _side_by_side(_calibration(own), _embedding(findings)),
        _episode(findings),
        _fits(findings),
        _memory(findings),
        _settings(findings.settings),
    ]
    return _document(
        "mapwise report",
        findings.title,
        summary(findings.reports),
        [_headline(own), *sections],
        "Every ± is the half-width of a 95 % interval over episodes (1.96 standard errors).",
    )


def search_page(found: Search) -> str:
    """A search as one HTML page that needs nothing else; the same search gives the same bytes."""
    head, cells = table.search_rows(found)
    rows = [
        f"<tr{_class('own') if i == 0 and found.best is not None else ''}>"
        f"{''.join(_cell(cell, '' if name == 'state' else 'n') for name, cell in zip(head, row, strict=True))}</tr>"
        for i, row in enumerate(cells)
    ]
    failed = [f"<p class='quiet'>trial {t.number}: {escape(t.failure)}</p>" for t in found.trials if t.failure]
    trials = _table([(name, "" if name == "state" else "n") for name in head], rows, "Trials, best first")
    searched = [f'<tr><th scope="row">{escape(name)}</th>{_cell(text, "")}</tr>' for name, text in found.ranges.items()]
    sections = [
        _section("How the search went", _search_figures(found)) if found.best is not None else "",
        _section("One setting at a time", _slices(found)) if found.best is not None else "",
        _section("All trials", trials + "".join(failed)),
        _section("What was searched", _table([("setting", ""), ("range", "")], searched, "What was searched")),
        _section("The best run again", _code(found.best_command)) if found.best_command else "",
        _section("The search again", _code(found.command)) if found.command else "",
    ]
    return _document("mapwise search", found.title, search_summary(found), sections, table.SEARCH_RULE)


def search_summary(found: Search) -> str:
    """What a search found, in plain sentences."""
    count = {state: sum(trial.state == state for trial in found.trials) for state in ("pruned", "failed")}
    others = " and ".join(f"{number} {state}" for state, number in count.items() if number)
    trials = f"{len(found.trials)} {'trial' if len(found.trials) == 1 else 'trials'}{f' ({others})' if others else ''}"
    if found.best is None:
        return f"None of {trials} was completed."
    value = found.best.validation
    kind = METRICS[found.metric]
    shown = table.share(value) if kind.share else table.searched_value(value)
    shown = f"a {kind.title} of {shown}" if kind.least else shown
    values = ", ".join(f"{name} {table.searched_value(tried)}" for name, tried in found.best.values.items())
    return f"The best of {trials} has {values}: {shown} on the validation split ({found.protocol})."


def _search_figures(found: Search) -> str:
    unit = f"validation {METRICS[found.metric].title}"
    pruned = any(trial.state == "pruned" for trial in found.trials)
    alt = f"{_capital(unit)} of {len(found.trials)} trials in their order. {search_summary(found)}"
    caption = f"{_capital(unit)} of every trial." + (
        " Open squares were pruned: stopped early, being worse than the median at the same step." if pruned else ""
    )
    top = plots.search_top(found)
    if any(trial.validation is not None and trial.validation > top for trial in found.trials):
        caption += f" Errors above {top:.3g} are drawn at the upper edge, here and below."
    figures = [_figure(plots.search_history(found), alt, caption, "")]
    if len(found.importances) > 1:
        ranked = sorted(found.importances.items(), key=lambda entry: -entry[1])
        alt = f"Importances: {', '.join(f'{name} {table.share(value, 0)}' for name, value in ranked)}."
        complete = sum(trial.state == "complete" for trial in found.trials)
        caption = (
            f"How much each setting decided whether a trial was among the best (PED-ANOVA over {complete} trials)."
        )
        if complete < 20:
            caption += " With so few trials, only large differences mean something."
        figures.append(_figure(plots.importances(found.importances), alt, caption, ""))
    return _grid(figures)


def _slices(found: Search) -> str:
    return _grid(
        [
            _figure(
                plots.search_slice(found, name), f"Validation of every trial against {name}.", f"{name}: {text}", ""
            )
            for name, text in found.ranges.items()
        ]
    )


def _document(kicker: str, title: str, lede: str, parts: Sequence[str], foot: str) -> str:
    """A whole page around its parts; those that are empty are left out."""
    css = files("mapwise.report").joinpath("page.css").read_text("utf-8")
    body = "\n".join(part for part in parts if part)
    html = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body>
<header>
<p class="kicker">{escape(kicker)}</p>
<h1>{escape(title)}</h1>
<p class="lede">{_unbroken(escape(lede))}</p>
</header>
<main>
{body}
</main>
<footer>{escape(foot)}</footer>
</body>
</html>
"""
    # A lone surrogate, as from an odd file name, could not be written to a file.
    return plots.printable(html)


def summary(reports: Sequence[Report]) -> str:
    """The main result in one plain sentence, beside what other learners got on the same episodes, and chance."""
    own, p = reports[0], reports[0].protocol
    seen = "it was trained on" if p.split in ("train", "trainval") else "it has never seen"
    # The same learner may stand here twice, evaluated otherwise: that is no other learner.
    others = [report for report in reports[1:] if _same_episodes(own, report) and report.protocol.learner != p.learner]
    if p.kind == "multilabel":
        sentence = (
            f"Having read a sequence of length {p.shots} {seen}, {p.learner} gets {_loose(own)} of the bits of its "
            f"answer wrong, at {table.plain(own.bits, 4)} bits for each of them"
        )
    elif p.kind == "regression":
        examples = "one point" if p.shots == "1" else f"{p.shots} points"
        median, diverged = table.median_and_diverged(own)
        sentence = (
            f"Given {examples} of a function {seen}, {p.learner} predicts the rest with a mean squared error of "
            f"{_loose(own)}; the median task has {table.plain(median)}"
            + (f", and {table.share(diverged, 2)} of the tasks diverged" if diverged else "")
        )
    else:
        examples = "one example" if p.shots == "1" else f"{p.shots} examples"
        sentence = (
            f"Given {examples} each of {p.ways} classes {seen}, "
            f"{p.learner} names the right one {_loose(own)} of the time"
        )
    beside = [f"{report.protocol.learner} gets {_loose(report)}" for report in others[:3]]
    if own.chance is not None:
        shown = f"{100 * own.chance:.3g} %" if own.kind.share else table.plain(own.chance)
        beside.append(f"chance is {shown}")
    return sentence + (f"; {', '.join(beside)}" if beside else "") + "."


def _loose(report: Report) -> str:
    """ "94.4 ± 0.5 %" as a sentence says it: "94.4 % (± 0.5)"."""
    shown = table.headline(report)
    mean, sign, ci = shown.partition(" ± ")
    if not sign:
        return shown
    return f"{mean} % (± {ci.removesuffix(' %')})" if ci.endswith(" %") else f"{mean} (± {ci})"


def _unbroken(text: str) -> str:
    """With a number and its sign kept on one line."""
    return text.replace("± ", "±\u00a0").replace(" %", "\u00a0%")


def _headline(own: Report) -> str:
    mean, sign, ci = table.headline(own).partition(" ± ")
    number = f"{escape(mean)} <small>± {escape(ci)}</small>" if sign else f"<small>{escape(mean)}</small>"
    what = own.kind.title
    p = own.protocol
    note = (
        '<p class="note"><b>Transductive.</b> Each prediction depended on the other queries of its task; '
        "asked about one row alone, this learner answers differently.</p>"
        if p.transductive
        else ""
    )
    over = f"{what} of {escape(p.learner)}, mean over {own.estimate.episodes:,} episodes"
    how = f'<div class="how"><p>{escape(p.line())}</p>{_command(p)}</div>'
    return f'<div class="headline"><div><strong>{number}</strong><p>{over}</p></div>{how}</div>{note}'


def _sights(reports: Sequence[Report]) -> str:
    """Accuracy by how often a class has come, where the tasks are streams."""
    head, cells = table.sights_rows(reports)
    if not cells:
        return ""
    rows = [f"<tr>{''.join(_cell(cell, 'n' if place else '') for place, cell in enumerate(row))}</tr>" for row in cells]
    title = "Accuracy by sight of a class"
    shown = _table([(name, "n" if place else "") for place, name in enumerate(head)], rows, title)
    return _section(title, f"{shown}<p class='quiet'>{escape(table.SIGHTS_RULE)}</p>")


def _comparison(reports: Sequence[Report]) -> str:
    own = reports[0]
    several = len({table.task_name(report.protocol) for report in reports}) > 1
    pairs = [
        Paired.of(own, report) if i and len(own.values) == len(report.values) and _same_episodes(own, report) else None
        for i, report in enumerate(reports)
    ]
    paired = any(pair is not None for pair in pairs)
    timed = any(report.adapt_ms is not None for report in reports)
    end = _reach(reports)
    head = [("learner", ""), (own.metric.replace("_", " "), "n")]
    head.append((f"0 to {100 * end:.3g} %" if own.kind.share else f"0 to {end:.3g}", ""))
    head += [(f"{plots.short(own.protocol.learner, 24)} minus this", "n word")] if paired else []
    names = table.columns(reports)
    head += [(name, "n") for name in names]
    head += [("ms a task", "n")] if timed else []
    rows = []
    for i, (report, pair) in enumerate(zip(reports, pairs, strict=True)):
        estimate, p = report.estimate, report.protocol
        low, high = estimate.mean - estimate.ci95, estimate.mean + estimate.ci95
        how = f"{table.task_name(p)}, {table.normalisation(p)}" if several else table.normalisation(p)
        cells = [f'<th scope="row" class="word">{escape(p.learner)}<span>{escape(how)}</span></th>']
        cells.append(_cell(table.headline(report), "n"))
        drawn = _spoken(plots.interval(low, estimate.mean, high, report.chance, end), table.headline(report))
        cells.append(f'<td class="draw">{drawn}</td>')
        if paired:
            said = "" if pair is None else escape(table.difference(pair, own.metric))
            said += "" if pair is None else f"<span>{escape(_said(pair, own.metric))}</span>"
            cells.append(f'<td class="n word plain">{said}</td>')
        stated = table.figures_of(report)
        figures = [stated.get(name, table.ABSENT) for name in names]
        figures += [table.plain(report.adapt_ms, 1)] if timed else []
        rows.append(f"<tr{'' if i else _class('own')}>{''.join(cells + [_cell(f, 'n plain') for f in figures])}</tr>")
    for task, chance in table.chances(reports):
        shown = table.share(chance) if own.kind.share else table.plain(chance)
        cells = [f'<th scope="row" class="word">chance<span>{escape(task)}</span></th>', _cell(shown, "n")]
        rows.append(f"<tr>{''.join(cells)}{'<td></td>' * (len(head) - len(cells))}</tr>")
    shown_table = _table(head, rows, "Learners beside each other")
    legend = "".join(_LEGEND.get(name, "") for name in names)
    rule = table.VERDICT_RULE if paired else ""
    text = f'<p class="quiet">{legend}{rule}</p>' if legend or rule else ""
    return _section(
        "Beside the others" if len(reports) > 1 else "In numbers", shown_table + text + _provenance(reports[1:], own)
    )


_LEGEND = {
    "NLL": "NLL is in nats for a query row. ",
    "ECE": "ECE is the calibration error. ",
    table.COVERAGE: "The last counts targets within the intervals that should hold so many. ",
    "bits a bit": "Bits a bit is the binary cross-entropy; a coin has 1. ",
}


def _said(pair: Paired, metric: str) -> str:
    """The verdict with its subject: "protonet better"."""
    word = table.verdict(pair, metric)
    return f"{plots.short(pair.first, 20)} {word}" if word in ("better", "worse") else word


def _provenance(others: Sequence[Report], own: Report) -> str:
    """How the other numbers were made, where that differs from the headline's."""
    items = []
    for report in others:
        p = report.protocol
        if p.line() != own.protocol.line() or (p.command and p.command != own.protocol.command):
            items.append(f"<p class='quiet'>{escape(p.learner)}: {escape(p.line())}</p>{_command(p)}")
    if not items:
        return ""
    return f"<details><summary>How the other numbers were made</summary>{''.join(items)}</details>"


def _training(curves: Sequence[Curve], own: Report) -> str:
    """Losses and accuracies have different units, so each unit has its own figure."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        if len(curve.x) and np.isfinite(np.asarray(curve.y, dtype=float)).any():
            groups.setdefault(_unit(curve.label), []).append(curve)
    figures = []
    for unit, mine in groups.items():
        labels = " and ".join(curve.label for curve in mine)
        alt = f"{labels} over training steps: {_course(mine, unit)}."
        noisy = any(len(curve.x) > 200 for curve in mine)
        caption = f"{_capital(labels)}." + (" Faint: every step; bold: moving mean." if noisy else "")
        figures.append(
            _figure(plots.learning_curve(mine, metric=unit), alt, caption, _curve_numbers(mine, unit, "step"))
        )
    return _section("How it learned", _grid(figures)) if figures else ""


def _unit(label: str) -> str:
    """What a line of a training is measured in: the title of the metric it names, or "loss"."""
    return next((row.title for name, row in METRICS.items() if name in label), "loss")


def _against(findings: Findings, own: Report) -> str:
    unit, metric = own.kind.title, own.metric
    figures = []
    shots = [curve for curve in findings.against_shots if len(curve.x)]
    if shots:
        alt = f"{_capital(unit)} against shots: {_course(shots, unit)}."
        svg = plots.against_shots(shots, metric=metric, chance=own.chance)
        caption = f"{_capital(unit)} with more examples, and its 95 % interval: {_labels(shots)}."
        figures.append(_figure(svg, alt, caption, _curve_numbers(shots, unit, "shots")))
    steps = [curve for curve in findings.against_steps if len(curve.x)]
    if steps:
        alt = f"{_capital(unit)} against inner steps: {_course(steps, unit)}."
        svg = plots.against_steps(steps, metric=metric, chance=own.chance)
        caption = f"{_capital(unit)} with more steps of adaptation, and its 95 % interval: {_labels(steps)}."
        figures.append(_figure(svg, alt, caption, _curve_numbers(steps, unit, "inner steps")))
    return _section("With more to learn from", _grid(figures)) if figures else ""


def _mistakes(own: Report) -> str:
    if own.classes is None or not len(own.classes.names):
        return ""
    body = _confusions(own.classes) + _class_figures(own.classes)
    return _section("Where it goes wrong", body)


def _confusions(figures: ClassFigures) -> str:
    names = plots.confused(figures)
    if not names:
        return "<p>No query row was taken for another class.</p>"
    wrong = sorted(
        ((count, pair) for pair, count in figures.confusions.items() if pair[0] != pair[1] and count > 0),
        key=lambda entry: (-entry[0], entry[1]),
    )
    count, (true, named) = wrong[0]
    alt = (
        f"Confusion matrix of {len(names)} classes. Most frequent mistake: {true} named {named}, {count:,} query rows."
    )
    taking_part = int(np.sum(np.asarray(figures.rows) > 0))
    which = f"The {len(names)} most confused of {taking_part:,} classes" if len(names) < taking_part else "All classes"
    caption = (
        f"{which}, in per cent of each true class's query rows. Grey: right; colour: mistaken. "
        "What is missing to 100 went to other classes."
    )
    rows = [
        f"<tr>{_cell(pair[0], '')}{_cell(pair[1], '')}{_cell(f'{count:,}', 'n')}</tr>" for count, pair in wrong[:20]
    ]
    more = f"<p class='quiet'>and {len(wrong) - 20:,} rarer kinds of mistake</p>" if len(wrong) > 20 else ""
    numbers = _table([("really is", ""), ("named as", ""), ("query rows", "n")], rows, "Most frequent mistakes") + more
    return _figure(plots.confusion_matrix(figures), alt, caption, numbers, wide=True)


def _class_figures(figures: ClassFigures) -> str:
    places = table.worst_classes(figures)
    rows = []
    for i in places:
        shares = [table.share(float(column[i])) for column in (figures.precision, figures.recall, figures.f1)]
        cells = "".join(_cell(value, "n") for value in [*shares, f"{int(figures.rows[i]):,}"])
        rows.append(f'<tr><th scope="row">{escape(figures.names[i])}</th>{cells}</tr>')
    head = [("class", ""), ("precision", "n"), ("recall", "n"), ("F1", "n"), ("query rows", "n")]
    more = table.classes_left_out(figures, len(places))
    title = f"The {len(places)} classes with the lowest F1" if more else "Every class, the lowest F1 first"
    said = f"{more:,} more {'class has' if more == 1 else 'classes have'} an F1 at least as high." if more else ""
    rest = f'<p class="quiet">{said}</p>' if more else ""
    return f"<h3>{title}</h3>{_table(head, rows, title)}{rest}"


def _calibration(own: Report) -> str:
    if own.coverage is not None:
        return _section("Is its confidence right?", _coverage(own.coverage))
    if own.reliability is None or not len(own.reliability):
        return ""
    bins = np.asarray(own.reliability, dtype=float)
    error = f"The expected calibration error is {table.share(own.ece)}. " if own.ece is not None else ""
    after = own.calibrated
    if after is not None:
        error += (
            f"With scores divided by {after.temperature:.3g}, a temperature that validation episodes chose, it is "
            f"{table.share(after.ece)}, and the NLL {table.plain(after.nll)} instead of {table.plain(own.nll)}. "
        )
    alt = f"Reliability diagram with {len(bins)} bins. {error}"
    caption = (
        f"{error}Points on the line: of the answers given with 80 % confidence, 80 % are right. "
        "A point's area is its share of the query rows."
    )
    rows = [f"<tr>{''.join(_cell(table.share(float(value)), 'n') for value in row)}</tr>" for row in bins]
    numbers = _table([("confidence", "n"), ("right", "n"), ("share of rows", "n")], rows, "Calibration bins")
    svg = plots.reliability(bins, None if after is None else after.reliability)
    return _section("Is its confidence right?", _figure(svg, alt, caption, numbers))


def _coverage(found: dict[str, float]) -> str:
    """How many targets lie in intervals of each level, as a reliability diagram of three points."""
    said = ", ".join(f"{table.share(share)} in their {level} % intervals" for level, share in found.items())
    bins = np.array([[float(level) / 100, share, 1 / len(found)] for level, share in found.items()])
    rows = [f"<tr>{_cell(f'{level} %', 'n')}{_cell(table.share(share), 'n')}</tr>" for level, share in found.items()]
    numbers = _table([("interval", "n"), ("targets in it", "n")], rows, "Coverage of central intervals")
    alt = f"Coverage of central predictive intervals: {said}."
    caption = f"Where the targets lie: {said}. Points on the line: as many as should."
    return _figure(plots.reliability(bins), alt, caption, numbers)


def _embedding(findings: Findings) -> str:
    found = findings.embedding
    if found is None or not len(found.points):
        return ""
    names = list(dict.fromkeys(found.names))
    support = int(np.sum(found.support))
    alt = (
        f"Map of one unseen task: {support} support rows and {len(found.points) - support} query rows "
        f"of {len(names)} classes: {', '.join(names[:24])}."
    )
    caption = "Large and outlined: the support. Small: queries. Only nearness means something here."
    return _section("How it sees one unseen task", _figure(plots.embedding(found), alt, caption, ""))


def _episode(findings: Findings) -> str:
    found = findings.episode
    if found is None or not (len(found.support_names) or len(found.query_names)):
        return ""
    right = sum(said == true for said, true in zip(found.predicted, found.query_names, strict=True))
    classes, of_classes, queries, of_queries = plots.drawn_out(found)
    alt = f"One task with its support and queries: {right} of {of_queries} queries were named rightly."
    caption = f"{right} of this task's {of_queries} queries were named rightly. "
    if classes < of_classes or queries < of_queries:
        caption += f"Drawn: {queries} queries, the first ones of each class, in {classes} of {of_classes} classes. "
    caption += "Tick: right. Cross and heavy frame: wrong. The number is the confidence."
    return _section("One task, drawn out", _figure(plots.episode(found), alt, caption, "", wide=True))


def _fits(findings: Findings) -> str:
    drawn = [_fit(fit) for fit in findings.fits if np.size(fit.query_x)]
    title = "One task, drawn out" if len(drawn) == 1 else "Some tasks, drawn out"
    return _section(title, _grid(drawn)) if drawn else ""


def _fit(fit: FunctionFit) -> str:
    points = np.size(fit.support_x)
    error = float(np.mean((np.ravel(fit.predicted) - np.ravel(fit.query_y)) ** 2))
    alt = f"One unseen function, its prediction from {points} support points, and the truth."
    caption = f"Predicted from {points} point{'' if points == 1 else 's'}; mean squared error on this task {error:.3g}."
    if fit.scale is not None:
        caption += " Bands: the central 50, 80 and 95 % of what it thinks possible."
    return _figure(plots.function_fit(fit), alt, caption, "")


def _memory(findings: Findings) -> str:
    use = findings.memory
    if use is None or not len(use.shown):
        return ""
    answers = np.isfinite(use.due).all(1)
    wrong = int(np.sum((use.said > 0.5)[answers] != (use.due > 0.5)[answers]))
    said = f"{wrong:,} of {use.due[answers].size:,} bits {'is' if wrong == 1 else 'are'} wrong"
    alt = f"One sequence of {len(use.shown)} rows and where the heads wrote and read while it was gone through; {said}."
    caption = (
        "From the top: what was shown, what was due, what was said, and where each head wrote and read; the line is "
        f"where reading ends and answering begins. Here {said}{' (crosses)' if wrong else ''}. "
        f"Drawn: {len(plots.slots_used(use))} of {use.reads.shape[2]} slots, the others being hardly touched."
    )
    return _section("What its memory did", _figure(plots.memory_use(use), alt, caption, "", wide=True))


def _settings(settings: dict[str, Any]) -> str:
    if not settings:
        return ""
    rows = [f'<tr><th scope="row">{escape(name)}</th>{_cell(value, "")}</tr>' for name, value in _flat(settings)]
    shown = _table([("setting", ""), ("value", "")], rows, "Settings of the run")
    return _section("Settings", f'<div class="settings">{shown}</div>')


def _flat(settings: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Nested settings by their dotted names."""
    pairs: list[tuple[str, str]] = []
    for name, value in settings.items():
        path = f"{above}.{name}" if above else str(name)
        pairs += _flat(value, path) if isinstance(value, dict) and value else [(path, str(value))]
    return pairs


def _same_episodes(a: Report, b: Report) -> bool:
    """Whether two reports can be paired: the same episodes of the same source."""
    names = ("source", "split", "kind", "ways", "shots", "queries", "episodes", "seed")
    return all(getattr(a.protocol, name) == getattr(b.protocol, name) for name in names)


def _reach(reports: Sequence[Report]) -> float:
    """The end of the comparison's small axes: 1 for accuracies, the largest error's upper end otherwise."""
    if not reports[0].kind.least:
        return 1.0
    highs = [report.estimate.mean + np.nan_to_num(report.estimate.ci95) for report in reports]
    return max([float(high) for high in highs if math.isfinite(high) and high > 0], default=1.0)


def _course(curves: Sequence[Curve], unit: str) -> str:
    """Where each line begins and ends, in words."""
    said = []
    for curve in curves:
        y = np.asarray(curve.y, dtype=float)
        x = np.asarray(curve.x, dtype=float)[np.isfinite(y)]
        y = y[np.isfinite(y)]
        if len(y):
            said.append(f"{curve.label} from {_value(y[0], unit)} at {x[0]:g} to {_value(y[-1], unit)} at {x[-1]:g}")
    return ", ".join(said)


def _curve_numbers(curves: Sequence[Curve], unit: str, xname: str) -> str:
    """The lines' numbers; of a long line the places spread evenly over it."""
    rows = []
    for curve in curves:
        count = len(curve.x)
        for i in sorted({round(k) for k in np.linspace(0, count - 1, min(count, 25))}):
            ci = math.nan if curve.ci95 is None else float(curve.ci95[i])
            shown = _value(float(curve.y[i]), unit)
            if math.isfinite(ci):
                shown += f" ± {100 * ci:.1f}" if unit in plots.SHARES else f" ± {ci:.2g}"
            rows.append(
                f"<tr>{_cell(curve.label, '')}{_cell(f'{float(curve.x[i]):,.6g}', 'n')}{_cell(shown, 'n')}</tr>"
            )
    return _table([("line", ""), (xname, "n"), (unit, "n")], rows, f"{unit} against {xname}")


def _value(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "not finite"
    return table.share(value) if unit in plots.SHARES else f"{value:.4g}"


def _labels(curves: Sequence[Curve]) -> str:
    return ", ".join(curve.label for curve in curves)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def _side_by_side(left: str, right: str) -> str:
    return f'<div class="figures">{left}{right}</div>' if left and right else left or right


def _grid(figures: Sequence[str]) -> str:
    return f'<div class="figures">{"".join(figures)}</div>' if len(figures) > 1 else figures[0]


def _figure(svg: str, alt: str, caption: str, numbers: str, *, wide: bool = False) -> str:
    """A figure with its text for those who can't see it, and its numbers for those who want them."""
    drawn = _spoken(svg, alt)
    if wide:
        drawn = f'<div class="scroll" tabindex="0" role="region" aria-label="figure, scrolls sideways">{drawn}</div>'
    extra = f"<details><summary>The numbers</summary>{numbers}</details>" if numbers else ""
    kind = ' class="wide"' if wide else ""
    return f"<figure{kind}>{drawn}<figcaption>{escape(caption)}</figcaption>{extra}</figure>"


def _spoken(svg: str, alt: str) -> str:
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt.strip())}" ', 1)


def _table(head: Sequence[tuple[str, str]], rows: Sequence[str], name: str) -> str:
    titles = "".join(f'<th scope="col"{_class(kind)}>{escape(title)}</th>' for title, kind in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}"><table>'
        f"<thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(text: str, kind: str) -> str:
    return f"<td{_class(kind)}>{escape(text)}</td>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _command(protocol: Protocol) -> str:
    return _code(protocol.command) if protocol.command else ""


def _code(command: str) -> str:
    return f"<pre><code>{escape(command)}</code></pre>"
